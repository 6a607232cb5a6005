"""Recognise: whether an announcement is news or speaks of what is known already, perhaps by another way. What follows from that
is for `hearing`; the single rules are in `deciding`."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from trollmoves.client.copies import Copies
from trollmoves.client.deciding import (
    Known,
    Verdict,
    earlier_copy,
    is_moved_on,
    is_overtaken,
    is_replaced,
    is_successor,
    judge,
    looks_alike,
    may_differ,
    of_its_kind,
)
from trollmoves.client.following import Following
from trollmoves.client.ledger import Ledger
from trollmoves.lifecycle import State
from trollmoves.messages import Announcement

ELSEWHERE = (Verdict.SOURCE, Verdict.TELL, Verdict.DOUBTFUL)
"""What is heard of another provider than the one we know of."""


class Recognising:
    """Of one client chain; belongs to the loop."""

    def __init__(self, ledger: Ledger, following: Following, *, relays: bool):
        """A mirror *relays*: what it announces later its clients take for newer; and as they listen to some subjects only, what
        comes under another one is another file."""
        self._ledger = ledger
        self._following = following
        self._relays = relays
        self._copies = Copies()

    def recognise(self, announcement: Announcement) -> tuple[Verdict, int, Known | None]:
        """What an announcement is to us; of which row of the journal, and what is known of that."""
        file, known = self._newest(announcement)
        versions = self._versions(announcement) if known is not None and announcement.epoch else {}
        earlier = None
        if known is not None and known.key != announcement.key and versions:
            alike = of_its_kind(versions, file, announcement)
            file = max(alike)
            known = alike[file]
            earlier = earlier_copy(alike, file, announcement)
            if earlier is not None:
                file, known = earlier, alike[earlier]
                if known.state is State.GIVEN_UP:
                    return Verdict.OLD, file, known
        verdict, sure = judge(known, announcement), False
        is_old = self._is_old(versions.values(), announcement)
        if known is not None and verdict in ELSEWHERE and announcement.epoch:
            is_copy = known.key == announcement.key or not is_old  # a replay tells old content again
            # Remembered also where that is nothing to us.
            replaced = is_copy and self._copies.is_replaced(file, announcement)
            if earlier is None:
                replaced = replaced or (known.key != announcement.key and is_successor(self._sources(file), announcement))
                verdict = Verdict.NEW if replaced else self._if_moved(verdict, known, versions.get(file), announcement)
                sure = verdict is Verdict.NEW
        if known is not None and not sure:
            verdict = self._if_doubtful(verdict, file, known, versions, announcement)
        if known is not None and is_old and (
                verdict in (Verdict.NEW, Verdict.DOUBTFUL) or (verdict is Verdict.SOURCE and known.key != announcement.key)):
            verdict = Verdict.OLD
        return verdict, file, known

    def _newest(self, announcement: Announcement) -> tuple[int, Known | None]:
        """The row and the state of the newest that is known of its file."""
        file, known = self._ledger.known(announcement.identity)
        if known is None or not self._relays or known.subject == announcement.message.subject:
            return file, known
        versions = self._versions(announcement)
        newest = max(versions, default=0)
        return newest, versions.get(newest)

    def _versions(self, announcement: Announcement) -> dict[int, Known]:
        """All that is known of its file, by row."""
        versions = self._ledger.versions(announcement.identity)
        if not self._relays:
            return versions
        return {row: known for row, known in versions.items() if known.subject == announcement.message.subject}

    def _sources(self, file: int) -> list[Known]:
        """What others announced of *file*."""
        return [Known.of(State.ANNOUNCED, source) for source in self._ledger.sources(file)]

    def _if_doubtful(self, verdict: Verdict, file: int, known: Known, versions: Mapping[int, Known],
                     announcement: Announcement) -> Verdict:
        """What seems to be a copy may be new content of the same size; and what seems to be new, from another provider than the
        newest that is known, a copy of older content, heard late, or what its provider only sent again, or announces under
        another subject as well."""
        if self._relays:  # it looks at the keys itself
            return Verdict.TELL if verdict is Verdict.DOUBTFUL else verdict
        may_be_copy = verdict is Verdict.NEW and known.state is not State.GIVEN_UP and may_differ(known.key, announcement.key) \
            and (announcement.address != known.provider or looks_alike(known, announcement) or _goes_by_two(known, announcement)
                 or self._is_undecided(file, known))
        if verdict is not Verdict.DOUBTFUL and not may_be_copy:
            return verdict
        if is_replaced([*versions.values(), *self._sources(file)], announcement):
            return Verdict.TELL if verdict is Verdict.DOUBTFUL else verdict
        own = next((version for row, version in sorted(versions.items(), reverse=True)
                    if version.state is not State.COVERED and not self._is_undecided(row, version)), None)
        return Verdict.NEW if own is not None and is_successor([own], announcement) else Verdict.DOUBTFUL

    def _is_undecided(self, file: int, known: Known) -> bool:
        """Whether it was not found to be other content than what another provider has: what its provider announces next may be a
        copy as well."""
        return known.state not in (State.PUBLISHING, State.PUBLISHED) and (known.doubtful or self._ledger.is_in_doubt(file))

    def _if_moved(self, verdict: Verdict, known: Known, version: Known | None, announcement: Announcement) -> Verdict:
        """What seems to be of another provider may be of the same one, which has another address by now. *version* is what is
        *known* with its position."""
        if version is not None and is_moved_on(version, announcement):
            return Verdict.NEW
        if version is None or self._following.leads(known.provider, announcement.epoch) != announcement.address:
            return verdict
        return judge(version._replace(provider=announcement.address), announcement)

    def _is_old(self, versions: Collection[Known], announcement: Announcement) -> bool:
        """Whether what differs from the newest that is known is but older."""
        return is_overtaken(versions, announcement) or (self._relays and is_replaced(versions, announcement))


def _goes_by_two(known: Known, announcement: Announcement) -> bool:
    """Whether a file as large as what is *known* is announced under another subject: it may be in two directories of a server, or
    a mirror has it of two servers."""
    return known.size == announcement.size and known.subject not in ("", announcement.message.subject)
