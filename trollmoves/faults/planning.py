"""A seed becomes a plan: which fault strikes whom, when, for how long, and how large each file is. Same seed, same plan."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

FAULTS = {
    "kill": "SIGKILL, and a new start",
    "end": "SIGTERM, an end with status 0, and a new start",
    "stop": "SIGSTOP, and SIGCONT some seconds later",
    "cut": "all connections between clients and servers are reset",
    "stall": "for some seconds no byte passes between clients and servers, and nothing is closed",
    "fill": "the disk of the destination is full for some seconds",
}
SIZES = (1000, 1000, 4000, 20_000, 100_000, 1_000_000)
"""Bytes of files, each as likely as the others."""
EVERYBODY = 0.2
"""How often a fault that strikes programs strikes all of them at once."""
ONE_BY_ONE = ("kill", "end", "stop")
"""Faults that strike programs; the others strike the network or the disk."""


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


def make_plan(seed: int, *, files: int, seconds: float, strikes: int, faults: Sequence[str], programs: int) -> Plan:
    """A plan for a network of so many *programs*."""
    dice = random.Random(seed)  # noqa: S311 - to be played again, not to be kept secret
    moments = sorted(dice.uniform(0.05, 1.0) * seconds for _ in range(strikes))
    return Plan(seed, seconds, tuple(_strike(dice, moment, faults, programs) for moment in moments),
                tuple(dice.choice(SIZES) for _ in range(files)))


def _strike(dice: random.Random, moment: float, faults: Sequence[str], programs: int) -> Strike:
    fault = dice.choice(faults)
    victims: tuple[int, ...] = ()
    if fault in ONE_BY_ONE:
        victims = tuple(range(programs)) if dice.random() < EVERYBODY else (dice.randrange(programs),)
    lasts = dice.choice((0.0, 0.0, 0.5)) if fault in ("kill", "end") else dice.uniform(0.5, 4.0)
    return Strike(moment, fault, victims, lasts)
