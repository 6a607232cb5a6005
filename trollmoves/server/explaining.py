"""Explaining: what a server would make of a file or of a message, and what decided. Announces and moves nothing."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from typing import Any

from trollmoves.bus.addresses import own_address
from trollmoves.config.settings import ServerSettings
from trollmoves.errors import MalformedMessage, MoveError
from trollmoves.explaining import Sample, explain_each, named
from trollmoves.messages import EXTENSION, Message, dumps
from trollmoves.patterns import Pattern, is_temporary_name
from trollmoves.server.announcing import said_of
from trollmoves.server.rights import Rights
from trollmoves.unpacking.listing import list_names
from trollmoves.uris import format_endpoint, hide_password, is_utf8, parse_destination
from trollmoves.watchers.messages import TYPES, look

_KINDS = {stat.S_IFIFO: "named pipe (FIFO)", stat.S_IFSOCK: "socket", stat.S_IFCHR: "device", stat.S_IFBLK: "device"}
STRANGER = "0.0.0.0"  # nobody's address: of a recorded request it is not known who sent it


def explain_sample(text: str, chains: Mapping[str, ServerSettings]) -> Iterator[str]:
    """Lines that say what each section would make of the sample. Raises `ConfigurationError` when it is none."""
    return explain_each(text, chains, named, _lines)


def _lines(sample: Sample, settings: ServerSettings) -> Iterator[str]:
    if sample.message is None:
        yield from _of_file(sample.path, settings)
    elif sample.message.type == "push":
        yield from explain_push(sample.message, settings, settings.topic)
    elif settings.listen is None:
        yield "no, it watches a directory and hears no messages"
    else:
        yield from _of_message(sample.message, settings)


# A file.


def _of_file(path: str, settings: ServerSettings) -> Iterator[str]:
    if settings.listen is not None:
        yield f"no, it listens to {', '.join(settings.heard_topics)} and watches no directory"
        return
    assert settings.origin is not None
    pattern = Pattern(settings.origin)
    trouble = trouble_with(path, pattern)
    if trouble:
        yield f"no, {trouble}"
        return
    fields = pattern.parse(path) or {}
    yield f"yes, origin {settings.origin} takes it"
    if os.path.exists(path) and not os.access(path, os.R_OK):
        yield "but who runs this may not read it: a server of this user announces it, and refuses requests for it until it may"
    if settings.compression is not None:
        yield f"compression: what has the ending of {settings.compression} is unpacked, and announced is what comes out"
    alone = settings.request_port is None
    members: tuple[str, ...] = ()
    if settings.archives is not None and not os.path.exists(path):
        yield f"-> announced are its members (unpack = {settings.archives}), which are known when it is there"
        return
    if settings.archives is not None:
        try:
            members = list_names(path, settings.archives, lambda _: True)
        except MoveError as error:
            yield f"announced as one file, because it is no {settings.archives} archive to be listed (unpack): {error}"
    kind, data = said_of(path, fields, members, settings, None if alone else _address(settings))
    yield from _announced(settings, kind, data)
    if alone:
        yield "there is no request_port: nobody can ask for it, it is fetched by ssh"
    else:
        yield from requests_and_removal(settings)


def trouble_with(path: str, pattern: Pattern, empty: str = "it is empty") -> str:
    """Why the file would not be taken; empty when it would (one that is not there, if it came). *empty* is what is said of one
    without content."""
    status = _status(path)
    if status is not None and stat.S_ISDIR(status.st_mode):
        return f"it is a directory: only files are taken, those whose paths match {pattern.glob}"
    if not pattern.matches(path):
        return f"its path does not match origin {pattern.text} (as wildcards: {pattern.glob})"
    if path.count("/") != pattern.glob.count("/"):
        return f"it lies deeper than origin {pattern.text} says: the directories it names are watched, not those below them"
    if is_temporary_name(os.path.basename(path)):
        return "it has the name of a file that is still being delivered"
    if not is_utf8(path):
        return "its name is not UTF-8, as all text in messages is: the log says so, and it is left alone until it gets another"
    if pattern.parse(path) is None:
        return f"it matches the wildcards {pattern.glob}, but the fields of origin cannot be read from its name" + (
            ", which has a line end in it" if "\n" in path else "")
    if status is None:
        return ""
    return _trouble_with_kind(path, pattern, status) or ("" if status.st_size else empty)


def _status(path: str) -> os.stat_result | None:
    try:
        return os.lstat(path)
    except OSError:
        return None


def _trouble_with_kind(path: str, pattern: Pattern, status: os.stat_result) -> str:
    """Why what has the right name would not be taken for what it is."""
    link = _link_on_the_way(path, pattern)
    if link is not None:
        what, instead = ("it", "a hard link (ln without -s) or a copy is taken") if link == path else (
            f"the directory {link}", "name the directory it leads to in an origin of its own")
        return (f"{what} is a symbolic link (to {os.readlink(link)}), and below {pattern.directory} links are not followed; "
                f"{instead}")
    kind = next((word for mode, word in _KINDS.items() if stat.S_IFMT(status.st_mode) == mode), "")
    return f"it is a {kind}: only regular files are taken, so it is left alone" if kind else ""


def _link_on_the_way(path: str, pattern: Pattern) -> str | None:
    """The first symbolic link on the way from the watched directory to the file, itself included."""
    parts = path.split("/")
    ways = ["/".join(parts[:count]) for count in range(len(parts) - pattern.depth, len(parts) + 1)]
    return next((way for way in ways if os.path.islink(way)), None)


def _announced(settings: ServerSettings, kind: str, data: Mapping[str, Any]) -> Iterator[str]:
    yield f"-> announced as {kind} under {settings.topic}: {dumps(data).decode('utf-8', 'replace')}"


def requests_and_removal(settings: ServerSettings) -> Iterator[str]:
    """Who may ask for what is announced, and when it is removed."""
    allowed = ", ".join(map(hide_password, settings.allowed_destinations))
    yield f"requests go to {_address(settings)}; " + (
        "any destination is allowed (allowed_destinations)" if settings.any_destination else
        f"allowed are {allowed + ' and ' if allowed else ''}destinations on the asking client's own machine")
    if settings.delete is not None:
        named = {"first": "the first client", "all": "every known client"}
        who = " and ".join(settings.delete) if isinstance(settings.delete, tuple) else named[settings.delete]
        yield f"removed {settings.remove_delay:g} s after {who} confirmed it (delete, remove_delay)"


def _address(settings: ServerSettings) -> str:
    return format_endpoint(settings.request_address or own_address(), settings.request_port or 0)


# A message.


def _of_message(message: Message, settings: ServerSettings) -> Iterator[str]:
    topics = settings.heard_topics
    topic = next((topic for topic in topics if message.subject.startswith(topic)), None)
    if topic is None:
        yield f"no, the subject begins with none of {', '.join(topics)}"
        return
    if message.type not in TYPES:
        yield f"no, its type is none of {', '.join(TYPES)}"
        return
    try:
        named = look(message, None if settings.origin is None else Pattern(settings.origin))
    except (MoveError, MalformedMessage) as error:
        yield f"no, {error}"
        return
    yield f"yes, topic {topic}; of {len(named)} file(s) on this machine"
    heard = {name: value for name, value in message.fields.items() if name != EXTENSION}
    data = {**settings.info.plain(), **heard, "request_address": _address(settings)}
    yield from _announced(settings, message.type, data)
    yield from requests_and_removal(settings)


def explain_push(message: Message, settings: ServerSettings, topic: str) -> Iterator[str]:
    """A request to a section that announces under *topic*: only whether the destination is allowed; whether the file was
    announced, the journal of the server knows."""
    if settings.request_port is None:
        yield "no, it has no request_port"
        return
    if not message.subject.startswith(topic):
        yield f"no, what it announces is under {topic}"
        return
    rights = Rights(settings.name, settings.allowed_destinations, settings.allow_inline_credentials)
    try:
        place = rights.check(parse_destination(message.fields.get("destination")), STRANGER)
    except MoveError as error:
        yield f"no (unless the client asks for its own machine), {str(error).replace(f' for {STRANGER}', '')}"
        return
    yield f"yes, if it was announced: {place.exact} is allowed by allowed_destinations"
