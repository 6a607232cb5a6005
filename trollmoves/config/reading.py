"""A configuration file to the settings of its chains; everything that is wrong with it at once."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import ValidationError

from trollmoves.config import ini
from trollmoves.config.expectations import Set, fields_in
from trollmoves.config.hidden import shown
from trollmoves.config.mirrors import MirrorSettings
from trollmoves.config.moves import MoveSettings
from trollmoves.config.places import is_one_file
from trollmoves.config.settings import ChainSettings, ClientSettings, ServerSettings
from trollmoves.config.text import Problem, in_order, near
from trollmoves.config.values import is_false
from trollmoves.errors import ConfigurationError
from trollmoves.movers.parameters import IDLE, NAMES, NO_NUMBER, no_numbers
from trollmoves.movers.registry import known_parameters
from trollmoves.patterns import Pattern

S = TypeVar("S", bound=ChainSettings)
_ALWAYS = ("uid", "uri", "request_address")
"""Fields that every announcement has."""


@dataclass(frozen=True, slots=True)
class Configuration(Generic[S]):
    """What a readable file says. A section with a problem is no chain; the others can be used all the same."""

    path: str
    chains: Mapping[str, S]
    problems: tuple[str, ...]
    warnings: tuple[str, ...]
    broken: frozenset[str]
    """Sections that have problems: on reload their running chains are left alone."""

    def require_all(self) -> None:
        """Raise `ConfigurationError` with every problem if there is any: for checking."""
        if self.problems:
            raise ConfigurationError(self.problems)


def read_server_config(path: str | os.PathLike[str]) -> Configuration[ServerSettings]:
    """Read a server's file. Raises `ConfigurationError` when it is unreadable, has no sections or has lines that mean nothing."""
    return _read(path, ServerSettings, _server_section)


def read_client_config(path: str | os.PathLike[str]) -> Configuration[ClientSettings]:
    """Read a client's file. Raises as `read_server_config` does."""
    return _read(path, ClientSettings, _client_section)


def read_mirror_config(path: str | os.PathLike[str]) -> Configuration[MirrorSettings]:
    """Read a mirror's file. Raises as `read_server_config` does."""
    return _read(path, MirrorSettings, _mirror_section)


def read_move_config(path: str | os.PathLike[str]) -> Configuration[MoveSettings]:
    """Read a file of move_it. Raises as `read_server_config` does."""
    return _read(path, MoveSettings, _move_section)


class _Section:
    """One section on its way from text to settings."""

    def __init__(self, file: ini.IniFile, name: str):
        self.name = name
        self.entries = file.sections[name]
        self.written: dict[str, str] = {}
        """Options that stand in the file under another name."""
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []
        self._file = file

    def text(self) -> dict[str, str]:
        return {name: entry.text for name, entry in self.entries.items()}

    def problem(self, option: str, text: str) -> None:
        self.problems.append(self._at(option, text))

    def warn(self, option: str, text: str) -> None:
        self.warnings.append(self._at(option, text))

    def _at(self, option: str, text: str) -> Problem:
        parts = (entry for name, entry in self.entries.items() if name.startswith(option + "__"))
        entry = self.entries.get(option) or next(parts, None)
        if entry is None:
            return Problem(self._file.path, self._file.lines[self.name], text, self.name, option)
        return Problem(self._file.path, entry.line, text, entry.section, option)


def _read(path: str | os.PathLike[str], model: type[S], read_section: Callable[[_Section], dict[str, Any]]) -> Configuration[S]:
    file = ini.load(path)
    sections = [_Section(file, name) for name in file.sections]
    chains = {section.name: _settings(section, model, read_section(section)) for section in sections}
    if issubclass(model, ServerSettings):
        _check_shared_ports(sections, chains)
        _check_shared_origins(sections, chains)
    _check_overwriting(sections, chains)
    if model is ClientSettings:
        _check_own_ports(sections, chains)
        _check_beats(sections)
    for section in sections:
        _check_formats(section, chains[section.name])
        _check_expectations(section, chains[section.name])
    problems = in_order([*file.problems, *(problem for section in sections for problem in section.problems)])
    warnings = in_order(warning for section in sections for warning in section.warnings)
    if file.unreadable:
        raise ConfigurationError([str(problem) for problem in problems], [str(warning) for warning in warnings])
    broken = file.broken | {section.name for section in sections if section.problems}
    good = {name: chain for name, chain in chains.items() if chain is not None and name not in broken}
    return Configuration(file.path, good, tuple(map(str, problems)), tuple(map(str, warnings)), broken)


def _settings(section: _Section, model: type[S], values: dict[str, Any]) -> S | None:
    given = {name: value for name, value in values.items() if value != ""}
    for option, text in model.missing(given):
        section.problem(option, text)
    try:
        return model(name=section.name, **given)
    except ValidationError as error:
        for detail in error.errors(include_url=False, include_input=False):
            if detail["type"] != "missing":
                option = str(detail["loc"][0])
                text = shown(option, given.get(option)) + detail["msg"].removeprefix("Value error, ")
                section.problem(section.written.get(option, option), text)
        return None


def _mirror_section(section: _Section) -> dict[str, Any]:
    return {"group": section.name} | _server_section(section, MirrorSettings, "a mirror")


def _server_section(section: _Section, model: type[ServerSettings] = ServerSettings, what: str = "a server") -> dict[str, Any]:
    values = _values_with_parts(section, model, what)
    _check_parameters(section, values)
    _check_mode(section, values)
    if values.get("allowed_destinations") == "any":
        section.warn("allowed_destinations", "allows any client to have files pushed anywhere; list the destinations instead")
    return values


def _move_section(section: _Section) -> dict[str, Any]:
    values = _values_with_parts(section, MoveSettings, "move_it")
    _check_parameters(section, values)
    if not values.get("topic"):
        section.warn("topic", "is missing, so nothing is published of this section; write for example topic = /moved")
    return values


def _values_with_parts(section: _Section, model: type[ServerSettings | MoveSettings], program: str) -> dict[str, Any]:
    """The options of *model* that are given, `connection_parameters__name` put together."""
    values, problems = ini.nested(section.text())
    for option, text in problems.items():
        section.problem(option, text)
    known = model.options()
    _rename(section, values, known)
    _move_deprecated(section, values)
    for option in [name for name in values if name not in known]:
        del values[option]
        hint = f"; write connection_parameters__{option}" if option in NAMES else near(option, known)
        section.warn(option, f"is no option of {program} and is ignored{hint}")
    for option in [name for name, value in values.items() if isinstance(value, dict) and name != "connection_parameters"]:
        del values[option]
        section.problem(option, f"has no parts; write {option} = value")
    _check_wildcards(section, values.get("origin"))
    return values


def _check_wildcards(section: _Section, origin: Any) -> None:
    """Shells have taught everybody `*.dat`; in a pattern it is a star."""
    found = re.search(r"[*?]", re.sub(r"\{[^{}]*\}", "", origin)) if isinstance(origin, str) else None
    if found is not None:
        section.warn("origin", f"has {found[0]!r}, which only fits a name with this very character; write a field for what "
                               "varies: {name}, or {number:d}")


def _rename(section: _Section, values: dict[str, Any], known: Collection[str]) -> None:
    for old, new in ServerSettings.RENAMED.items():
        if new not in known:
            continue
        if old in values and new in values:
            if section.entries[old].section == section.entries[new].section:
                section.problem(old, f"is another name of {new}, which is given as well; keep one")
            weaker = new if section.entries[new].section == ini.DEFAULT else old
            del values[weaker]
        if old in values:
            values[new] = values.pop(old)
            section.written[new] = old


def _move_deprecated(section: _Section, values: dict[str, Any]) -> None:
    for option in [name for name in ServerSettings.DEPRECATED if name in values]:
        section.warn(option, f"is deprecated in this place. Consider using connection_parameters__{option}")
        text = values.pop(option)
        parameters = values.setdefault("connection_parameters", {})
        if isinstance(parameters, dict) and isinstance(text, str) and text:
            parameters.setdefault(option, ini.typed(option, text))


def _check_parameters(section: _Section, values: Mapping[str, Any]) -> None:
    parts = values.get("connection_parameters")
    parameters = parts if isinstance(parts, dict) else {}
    for name in no_numbers(parameters):
        written = name if name in section.entries else f"connection_parameters__{name}"
        section.problem(written, NO_NUMBER)
    _check_names(section, parameters)


def _check_mode(section: _Section, values: Mapping[str, Any]) -> None:
    """What a section that listens, or that nobody can ask, cannot mean."""
    if "listen" in values:
        if is_false(values.get("nameserver")) and not values.get("addresses"):
            section.problem("nameserver", "is false without addresses: there is nobody to listen to")
        return
    for option in [option for option in ServerSettings.LISTENING if option in values]:
        section.warn(option, "is ignored: it is for sections that listen")
    if values.get("unpack") and not is_false(values["unpack"]) and values.get("request_port"):
        section.warn("unpack", "is ignored: it is for sections without request_port, whose files are fetched, not requested")


def _check_names(section: _Section, parameters: Mapping[str, Any]) -> None:
    """Warn of connection parameters that no mover takes, and of those that change nothing."""
    strangers = [name for name in parameters if name not in NAMES]
    known = known_parameters() if strangers else NAMES
    for name in strangers:
        if known is not None and name not in known:
            section.warn(f"connection_parameters__{name}", f"is known to no mover and is ignored{near(name, known)}")
    for name in parameters:
        if name in IDLE:
            section.warn(f"connection_parameters__{name}", f"is accepted and changes nothing: {IDLE[name]}")


def _check_shared_ports(sections: list[_Section], chains: Mapping[str, Any]) -> None:
    first: dict[int, ServerSettings] = {}
    for section in sections:
        chain = chains[section.name]
        if chain is None or chain.request_port is None:
            continue
        other = first.setdefault(chain.request_port, chain)
        if other.listen_address != chain.listen_address:
            section.problem("request_port", f"{chain.request_port} is also that of [{other.name}], with another listen_address; "
                                            "give both the same address, or one of them another port")


def _check_overwriting(sections: list[_Section], chains: Mapping[str, Any]) -> None:
    """Warn of destinations of move_it at which the last file only would be left."""
    for section in sections:
        chain = chains[section.name]
        if isinstance(chain, MoveSettings) and Pattern(chain.origin).fields:
            for place in chain.destinations:
                if is_one_file(place.reveal()):
                    section.warn("destinations", f"{place} is the name of one file, unless a directory is called so, and every "
                                 f"file replaces the one before it; write {place}/ for a directory")


def _check_own_ports(sections: list[_Section], chains: Mapping[str, Any]) -> None:
    """Each port that a client listens on is one section's, for one purpose."""
    taken: list[tuple[int, str, str]] = []
    for section in sections:
        chain = chains[section.name]
        for option in ("publish_port", "replay_port") if chain is not None else ():
            port, address = getattr(chain, option), chain.listen_address
            others = [whose for number, at, whose in taken if number == port and (at == address or "*" in (at, address))]
            if port and others:
                section.problem(option, f"{port} is also the {others[0]}; give it another port, or 0 for a random one")
            taken.append((port, address, f"{option} of [{section.name}]"))


def _check_beats(sections: list[_Section]) -> None:
    """Who listens to several sections of one client knows them by the subjects of their heartbeats."""
    first: dict[str, str] = {}
    for section in sections:
        other = first.setdefault("_".join(section.name.split()), section.name)
        if other != section.name:
            section.problem("name", f"has the same heartbeats as [{other}], as white space becomes _ there; give it another name")


def _check_formats(section: _Section, chain: ChainSettings | None) -> None:
    """Warn of fields that no name of a file fits."""
    origin = getattr(chain, "origin", None)
    for field in Pattern(origin).unread if origin else ():
        section.warn("origin", f"has {field}, a format of times that is not known here, so it only fits a name with this very "
                               "text; write the time with %Y, %m, %d, %j, %H, %M, %S and the like")


def _check_expectations(section: _Section, chain: ChainSettings | None) -> None:
    """Warn of fields that no message of a section has that watches a directory. What others say in theirs is not known."""
    if not isinstance(chain, ServerSettings) or isinstance(chain, MirrorSettings):
        return
    if chain.origin is None or chain.listen is not None:
        return
    origin = Pattern(chain.origin)
    known = {*origin.fields, *chain.info.plain(), *_ALWAYS}
    for one in chain.expect:
        if isinstance(one, Set) and one.time_field in origin.fields and one.time_field not in origin.times:
            section.warn("expect", f"takes {one.time_field!r} for a time, which origin does not read as one: it is one only "
                                   "where names have it as 2026-01-31T12:00:00; write its format there, as in "
                                   f"{{{one.time_field}:%Y%m%d%H%M}}")
    for name in fields_in(chain.expect):
        if name not in known:
            section.warn("expect", f"speaks of {name!r}, which is neither a field of origin nor in info{near(name, known)}: "
                                   "no file has it")


def _check_shared_origins(sections: list[_Section], chains: Mapping[str, Any]) -> None:
    """Who removes origins of another section may have forgotten it."""
    origins = {name: Pattern(chain.origin) for name, chain in chains.items() if chain is not None and chain.origin is not None}
    for section in sections:
        if section.name not in origins:
            continue
        chain, own = chains[section.name], origins[section.name]
        others = [f"[{name}]" for name, origin in origins.items() if name != section.name and own.overlaps(origin)]
        if others and chain.delete is not None:
            section.warn("delete", f"removes also what {', '.join(others)} may announce: a file goes when all known consumers of "
                                   "these sections have confirmed it, and nobody else is waited for")
        if others and chain.delete_after is not None:
            section.warn("delete_after", f"removes also what {', '.join(others)} may announce, whoever waits for it there")


def _client_section(section: _Section) -> dict[str, Any]:
    values: dict[str, Any] = {}
    replacements: dict[str, Any] = {}
    known = ClientSettings.options()
    for option, text in section.text().items():
        mapping = _mapping(text)
        if option in known and (mapping is None or option in ClientSettings.FREE_TEXT):
            values[option] = text
        elif option in ClientSettings.PROTOCOL_KEYS:
            section.warn(option, "is ignored: the protocol needs this key, so it is never replaced in messages")
        else:
            replacements[option] = text if mapping is None else mapping
            if option in known or near(option, known):
                why = ("has a mapping as its value", "") if option in known else ("is no option of a client", near(option, known))
                section.warn(option, f"{why[0]}, so it replaces metadata of this name{why[1]}")
    _correct_client(section, values)
    return values | {"replacements": replacements}


def _correct_client(section: _Section, values: dict[str, Any]) -> None:
    if not re.fullmatch(r"[+-]?\d+", values.get("publish_port") or "0"):
        section.warn("publish_port", "is no number and taken for 0, a random port; write publish_port = 0 if that is meant")
        del values["publish_port"]
    if not values.get("group"):
        values["group"] = section.name
    packed = values.get("compression") and not is_false(values["compression"])
    if packed and values.get("destination", "").lower().startswith("s3:"):
        section.problem("compression", "needs a destination this machine can read as files, and s3 is none; leave it out")
    if values.get("expect") and values.get("processing_delay") and not is_false(values["processing_delay"]):
        section.warn("expect", "a hot spare (processing_delay) publishes little while its primary works, so its files would seem "
                               "late: give `expect` to the primary")


def _mapping(text: str) -> dict[str, str] | None:
    """`a:b|c:d` as a mapping; None for any other text."""
    pairs = [item.split(":") for item in text.split("|")]
    if any(len(pair) != 2 for pair in pairs):
        return None
    return {old.strip(): new.strip() for old, new in pairs}
