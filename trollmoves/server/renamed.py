"""Renamed: a section of the configuration has another name now, was divided, or became part of another one.

What its clients know are the announcements it made, and they may ask for them for a day; it may be waited for by others, and wait
for them. So what it has in the journal is handed on to the section that would come upon the same files. The rights are those of
that section, as for all it serves. Whom a section served is waited for under the new name: it may be away meanwhile.
"""

from __future__ import annotations

import glob
import logging
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import orjson

from trollmoves.config.mirrors import MirrorSettings
from trollmoves.config.settings import ServerSettings
from trollmoves.journal import Journal, Operation
from trollmoves.lifecycle import CONSUMER_KNOWN
from trollmoves.patterns import Pattern
from trollmoves.server.addresses import handed_on

logger = logging.getLogger(__name__)

HANDED_ON = ("hand_on_consumers", "hand_on_files", "hand_on_transfers", "hand_on_copies", "hand_on_removals", "hand_on_cursors")
"""In this order: what tells one from another changes with the files."""


def hand_on(journal: Journal, starting: Sequence[ServerSettings], configured: Collection[str]) -> list[Operation]:
    """The records by which sections that are *starting* take the places of those that have files in the journal, and are
    *configured* no more. To be written before they start."""
    places: list[dict[str, Any]] = []
    for old in sorted({row["chain"] for row in journal.find("chains")} - set(configured)):
        last, since = _last(journal, old), time.time() - CONSUMER_KNOWN
        found = [{**_finds(settings), "old": old, "since": since} for settings in starting
                 if _has_its_place(settings, last, journal)]
        for place in found:
            logger.info("[%s] has the place of [%s], with what that announced and whom it served", place["new"], old)
        places += found
    if not places:
        return []
    return [*((name, places) for name in HANDED_ON), ("put_meta", [row for new in dict.fromkeys(place["new"] for place in places)
            for row in _kept(journal, new, [place["old"] for place in places if place["new"] == new])])]


def places_taken(journal: Journal, section: str) -> set[str]:
    """The sections whose place *section* has taken some time."""
    row = journal.find_one("meta", (_meta(section),))
    return set() if row is None else set(orjson.loads(row["value"]))


def _meta(section: str) -> str:
    return f"renamed:{section}"


def _kept(journal: Journal, new: str, olds: Sequence[str]) -> list[tuple[str, str]]:
    """What is kept in `meta` of the sections in whose place *new* is."""
    taken = set(olds).union(*(places_taken(journal, name) for name in (new, *olds))) - {new}
    return [(_meta(new), _list(sorted(taken))), handed_on(journal, new, olds)]


def _finds(settings: ServerSettings) -> dict[str, Any]:
    """What tells which files a section would come upon (`found_by` in queries.sql), and under what subjects it announces them."""
    path = "*" if settings.origin is None else Pattern(settings.origin).glob
    found = {"new": settings.name, "glob": path, "deeper": "", "heard": None, "subjects": glob.escape(settings.topic)}
    if isinstance(settings, MirrorSettings):
        topic = settings.client_topic
        names = path if settings.origin is None else f"*/{path.rpartition('/')[2]}"
        return {**found, "glob": names, "heard": _list([topic]), "subjects": glob.escape(topic) + "*"}
    if settings.listen is not None:
        return {**found, "heard": _list(settings.heard_topics)}
    return {**found, "deeper": "*/" * (path.count("/") + 1) + "*"}


def _last(journal: Journal, section: str) -> dict[int, str | None]:
    """The last files of a section, and under what subject each was announced last, if it was."""
    return {row["id"]: row["subject"] for row in journal.find("found_last", (section,))}


def _has_its_place(settings: ServerSettings, last: Mapping[int, str | None], journal: Journal) -> bool:
    """Whether a section would have announced, and has not, one of the files that another one had *last*; where it does not look
    for files itself, under the subject they were announced with."""
    finds = _finds(settings)
    begins = settings.client_topic if isinstance(settings, MirrorSettings) else settings.topic
    files = [file for file, subject in last.items()
             if finds["heard"] is None or subject is None or subject.startswith(begins)]
    return bool(journal.find("would_find", {**finds, "files": _list(files)}))


def _list(values: Sequence[Any]) -> str:
    return orjson.dumps(values).decode()
