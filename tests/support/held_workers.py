"""Workers for tests that say themselves when something is done."""

from __future__ import annotations

from collections.abc import Sequence

from trollmoves.workers import Work, Workers


class HeldWorkers(Workers):
    """Workers that do nothing by themselves."""

    def __init__(self) -> None:
        super().__init__(lambda calls: None, lambda error: None, 0)
        self.work: list[Work] = []

    def submit(self, work: Sequence[Work]) -> None:
        self.work += work
