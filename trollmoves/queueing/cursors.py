"""Whose cursors are kept: a publisher may give itself ever new names, and name servers may tell of ever new publishers."""

from __future__ import annotations

from collections.abc import Iterable

MOST = 10_000
"""Cursors of one section; beyond it those go that were not moved for longest."""
MOST_STREAMS = 20
"""Streams of one address."""


class Cursors:
    """The names under which the cursors of one section are kept: addresses, and streams."""

    def __init__(self, names: Iterable[str]):
        """*names* are those in the journal."""
        self._names = dict.fromkeys(names)
        """Those that were moved last are last."""
        self._streams: dict[str, dict[str, None]] = {}
        """By address, the streams that were heard there."""

    def __len__(self) -> int:
        return len(self._names)

    def moved(self, address: str, stream: str) -> list[str]:
        """The cursors of both are moved; those that are returned go."""
        streams = self._streams.setdefault(address, {})
        for names, name in ((self._names, address), (self._names, stream), (streams, stream)):
            names.pop(name, None)
            names[name] = None
        gone = list(streams)[:-MOST_STREAMS]
        gone += [name for name in list(self._names)[:-MOST] if name not in gone] if len(self._names) > MOST else []
        for name in gone:
            self._names.pop(name, None)
            self._streams.pop(name, None)
            streams.pop(name, None)
        return gone
