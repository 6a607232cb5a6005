"""What came of a run, as a table and as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import orjson

INVARIANTS = {
    "I1": "lost", "I2": "published wrongly", "I3": "partial", "I4": "wrongly deleted", "I5": "left over", "I6": "took too much",
    "I7": "secrets shown", "I8": "touched elsewhere", "I9": "damaged journals", "I10": "still waiting"}
"""What a violation of each is called."""
OTHER = "other"
"""Programs that ended by themselves, or not with status 0."""
SHOWN = 20
"""Violations in the table; all are in the JSON."""


@dataclass(slots=True)
class Report:
    """What came of a run."""

    seed: int
    strikes: dict[str, int]
    files: int
    """Written; a file that two servers announce is one."""
    delivered: int
    expected: int
    """Deliveries that had to be made: files times groups of clients that want them."""
    repeated: int
    """Publications that were heard again and say so."""
    settled: float
    """Seconds from the last fault and file until nothing waited any more."""
    memory: int
    """The most bytes a process took more than it had at its start."""
    violations: list[str] = field(default_factory=list)

    def counts(self) -> dict[str, int]:
        """Violations by invariant."""
        counted = Counter(text.partition(":")[0] for text in self.violations)
        return {**{name: counted.pop(name, 0) for name in INVARIANTS}, OTHER: counted.total()}

    def text(self, again: str, kept: Path | None) -> str:
        """A table; *again* is the command that plays this run again, *kept* where everything still is."""
        lines = [f"  {name:<18} {value}" for name, value in self._rows()]
        lines += ["", *(f"  {text}" for text in self.violations[:SHOWN])] if self.violations else []
        return "\n".join(["", *lines, "", f"  again: {again}", *([f"  kept: {kept}"] if kept else []), ""])

    def _rows(self) -> Iterator[tuple[str, str]]:
        yield "faults", ", ".join(f"{count} {fault}" for fault, count in sorted(self.strikes.items())) or "none"
        yield "files", f"{self.files}"
        yield "deliveries", f"{self.delivered} of {self.expected}"
        yield "repetitions", f"{self.repeated}, marked as such"
        yield "settled", f"{self.settled:.1f} s after the last fault"
        yield "memory", f"at most {self.memory / 2**20:.0f} MiB more than at the start"
        for name, count in self.counts().items():
            yield INVARIANTS.get(name, "ended wrongly"), f"{count}" if name == OTHER else f"{count}  ({name})"

    def json(self, again: str, kept: Path | None) -> str:
        """The same for programs."""
        content = {
            "seed": self.seed, "again": again, "faults": self.strikes, "files": self.files, "expected": self.expected,
            "delivered": self.delivered, "repeated": self.repeated, "settled": round(self.settled, 1), "memory": self.memory,
            "violations": self.counts(), "details": self.violations, "kept": kept and str(kept)}
        return orjson.dumps(content, option=orjson.OPT_INDENT_2).decode()
