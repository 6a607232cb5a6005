"""What other providers announced as copies of what is known: so that new content, of the same size, is not taken for one more."""

from __future__ import annotations

from collections import OrderedDict

from trollmoves.client.deciding import place_of
from trollmoves.messages import Announcement, digest

MOST = 20_000
"""Announcements that are remembered, the last ones; of what is not, the size alone decides."""


class Copies:
    """Belongs to the loop. Forgotten at the end of the process."""

    def __init__(self) -> None:
        self._last: OrderedDict[bytes, tuple[int, bytes, int]] = OrderedDict()
        """By journal, identity and place: of which row it was a copy, its key and its position. Digests, as strangers may choose
        a place as long as a message."""

    def is_replaced(self, file: int, announcement: Announcement) -> bool:
        """Whether the provider announced other content in the same place before, as a copy of *file*: then this is none. Else it
        is remembered as one."""
        if not announcement.key:
            return False
        where = digest(announcement.epoch, announcement.identity, *place_of(announcement.message))
        this = file, digest(announcement.key), announcement.offset
        before = self._last.pop(where, this)
        if before[0] == file and before[1] != this[1] and before[2] < announcement.offset:
            return True
        self._last[where] = max(before, this, key=lambda one: one[2])
        if len(self._last) > MOST:
            self._last.popitem(last=False)
        return False
