"""How much of something each peer has taken, so that none can take all.

Nobody may have more than is left free: one peer alone gets half, two that want all they can get a third each, and so on. So there
is room for who comes next, however greedy the others are.
"""

from __future__ import annotations


class Shares:
    """Counts by peer; what counts as one is the caller's business."""

    def __init__(self) -> None:
        self.total = 0
        self._of: dict[str, int] = {}

    def of(self, peer: str) -> int:
        """What *peer* has."""
        return self._of.get(peer, 0)

    def has_room(self, peer: str, most: int) -> bool:
        """Whether *peer* may have more, where all together may have *most*."""
        return self._of.get(peer, 0) < most - self.total

    def add(self, peer: str, amount: int) -> None:
        """*peer* takes *amount* more, or gives it back."""
        self.total += amount
        left = self._of.get(peer, 0) + amount
        if left:
            self._of[peer] = left
        else:
            self._of.pop(peer, None)
