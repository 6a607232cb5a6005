"""INI syntax to mappings: what stands where, and what is wrong with the syntax.

The grammar is configparser's, without interpolation: `#` and `;` begin a comment line, `=` or `:` separates, names are
lower-cased, what `[DEFAULT]` says holds in every section that does not say otherwise.
"""

from __future__ import annotations

import configparser
import io
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from trollmoves.config.hidden import is_secret
from trollmoves.config.text import Problem, in_order, read_text
from trollmoves.errors import ConfigurationError

DEFAULT = configparser.DEFAULTSECT
_WORDS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


@dataclass(frozen=True, slots=True)
class Entry:
    """The text of one option and where it stands."""

    text: str = field(repr=False)  # may be a password
    line: int
    section: str
    """As written in the file: `DEFAULT` for an inherited option."""


@dataclass(frozen=True, slots=True)
class IniFile:
    """What a file says. A section named in `broken` has an option (or itself) written twice."""

    path: str
    sections: Mapping[str, Mapping[str, Entry]]
    """Inherited options included."""
    lines: Mapping[str, int]
    """Line of each section's header."""
    problems: tuple[Problem, ...]
    broken: frozenset[str]
    unreadable: bool
    """Whether some lines mean nothing: then nobody knows which section they were to change."""


def load(path: str | os.PathLike[str]) -> IniFile:
    """Read a file. Raises `ConfigurationError` when it is missing, is no text, or has no sections."""
    shown = os.fspath(path)
    parser = _Parser(list(io.StringIO(read_text(path), newline=None)))
    problems = [Problem(shown, line, text) for line, text in parser.take_in()]
    if not parser.sections():
        problems = problems or [Problem(shown, 0, "has no sections; begin one with a line like [name]")]
        raise ConfigurationError([str(problem) for problem in in_order(problems)])
    repeated = list(_repeated(shown, parser))
    names = {problem.section for problem in repeated if problem.section is not None}
    broken = frozenset(parser.sections() if DEFAULT in names else names)
    return IniFile(shown, _entries(parser), parser.header_lines, in_order([*problems, *repeated]), broken, bool(problems))


class _Parser(configparser.ConfigParser):
    """A ConfigParser that remembers on which line it met each header and option, through the two hooks it calls for them."""

    def __init__(self, lines: Sequence[str]):
        super().__init__(interpolation=None, strict=False)  # not strict: that would stop at the first repetition
        self.headers: list[tuple[str, int]] = []
        self.options_met: list[tuple[str, str, int]] = []
        self._lines = list(lines)
        self._line = 0
        self._header_pattern = self.SECTCRE
        self.SECTCRE = self  # type: ignore[assignment]  # only its match() is called

    @property
    def header_lines(self) -> dict[str, int]:
        """Where each section begins first."""
        return {name: line for name, line in reversed(self.headers)}

    def take_in(self) -> Iterator[tuple[int, str]]:
        """Read all lines; yields number and complaint of each that means nothing, not its text: it may be secret."""
        outside = [index + 1 for index in self._before_first_header() if self._lines[index].strip()[:1] not in ("", "#", ";")]
        if outside:
            more = f", as do {len(outside) - 1} lines more" if len(outside) > 1 else ""
            yield outside[0], f"stands before the first section{more}; begin one with a line like [name]"
        for index in self._before_first_header():  # configparser would give up at the first of them
            self._lines[index] = "\n"
        try:
            self.read_file(self._counted())
        except configparser.ParsingError as error:
            for line, _ in error.errors:
                yield line, "is neither an option (name = value) nor a section ([name]) nor a comment (#)"
        self._line = 0

    def _before_first_header(self) -> range:
        headers = (index for index, line in enumerate(self._lines) if self._header_pattern.match(line.strip()))
        return range(next(headers, len(self._lines)))

    def _counted(self) -> Iterator[str]:
        for line in self._lines:
            self._line += 1
            yield line

    def match(self, text: str) -> re.Match[str] | None:
        """What configparser calls for a line that may be a header."""
        match = self._header_pattern.match(text)
        if match and self._line:
            self.headers.append((match["header"], self._line))
        return match

    def optionxform(self, optionstr: str) -> str:
        """What configparser calls for the name of an option, when reading a line and when looking up."""
        name = optionstr.lower()
        if self._line and self.headers and name:
            self.options_met.append((self.headers[-1][0], name, self._line))
        return name


def _entries(parser: _Parser) -> dict[str, dict[str, Entry]]:
    lines = {(section, name): line for section, name, line in parser.options_met}
    sections: dict[str, dict[str, Entry]] = {}
    for section in parser.sections():
        sections[section] = {}
        for name, text in parser.items(section):
            if not name:  # of a line that was complained about
                continue
            origin = section if (section, name) in lines else DEFAULT
            sections[section][name] = Entry(text, lines[origin, name], origin)
    return sections


def _repeated(path: str, parser: _Parser) -> Iterator[Problem]:
    first: dict[tuple[str, str | None], int] = {}
    met = [(section, None, line) for section, line in parser.headers if section != DEFAULT]
    for section, name, line in [*met, *parser.options_met]:
        before = first.setdefault((section, name), line)
        if before != line:
            yield Problem(path, line, f"is written twice, first on line {before}; keep one", section, name)


def nested(options: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, str]]:
    """`a__b__c = v` as `{a: {b: {c: v}}}` with v typed (see `typed`), and what is wrong, by option. Others stay text."""
    values: dict[str, Any] = {}
    problems: dict[str, str] = {}
    for name in sorted(options, key=lambda name: name.count("__")):  # so that a value stands before its would-be parts
        *parents, leaf = name.split("__")
        if not all([*parents, leaf]):
            problems[name] = "has an empty part; write name__part = value"
            continue
        node: Any = values
        for parent in parents:
            node = node.setdefault(parent, {}) if isinstance(node, dict) else node
        if isinstance(node, dict):
            node[leaf] = typed(leaf, options[name]) if parents else options[name]
        else:
            problems[name] = "cannot have parts beside a value of its own; keep one of them"
    return values, problems


def typed(name: str, text: str) -> bool | int | str:
    """Text as the value it looks like: true, yes, on, false, no, off; digits; else text. Secrets and `007` stay text."""
    if is_secret(name):
        return text
    if text.isascii() and text.isdigit() and len(text) < 19 and (text == "0" or text[0] != "0"):
        return int(text)
    return _WORDS.get(text.lower(), text)
