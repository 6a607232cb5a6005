"""Who a section served that has another name now is waited for under the new one: it may be away while its section is renamed,
and has not confirmed what is there."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import orjson

from trollmoves.config.settings import ServerSettings
from trollmoves.journal import Journal
from trollmoves.journal.reader import SECTIONS
from trollmoves.lifecycle import CONSUMER_KNOWN
from trollmoves.patterns import Pattern

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class HandedOn:
    """What a section has of those whose place it takes."""

    sections: set[str] = field(default_factory=set)
    """What was confirmed to them of the same files counts."""
    consumers: set[tuple[str, str]] = field(default_factory=set)
    """Whom they served lately."""


def hand_on(journal: Journal, wanted: Collection[ServerSettings], running: Collection[str] = (),
            handed_before: Mapping[str, HandedOn] | None = None) -> dict[str, HandedOn]:
    """Have the consumers of sections that were configured before, and are no more, noted as those of the sections of *wanted*
    that are new and announce the same files, to be waited for; and what waits to be removed as theirs to remove. Returns it by
    new section, as the journal does not say so at once; nor does it of *running*, the sections that were configured until now,
    and of what was handed on to them (*handed_before*)."""
    row = None if running else journal.find_one("meta", (SECTIONS,))
    before = set(running) if row is None else set(orjson.loads(row["value"]))
    earlier = handed_before or {}
    names = {settings.name for settings in wanted}
    handed_on: dict[str, HandedOn] = {}
    for settings in wanted:
        if settings.name in before or not settings.removes:
            continue
        for old in [section for section in sorted(before - names) if _has_its_place(settings, section, journal, earlier)]:
            since = time.time() - CONSUMER_KNOWN
            handed = handed_on.setdefault(settings.name, HandedOn())
            handed.sections |= {old, *_places_of(journal, old, earlier)} - {settings.name}
            handed.consumers |= earlier[old].consumers if old in earlier else set()
            handed.consumers |= {(row["client"], row["consumer_group"]) for row in journal.find("consumers", (old, since))}
            journal.write([("hand_on_consumers", [{"new": settings.name, "old": old, "since": since}]),
                           ("hand_on_removals", [{"new": settings.name, "old": old}]),
                           ("put_meta", [(_meta(settings.name), orjson.dumps(sorted(handed.sections)).decode())])])
            logger.info("[%s] waits for those that [%s] served: %s", settings.name, old,
                        ", ".join(sorted(client for client, _ in handed.consumers)))
    return handed_on


def places_taken(journal: Journal, section: str) -> set[str]:
    """The sections whose place *section* has taken some time."""
    row = journal.find_one("meta", (_meta(section),))
    return set() if row is None else set(orjson.loads(row["value"]))


def _places_of(journal: Journal, section: str, earlier: Mapping[str, HandedOn]) -> set[str]:
    return places_taken(journal, section) | (earlier[section].sections if section in earlier else set())


def _meta(section: str) -> str:
    return f"renamed:{section}"


def _has_its_place(settings: ServerSettings, section: str, journal: Journal, earlier: Mapping[str, HandedOn]) -> bool:
    """Whether what *section* announced would be announced by this one; where it listens, and does not say what files are welcome,
    under its topic."""
    names = (section, *_places_of(journal, section, earlier))
    found = [journal.find_one("last_delivered", (name,)) for name in names]
    row = max(filter(None, found), key=lambda row: int(row["id"]), default=None)
    if row is None:
        return False
    if settings.origin is None:
        return str(row["subject"] or "").startswith(settings.topic)
    pattern = Pattern(settings.origin)
    return any(pattern.matches(os.fsdecode(file["path"])) for name in names for file in journal.find("found_last", (name,)))
