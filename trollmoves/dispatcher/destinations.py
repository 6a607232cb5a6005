"""Destinations: where the files of a message go, and under what name. A `Route` is one item of one target."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from trollmoves.config.targets import ItemSettings, root_of
from trollmoves.dispatcher.conditions import Decision, decide
from trollmoves.errors import DestinationInvalid
from trollmoves.messages import EXTENSION, dated
from trollmoves.patterns import Template
from trollmoves.uris import Destination

NEW_FIELD = "_alias_name"
CREATION = "file_creation_time"
_LITERAL = frozenset(("uid", "uri", EXTENSION))
"""Fields that are text, whatever they look like."""


@dataclass(frozen=True, slots=True)
class Alias:
    """Values of a field that are written differently in a path."""

    field: str
    name: str
    """The field to set; mostly the same."""
    replacements: tuple[tuple[Any, Any], ...]

    def apply(self, value: Any) -> Any:
        """What stands in the place of *value*; itself where nothing does."""
        return next((new for old, new in self.replacements if type(old) is type(value) and old == value), value)


def read_aliases(given: Any) -> tuple[Alias, ...]:
    """The aliases that a configuration gives. Raises `ValueError` saying what is wrong and what to write."""
    if not isinstance(given, dict):
        raise ValueError("is no mapping; write for example `product: {natural_color: dnc}`")
    found = []
    for field, tables in given.items():
        for table in tables if isinstance(tables, list) else [tables]:
            if not isinstance(table, dict):
                raise ValueError(f"{field} has no mapping of values; write for example `{field}: {{natural_color: dnc}}`")
            found.append(_read_alias(str(field), table))
    return tuple(found)


def _read_alias(field: str, table: Mapping[Any, Any]) -> Alias:
    name = table.get(NEW_FIELD, field)
    pairs = tuple((old, new) for old, new in table.items() if old != NEW_FIELD)
    if not isinstance(name, str) or not name or any(isinstance(new, dict | list) or new is None for _, new in pairs):
        raise ValueError(f"{field} has a replacement that is no plain value")
    return Alias(field, name, pairs)


class Route:
    """One item of a target: which messages it takes and where their files go. Made once for a configuration."""

    def __init__(self, settings: ItemSettings):
        assert settings.host is not None and settings.directory is not None
        self.settings = settings
        self.topics = settings.topics
        self.host = root_of(settings.host.reveal())
        """The target without the path; with the password, where one is set."""
        named = settings.filepattern is not None
        self._template = Template(os.path.join(settings.directory, settings.filepattern or "") if named else settings.directory)
        self._keeps_name = not named
        self.label = self._labelled()
        """Names this route in the journal: the same as long as it leads to the same places; without the password."""
        self.place = self.host.with_path("").exact or "file://"
        """Names the host in the journal."""

    def _labelled(self) -> str:
        pattern = self._template.text + ("/*" if self._keeps_name else "")
        aliases = hashlib.sha256(repr(self.settings.aliases).encode()).hexdigest()[:8] if self.settings.aliases else ""
        return f"{self.host.with_path('')} {pattern}{f' aliases {aliases}' if aliases else ''}".strip()

    def takes(self, subject: str) -> str | None:
        """The topic of this route under which *subject* falls, if any."""
        return next((topic for topic in self.topics if subject.startswith(topic)), None)

    def decide(self, fields: Mapping[str, Any]) -> Decision:
        """Whether the conditions want a message with *fields*."""
        return decide(self.settings.conditions, fields)

    def destination(self, fields: Mapping[str, Any], name: str, created: float | None) -> Destination:
        """Where the file *name* of a message goes. *created* is what `file_creation_time` stands for, where the file is there.

        Raises `ConfigurationError` when the message lacks a field, `DestinationInvalid` when it leads the path astray.
        """
        path = self._template.compose(self._filled(fields, created)) if self._template.fields else self._template.text
        parts = [part for part in path.split("/") if part]
        if self._keeps_name:
            parts.append(name)
        if not parts:
            raise DestinationInvalid("the path is empty")
        ending = "/" if path.endswith("/") and not self._keeps_name else ""
        return self.host.below("/".join(parts) + ending)

    def _filled(self, fields: Mapping[str, Any], created: float | None) -> dict[str, Any]:
        filled = {field: value if field in _LITERAL else dated(value) for field, value in fields.items()}
        if created is not None:
            filled[CREATION] = datetime.fromtimestamp(created)
        for alias in self.settings.aliases:
            if alias.field in fields:
                new = alias.apply(fields[alias.field])
                filled[alias.name] = dated(new) if new is fields[alias.field] else new
        return filled
