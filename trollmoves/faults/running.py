"""Carry out a plan on a network, wait until all has settled, and report."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, Protocol

from trollmoves.faults.breaking import Breaking, SmallDisk, wait_until_ready
from trollmoves.faults.checking import Scene
from trollmoves.faults.drawn import Drawn
from trollmoves.faults.observing import Observer, Sampler
from trollmoves.faults.planning import Plan
from trollmoves.faults.programs import Program
from trollmoves.faults.proxy import TcpProxy
from trollmoves.faults.reporting import Report
from trollmoves.faults.waiting import eventually


class Breakable(Protocol):
    """A network that can be run and broken."""

    killed: bool
    """Whether a recorder may have missed something."""

    @property
    def programs(self) -> list[Program]: ...
    @property
    def proxies(self) -> list[TcpProxy]: ...
    @property
    def observers(self) -> list[Observer]: ...
    def start(self) -> Any: ...
    def feed(self, number: int, data: bytes) -> None:
        """Write file *number* wherever it belongs."""

    def scenes(self) -> list[Scene]:
        """What there is to check: one for each group of clients."""


def run_plan(plan: Plan, network: Breakable, *, disk: SmallDisk | None = None, patience: float = 120.0,
             say: Callable[[str], Any] = str) -> Report:
    """Start *network*, write the plan's files, strike, wait at most *patience* seconds until all has settled, stop, check.

    *say* is told of each strike."""
    programs = network.programs
    network.killed = network.killed or any(strike.fault in ("kill", "end") for strike in plan.strikes)
    breaking = Breaking(programs, network.proxies, disk, network if isinstance(network, Drawn) else None)
    sampler = Sampler(lambda: {program.name: program.pid for program in programs if program.running})
    network.start()
    for program in programs:
        wait_until_ready(program)
    sampler.start()
    try:
        _carry_out(plan, network, breaking, say)
        began = time.monotonic()
        _settle(network, patience)
        settled = time.monotonic() - began
        breaking.end(programs)
    finally:
        sampler.stop()
    scenes = network.scenes()
    violations = [*breaking.violations, *sampler.violations()]
    violations += [text for observer in network.observers for text in observer.violations]
    violations += [text for scene in scenes for text in scene.violations()]
    expected = sum(len(scene.ledger.latest()) for scene in scenes)
    delivered = expected - sum(len(scene.missing()) for scene in scenes)
    return Report(plan.seed, dict(Counter(strike.fault for strike in plan.strikes)), len(plan.sizes), delivered, expected,
                  sum(scene.flagged() for scene in scenes), settled, sampler.growth, violations)


def _carry_out(plan: Plan, network: Breakable, breaking: Breaking, say: Callable[[str], Any]) -> None:
    began = time.monotonic()

    def wait_until(moment: float) -> None:
        time.sleep(max(0.0, began + moment - time.monotonic()))

    def write() -> None:
        for number in range(len(plan.sizes)):
            wait_until(plan.seconds * number / len(plan.sizes))
            network.feed(number, plan.content(number))
    writer = threading.Thread(target=write)
    writer.start()
    try:
        for number, strike in enumerate(plan.strikes, 1):
            wait_until(strike.at)
            whom = ", ".join(network.programs[victim].name for victim in strike.victims)
            say(f"{time.monotonic() - began:6.1f} s  {number} of {len(plan.strikes)}: {strike.fault} {whom}".rstrip())
            breaking.strike(strike)
    finally:
        writer.join()


def _settle(network: Breakable, patience: float) -> None:
    """Wait until nothing is missing and nothing waits; what does not come in time is the checker's to say."""
    scenes = network.scenes()
    missing = [set(scene.ledger.latest()) for scene in scenes]

    def settled() -> bool:
        for scene, names in zip(scenes, missing, strict=True):
            names.intersection_update(scene.missing(list(names)))
        return not any(missing) and not any(scene.unfinished() or scene.awaited() or scene.left() for scene in scenes)
    try:
        eventually(settled, patience, interval=0.5)
    except AssertionError:
        return

