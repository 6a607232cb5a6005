"""What was announced a moment ago and nobody has asked for yet: most requests are for one of these, and need no look-up."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

KEPT = 5000
"""Announcements; older ones are looked up in the journal."""
COLUMNS = ("id", "chain", "identity", "key", "state", "time", "steps", "due", "size", "path", "device", "inode", "mtime_ns",
           "provider", "message", "request", "attempt", "created")


class Recent:
    """Shared by the chains and the request ports of one server; belongs to the loop."""

    def __init__(self) -> None:
        self._rows: OrderedDict[int, tuple[Any, ...]] = OrderedDict()

    def add(self, position: int, row: tuple[Any, ...]) -> None:
        """*row* of `files` (as for `add_file`) was committed and announced at *position*."""
        self._rows[position] = row
        if len(self._rows) > KEPT:
            self._rows.popitem(last=False)

    def clear(self) -> None:
        """The rows may be others by now, as when a section has another name."""
        self._rows.clear()

    def forget(self, files: set[int]) -> None:
        """The journal has forgotten that these were announced."""
        for position in [position for position, row in self._rows.items() if row[0] in files]:
            del self._rows[position]

    def take(self, position: int) -> dict[str, Any] | None:
        """The row announced at *position*, once: who asks again finds it, and what became of it, in the journal."""
        row = self._rows.pop(position, None)
        return None if row is None else dict(zip(COLUMNS, row, strict=True))
