"""A seed becomes a plan: which fault strikes whom, when, for how long, and how large each file is. Same seed, same plan."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

FAULTS = {
    "kill": "SIGKILL, and a new start",
    "end": "SIGTERM, an end with status 0, and a new start",
    "stop": "SIGSTOP, and SIGCONT some seconds later",
    "cut": "all connections between clients and servers are reset",
    "stall": "for some seconds no byte passes between clients and servers, and nothing is closed",
    "fill": "the disk of the destination is full for some seconds",
}
MORE_FAULTS = {
    "reload": "SIGHUP, ten times, each time with a changed configuration",
    "vanish": "a watched directory is away for some seconds",
    "forget": "SIGKILL, and a new start without its journal; once in a run, the next time it is a kill",
}
"""Those of drawn networks only."""
SIZES = (1000, 1000, 4000, 20_000, 100_000, 1_000_000)
"""Bytes of files, each as likely as the others."""
EVERYBODY = 0.2
"""How often a fault that strikes programs strikes all of them at once."""
LONG = 0.1
"""How often what lasts for a while in a drawn network lasts up to 30 seconds."""
ONE_BY_ONE = ("kill", "end", "stop", "reload")
"""Faults that strike programs; the others strike the network, a disk or a directory."""


@dataclass(frozen=True, slots=True)
class Strike:
    """One fault."""

    at: float
    """Seconds after the beginning."""
    fault: str
    victims: tuple[int, ...]
    """Numbers of programs; empty for what strikes no program."""
    seconds: float
    """How long it lasts, or until a program is started again."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What will be done; equal for equal arguments of `make_plan`."""

    seed: int
    seconds: float
    strikes: tuple[Strike, ...]
    sizes: tuple[int, ...]
    """Of the files, in the order in which they are written, evenly over all seconds."""

    def content(self, number: int) -> bytes:
        """The bytes of file *number*."""
        return random.Random(f"{self.seed} {number}").randbytes(self.sizes[number])  # noqa: S311 - not for secrets


def make_plan(seed: int, *, files: int, seconds: float, strikes: int, faults: Sequence[str], programs: int,
              forgetting: Sequence[int] | None = None) -> Plan:
    """A plan for a network of so many *programs*, a drawn one where it is said which of them may lose their journal."""
    dice = random.Random(seed)  # noqa: S311 - to be played again, not to be kept secret
    moments = sorted(dice.uniform(0.05, 1.0) * seconds for _ in range(strikes))
    struck = [_strike(dice, moment, faults, programs) for moment in moments]
    if forgetting is not None:
        struck = [_drawn_strike(dice, strike, programs) for strike in struck]
        struck = list(_forget_once(dice, struck, forgetting))
    return Plan(seed, seconds, tuple(struck), tuple(dice.choice(SIZES) for _ in range(files)))


def _drawn_strike(dice: random.Random, strike: Strike, programs: int) -> Strike:
    """A long one at times, and with a number for a directory, or for who forgets, in place of victims."""
    lasts = dice.uniform(5.0, 30.0) if strike.fault == "stop" and dice.random() < LONG else strike.seconds
    victims = strike.victims or ((dice.randrange(programs),) if strike.fault in MORE_FAULTS else ())
    return replace(strike, seconds=lasts, victims=victims)


def _forget_once(dice: random.Random, strikes: Sequence[Strike], forgetting: Sequence[int]) -> Iterator[Strike]:
    able = list(forgetting)
    for strike in strikes:
        if strike.fault != "forget":
            yield strike
        elif able:
            yield replace(strike, victims=(dice.choice(able),), seconds=0.0)
            able = []
        else:
            yield replace(strike, fault="kill", seconds=0.0)


def _strike(dice: random.Random, moment: float, faults: Sequence[str], programs: int) -> Strike:
    fault = dice.choice(faults)
    victims: tuple[int, ...] = ()
    if fault in ONE_BY_ONE:
        victims = tuple(range(programs)) if dice.random() < EVERYBODY else (dice.randrange(programs),)
    lasts = dice.choice((0.0, 0.0, 0.5)) if fault in ("kill", "end") else dice.uniform(0.5, 4.0)
    return Strike(moment, fault, victims, lasts)
