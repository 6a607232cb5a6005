"""The configuration of remove_it: one INI section for each set of files to remove; mail and publishing in `[DEFAULT]`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from string import Formatter
from typing import Any

from trollmoves.config import ini, places, values
from trollmoves.config.text import Problem, in_order, near
from trollmoves.errors import ConfigurationError
from trollmoves.uris import parse_endpoint

SMTP_PORT = 25
STAT_TIMES = ("st_ctime", "st_mtime", "st_atime")
UNITS = {"days": 86400, "hours": 3600, "minutes": 60, "seconds": 1}
SUBJECT = "remove_it on {hostname}"


@dataclass(frozen=True, slots=True)
class Section:
    """What one section removes."""

    name: str
    base_dir: str
    """Absolute; empty when it is not given, which skips the section."""
    templates: tuple[str, ...]
    age: float
    """Seconds."""
    stat_time_method: str = "st_ctime"
    recursive: bool = False
    include_hidden: bool = False


@dataclass(frozen=True, slots=True)
class Mail:
    """Where warnings are mailed to with `--mail`."""

    host: str
    port: int
    to: tuple[str, ...]
    subject: str


@dataclass(frozen=True, slots=True)
class Publishing:
    """How `/deletion` messages are published."""

    port: int = 0
    nameservers: tuple[str, ...] | bool | None = None
    """False: none is told; None: multicast."""
    address: str = "*"


@dataclass(frozen=True, slots=True)
class CleanerConfiguration:
    """What a readable file says. A section with a problem is left out; the others can be used all the same."""

    path: str
    sections: Mapping[str, Section]
    mail: Mail | None
    publishing: Publishing
    problems: tuple[str, ...]
    warnings: tuple[str, ...]


def _templates(text: str) -> tuple[str, ...]:
    found = tuple(dict.fromkeys(filter(None, map(str.strip, text.split(",")))))
    for template in found:
        if ".." in template.split("/"):
            raise ValueError("has a template that leaves its directory with `..`; give that directory a section of its own")
        if template.endswith("/"):
            raise ValueError("has a template that ends with /; name what is to be removed, for example *.dat")
    return found


def _mail_host(text: str) -> tuple[str, int]:
    try:
        return parse_endpoint(text) if ":" in text else (places.host(text), SMTP_PORT)
    except ValueError:
        raise ValueError("is not a host or host:port") from None


def _subject(text: str) -> str:
    try:
        fields = {name for _, name, _, _ in Formatter().parse(text) if name is not None}
    except ValueError as error:
        raise ValueError(f"cannot be filled in: {error}; double a brace that is meant as it is") from None
    if fields - {"hostname", "user"}:
        raise ValueError("has a field that is none of {hostname} and {user}")
    return text


def _recipients(text: str) -> tuple[str, ...]:
    found = tuple(filter(None, map(str.strip, text.split(","))))
    if not all("@" in word.strip("@") or word.isalnum() for word in found):
        raise ValueError("is not a list of mail addresses; separate them by commas")
    return found


_WHOLE = values.number_of(0, 10**9)
SECTION_OPTIONS: dict[str, Callable[[str], Any]] = {
    "base_dir": os.path.abspath, "templates": _templates, **dict.fromkeys(UNITS, _WHOLE),
    "stat_time_method": values.one_of(*STAT_TIMES), "recursive": values.flag, "include_hidden": values.flag}
DEFAULT_OPTIONS: dict[str, Callable[[str], Any]] = {
    "mailhost": _mail_host, "to": _recipients, "subject": _subject, "publish_port": values.number_of(0, 65535),
    "nameservers": values.false_or_words, "listen_address": places.host}
OPTIONS = SECTION_OPTIONS | DEFAULT_OPTIONS


@dataclass
class _Reading:
    """A file on its way to a configuration."""

    file: ini.IniFile
    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)

    def values_of(self, section: str, options: Iterable[str]) -> dict[str, Any]:
        """The values of those options that are given and can be read; problems for the others."""
        found: dict[str, Any] = {}
        for option, entry in self.file.sections[section].items():
            if option in options and entry.text:
                try:
                    found[option] = OPTIONS[option](entry.text)
                except ValueError as error:
                    self.problems.append(Problem(self.file.path, entry.line, str(error), entry.section, option))
        return found

    def section(self, name: str) -> Section | None:
        """The section, or None when something is wrong with it."""
        before = len(self.problems)
        self._warn_of_strangers(name)
        found = self.values_of(name, SECTION_OPTIONS)
        ages = [found.pop(unit) * seconds for unit, seconds in UNITS.items() if unit in found]
        entries = self.file.sections[name]
        if "templates" not in entries or found.get("templates") == ():
            self._missing(name, "templates", "templates = *.dat,*.tmp")
        if not ages and not any(unit in entries for unit in UNITS):
            self._missing(name, "days", "days = 2 (or hours, minutes, seconds; 0 for any age)")
        if len(self.problems) > before or name in self.file.broken:
            return None
        return Section(name, found.pop("base_dir", ""), found.pop("templates"), float(sum(ages)), **found)

    def _missing(self, section: str, option: str, example: str) -> None:
        text = f"is missing; write for example {example}"
        self.problems.append(Problem(self.file.path, self.file.lines[section], text, section, option))

    def _warn_of_strangers(self, section: str) -> None:
        for option, entry in self.file.sections[section].items():
            if option not in OPTIONS:
                text = f"is no option of remove_it and is ignored{near(option, OPTIONS)}"
                self.warnings.append(Problem(self.file.path, entry.line, text, entry.section, option))

    def general(self) -> tuple[Mail | None, Publishing]:
        """What stands in `[DEFAULT]`: it is found, inherited, in every section that does not say otherwise."""
        found: dict[str, Any] = {}
        for name, entries in self.file.sections.items():
            inherited = [option for option in DEFAULT_OPTIONS if option in entries and entries[option].section == ini.DEFAULT]
            found |= self.values_of(name, inherited)
            for option in DEFAULT_OPTIONS:
                if option in entries and option not in inherited:
                    text = "holds for the whole file and is ignored here; write it in [DEFAULT]"
                    self.warnings.append(Problem(self.file.path, entries[option].line, text, name, option))
        mail = None
        if "mailhost" in found and "to" in found:
            host, port = found["mailhost"]
            mail = Mail(host, port, found["to"], found.get("subject", SUBJECT))
        return mail, Publishing(found.get("publish_port", 0), found.get("nameservers"), found.get("listen_address", "*"))


def read_cleaner_config(path: str | os.PathLike[str]) -> CleanerConfiguration:
    """Read a file. Raises `ConfigurationError` when it is unreadable, has no sections or has lines that mean nothing."""
    reading = _Reading(ini.load(path))
    mail, publishing = reading.general()
    found = {name: reading.section(name) for name in reading.file.sections}
    problems = tuple(map(str, in_order([*reading.file.problems, *reading.problems])))
    if reading.file.unreadable:
        raise ConfigurationError(problems)
    sections = {name: section for name, section in found.items() if section is not None}
    return CleanerConfiguration(reading.file.path, sections, mail, publishing, problems,
                                tuple(map(str, in_order(reading.warnings))))
