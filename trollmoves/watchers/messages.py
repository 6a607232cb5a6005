"""Watching messages in place of directories: what other publishers say of files that are on this machine.

`listen` hears them (in the loop); `look` sees whether the files are here (in a worker: a network file system, or a name server,
may take its time). Unlike other watchers this one yields whole messages: one may speak of several files.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from trollmoves.bus.addresses import is_own_address, own_names, whether_this_machine
from trollmoves.bus.loop import Loop
from trollmoves.bus.subscribing import NewCatchUp, Subscribing
from trollmoves.errors import MalformedMessage, OriginChanged, OriginGone, PermanentError, TemporaryError, TrollmovesError
from trollmoves.messages import EXTENSION, NESTED, Envelope, Message
from trollmoves.patterns import LONGEST_PATH, Pattern
from trollmoves.uris import check_relative, hide_password, host_of, is_hidden, local_path, may_name_a_file
from trollmoves.watchers.base import Arrival

TYPES = ("file", "dataset", "collection")
"""Of messages that speak of files."""
MOST_FILES = 5000
"""In one message."""

Hear = Callable[[list[Message]], Any]


class Elsewhere(PermanentError):
    """A message is not for us: a file is on another machine, or not among those the section may announce."""

    code = "elsewhere"


class PerhapsElsewhere(TemporaryError):
    """No name server says now whether a message speaks of this machine."""


class Named(NamedTuple):
    """One file that a message names, and what it is."""

    uri: str
    """As in the message."""
    relative: str | None
    """The message's `path`: where the file is to go below a destination."""
    arrival: Arrival
    """Its path leads through no link."""


def listen(loop: Loop, envelope: Envelope, topics: Sequence[str], hear: Hear, *, addresses: Sequence[tuple[str, int]],
           nameserver: str | None, services: Sequence[str], follow: bool, timeout: float, translate: bool, own_port: int | None,
           anybody: bool, new_catch_up: NewCatchUp) -> Subscribing:
    """Hand to *hear* what is published under *topics*; publishers of ours are asked for what got lost (see `Subscribing`).

    Publishers in *addresses* are listened to because the configuration says so. One that only a name server tells of can be
    anybody; it is listened to when it is on this machine, or when *anybody* may be, because what may be announced is limited.
    """
    return Subscribing(loop, envelope, topics, hear, addresses=addresses, nameserver=nameserver, services=services,
                       own_port=own_port, timeout=timeout, follow=follow, translate=translate, new_catch_up=new_catch_up,
                       accepts=(lambda host: "") if anybody else _complaint)


def _complaint(host: str) -> str:
    if host in own_names() or is_own_address(host):
        return ""
    return (f"it is on another machine, and could have any file of this one announced; list it in addresses, or say with "
            f"origin = /data/{{name}} which files may be (it is {host})")


def files_in(message: Message) -> list[tuple[str, str | None]]:
    """Uri and `path` of every file that *message* names. Raises `MalformedMessage` when there is none, or one that cannot be."""
    found = [(item["uri"], item.get("path")) for item in _items(message.fields)]
    if not found or len(found) > MOST_FILES:
        raise MalformedMessage(f"names {len(found)} files")
    for uri, relative in found:
        if not isinstance(uri, str) or not local_path(uri).startswith("/") or len(uri) > LONGEST_PATH or not may_name_a_file(uri):
            raise MalformedMessage(f"has a uri that is no absolute path: {hide_password(str(uri)[:100])!r}")
        if relative is not None:
            try:
                check_relative(relative)
            except TrollmovesError as error:
                raise MalformedMessage(f"path: {error}") from None
    return found


def _items(data: Any) -> Iterator[Mapping[str, Any]]:
    """The mappings with a uri, outermost first."""
    if isinstance(data, dict):
        if "uri" in data:
            yield data
        for name, value in data.items():
            if name != EXTENSION and value.__class__ in NESTED:
                yield from _items(value)
    elif isinstance(data, list):
        for value in data:
            if isinstance(value, dict):
                yield from _items(value)


def look(message: Message, pattern: Pattern | None) -> list[Named]:
    """The files that *message* names, as they are now.

    Raises `Elsewhere` when one is on another machine or does not match *pattern*, `OriginGone` when it is not there (yet),
    `OriginChanged` when it is no regular file, `PerhapsElsewhere` and other temporary errors when that cannot be told, and
    `MalformedMessage`.
    """
    return [Named(uri, relative, _arrival(uri, pattern)) for uri, relative in files_in(message)]


def _arrival(uri: str, pattern: Pattern | None) -> Arrival:
    scheme, host = host_of(uri)
    here = whether_this_machine(host)
    if here is None:
        raise PerhapsElsewhere(f"{hide_password(uri)}: no name server says now whether that is this machine")
    if not here or (scheme and not host and scheme.lower() != "file"):
        raise Elsewhere(f"{hide_password(uri)} is not on this machine")
    path = os.path.normpath(local_path(uri))
    if pattern is not None and not pattern.matches(path):
        raise Elsewhere(f"{path} does not match the origin of the section")
    try:
        real = os.path.join(os.path.realpath(os.path.dirname(path), strict=True), os.path.basename(path))
        status = os.lstat(real)
    except (FileNotFoundError, NotADirectoryError):
        raise OriginGone(f"{path} is not there") from None
    except (OSError, ValueError) as error:
        raise TemporaryError(f"{path} cannot be looked at: {error}") from error
    if pattern is not None and not real.startswith(os.path.realpath(pattern.directory).rstrip("/") + "/"):
        raise Elsewhere(f"{path} leads out of the directory of the section's origin")
    if pattern is None and is_hidden(real):
        raise Elsewhere(f"{path} is hidden (keys and passwords often are); to have it announced, set an origin that takes it")
    if not stat.S_ISREG(status.st_mode):
        raise OriginChanged(f"{path} is a link or no regular file")
    return Arrival(real, status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
