"""What a request says, read strictly: who asks, for which announcement, to where."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from trollmoves.bus import Asker
from trollmoves.bus.requesting import PUSHES
from trollmoves.errors import DestinationInvalid
from trollmoves.lifecycle import State
from trollmoves.messages import LARGEST_WHOLE, Message, values_of
from trollmoves.server.beneath import announced_file
from trollmoves.server.pushing import Member
from trollmoves.uris import Destination, check_relative, local_path

UNANNOUNCED = (State.SEEN, State.COVERED)
"""States of packed files, which wait to be unpacked or are announced as what they were unpacked to."""
MOST_GROUPED = 1000
MOST_CHECKSUMS = 50
"""That a request may name."""
LIGHT = 200
"""Bytes, about, of what is held of a request where its message is held already, or shared with others."""


@dataclass(frozen=True, slots=True)
class Consumer:
    """Who has files pushed to it: what `delete` counts."""

    client: str
    """Names one client chain; of upstream clients, which have no name, the address."""
    group: str
    """What a primary and its hot spares share; empty for upstream clients."""
    spare: bool

    @classmethod
    def of(cls, asker: Asker, message: Message) -> Consumer:
        client, group = (message.extension.get(name) for name in ("client", "group"))
        if isinstance(client, str) and isinstance(group, str) and 0 < len(client) <= 200 and 0 < len(group) <= 200:
            return cls(client, group, message.extension.get("priority", 0) != 0)
        return cls(asker.address, "", False)


@dataclass(slots=True)
class Waiter:
    """Somebody who waits for the outcome of a move."""

    asker: Asker
    message: Message
    since: float
    request: str
    """Empty for upstream clients, whose reply is held back until the end."""
    consumer: Consumer
    grouped: bool = False
    """The request came together with others, and so go the answers."""
    at_once: bool = False
    """It publishes as soon as it is told the outcome, and wants to be told with it that it may."""

    @classmethod
    def of(cls, asker: Asker, message: Message, since: float) -> Waiter:
        """Who makes the request *message*, of a single file."""
        return cls(asker, message, since, request_id(message), Consumer.of(asker, message), False, publishes_at_once(message))

    @property
    def weight(self) -> int:
        """Bytes that are held in memory for it, about; the message of requests that came together is shared."""
        return LIGHT if self.grouped else LIGHT + len(self.message.raw)


def publishes_at_once(message: Message) -> bool:
    return message.extension.get("commit") is True


def request_id(message: Message) -> str:
    request = message.extension.get("request")
    return request if isinstance(request, str) and request.startswith("r:") and len(request) <= 64 else ""


def content_had(message: Message) -> tuple[str, ...]:
    """Checksums of content that who asks has already, and does not want again."""
    had = message.extension.get("unless")
    return tuple(checksum for checksum in had[:MOST_CHECKSUMS] if isinstance(checksum, str)) if isinstance(had, list) else ()


def wants_checksum(message: Message) -> bool:
    """Whether the checksum of what is delivered is to be told, also where the move goes without."""
    return message.extension.get("checksum") is True


def group(message: Message) -> list[tuple[int, str]]:
    """The requests of a grouped push. Raises `DestinationInvalid` when they are none."""
    pairs = message.extension.get(PUSHES)
    if not isinstance(pairs, list) or not 0 < len(pairs) <= MOST_GROUPED or not all(map(is_confirmation, pairs)):
        raise DestinationInvalid(f"{PUSHES} must be a list of 1 to {MOST_GROUPED} pairs [offset, request]")
    return [(pair[0], pair[1]) for pair in pairs]


def is_confirmation(pair: Any) -> bool:
    return (isinstance(pair, list) and len(pair) == 2 and type(pair[0]) is int and 0 < pair[0] <= LARGEST_WHOLE
            and isinstance(pair[1], str) and pair[1].startswith("r:") and len(pair[1]) <= 64)


def is_about(row: Any, uris: tuple[str, ...]) -> bool:
    """Whether the uris of a request are those that were announced, and are still served. They are compared, never opened."""
    return row["state"] not in UNANNOUNCED and is_named(row, uris)


def is_named(row: Any, uris: tuple[str, ...]) -> bool:
    """Whether the uris of a request are those of *row*, whatever has become of it: newer content may have covered it."""
    return bool(uris) and announced_path(uris) == row["path"]


def announced_path(uris: tuple[str, ...]) -> bytes:
    """What stands in the journal as the path of files announced together: that of the only one, or a digest of all paths."""
    paths = sorted({os.fsencode(local_path(uri)) for uri in uris})
    return paths[0] if len(paths) == 1 else b"sha256:" + hashlib.sha256(b"\0".join(paths)).hexdigest().encode()


def transfer_id(row: Any, consumer: Consumer, destination: Destination, request: str, message: Message, epoch: str) -> str:
    """What makes two requests the same: content, consumer and destination; for upstream clients, which repeat a request letter by
    letter, the letters. With the *epoch* of our journal, as temporary names are made of it: another server may send the same file
    to the same place at the same time."""
    parts = [epoch, str(row["id"]), row["key"], consumer.group or consumer.client, destination.place, destination.user or ""]
    if not request:
        parts.append(hashlib.sha256(message.raw).hexdigest())
    return hashlib.sha256("\n".join(parts).encode("utf-8", "replace")).hexdigest()[:32]


def members(message: Message, row: Any, parts: Sequence[Any] = ()) -> tuple[Member, ...]:
    """The files to move: *parts*, where the journal has them one by one, to the places announced; else that of *row*."""
    if parts:
        return tuple(Member(announced_file(part), part["relative"]) for part in parts)
    relatives = list(values_of(message.fields, "path"))
    if relatives:
        check_relative(relatives[0])
    return (Member(announced_file(row), relatives[0] if relatives else None),)


def backups(message: Message) -> tuple[str, ...]:
    found = message.fields.get("backup_targets")
    if found is None:
        return ()
    if not isinstance(found, list) or len(found) > 20 or not all(isinstance(host, str) and host for host in found):
        raise DestinationInvalid("backup_targets must be a short list of hosts")
    return tuple(found)
