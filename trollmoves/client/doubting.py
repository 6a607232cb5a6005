"""Doubt: another provider's file of the same name and size may be a copy of what was delivered, or new content that it alone has.

It is asked for on condition that it is other content: the request names checksums of what was delivered (replacing.py). Who only
announced it as well, while it was asked for elsewhere, is in doubt when that is over. Each gets a row of its own then, in the
same transaction, so that nothing is forgotten.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from trollmoves.client.deciding import may_differ
from trollmoves.client.flight import Flight, Source
from trollmoves.journal import Journal
from trollmoves.journal.journal import step_line
from trollmoves.journal.reader import steps_in
from trollmoves.lifecycle import State
from trollmoves.messages import Message

PERHAPS_COPY = "perhaps a copy"
"""Stands in the history of what is asked for on condition."""
LOST_COPY = f"{PERHAPS_COPY} of what was delivered"
"""Ends what is said of such, when it was gone before it was compared."""
SAME = "the same content was delivered before"
FETCHED = ("verified:", "delivered by upstream server", "sha256:")
"""How the history tells of what a provider has delivered."""
_CHECKSUM = re.compile(r"(?:verified: \w+ )?(sha256:[0-9a-f]{64})\b")


def is_in_doubt(steps: str) -> bool:
    """Whether the history of a file says that it is perhaps a copy."""
    return f'"{PERHAPS_COPY}"' in steps


def is_lost_copy(steps: str) -> bool:
    """Whether the history of a file says that it was perhaps a copy, and was gone when it was to be compared."""
    return any(said[0] == State.COVERED and str(said[4]).endswith(LOST_COPY) for said in steps_in(steps)[-1:])


def checksum_told(message: Message) -> str:
    """The checksum that a reply or publication tells; empty where it tells none."""
    said = message.extension.get("checksum")
    return said if isinstance(said, str) and _CHECKSUM.fullmatch(said) else ""


def with_checksum(checksum: str, detail: str) -> str:
    """For the history of a file that others have: what they have."""
    return f"{checksum}: {detail}" if checksum else detail


def checksum_in(steps: str) -> str:
    """What the history of a file says was delivered last, by us or by others; empty where it does not say. Others may have
    published what we were delivered."""
    for state, _, _, _, detail in reversed(steps_in(steps)):
        found = _CHECKSUM.match(detail) if state in (State.MOVED, State.COVERED) else None
        if found:
            return found[1]
        if state == State.MOVED:
            break
    return ""


def fetched_in(steps: str) -> str | None:
    """What the history of a mirrored file says was fetched last; empty where that tells no checksum, None where nothing was
    fetched."""
    for state, _, _, _, detail in reversed(steps_in(steps)):
        if state == State.MOVED and detail.startswith(FETCHED):  # else it was passed on
            found = _CHECKSUM.match(detail)
            return found[1] if found else ""
    return None


def is_at_others(steps: str) -> bool:
    """Whether the history of a file ends with another member of the group having it."""
    return steps.rstrip("\n").endswith((' has it"]', ' has published it"]'))


def is_said_by_name(steps: str) -> bool:
    """Whether another member of the group only said that it has it, as upstream's do; ours say what they have published."""
    return steps.rstrip("\n").endswith(' has it"]')


def in_doubt(flight: Flight) -> list[Source]:
    """Who announced, beside the one that delivered *flight*, what may be other content, and has not said that it cannot deliver
    it."""
    key, told = flight.source.announcement.key, bool(flight.checksum)
    return [source for source in flight.sources.values() if source.provider != flight.source.provider
            and source.provider not in flight.refused and may_be_else(key, source.announcement.key, told=told)]


def copies_of(flight: Flight) -> list[Source]:
    """Who announced, beside the one that delivered *flight*, the very same."""
    doubtful = in_doubt(flight)
    return [source for source in flight.sources.values() if source is not flight.source and source not in doubtful]


def may_be_else(key: str, other: str, *, told: bool) -> bool:
    """Whether what was announced with the key *other* may be other content than what was delivered, of which the checksum is
    known where that is *told*: then also where its own announcement, being of an upstream server, said nothing of the content."""
    return may_differ(key, other) or (told and bool(other) and not key)


def new_rows(flight: Flight, sources: Iterable[Source], journal: Journal, now: float) -> list[tuple[Any, ...]]:
    """For `add_file`: what *sources* have, to be asked for now."""
    copies = [Flight(journal.new_file(), flight.chain, source.announcement.identity, now, source, doubtful=True)
              for source in sources]
    return [new_row(copy, State.ANNOUNCED, now) for copy in copies]


def new_row(flight: Flight, state: State, due: float | None, why: str = "") -> tuple[Any, ...]:
    """For `add_file`: a file that was heard of just now, the state it begins in, when it is due there, and *why* it needs
    nothing."""
    announcement, provider, now = flight.source.announcement, flight.source.provider, flight.created
    steps = step_line(State.ANNOUNCED, now, provider, 0, PERHAPS_COPY if flight.doubtful else "")
    if state is not State.ANNOUNCED:
        steps += step_line(state, now, provider, flight.attempt, why)
    return (flight.id, flight.chain, announcement.identity, announcement.key, state, now, steps, due, announcement.size, None,
            None, None, None, provider, announcement.message.raw.decode(), flight.request or None, flight.attempt, now)


def is_same(said: Mapping[str, Any]) -> bool:
    """Whether a provider says that its content is one of those that the request names."""
    return said.get("code") == "same"
