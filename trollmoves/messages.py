"""posttroll messages: a tolerant, strict-where-it-matters codec, and frozen views of the messages this network exchanges.

One message is one UTF-8 text: `pytroll:/SUBJECT TYPE USER@HOST TIME VERSION [MIME PAYLOAD]`. Versions v1.01 and v1.2 are read and
written. Unlike posttroll's own decoder this one leaves every value as it came: a uid `20260101` stays text and goes on byte for
byte. Where a date is needed (to fill in a destination) `moment` reads it.

The extension of this package is one key, `trollmoves`, in the data; peers that do not know it ignore it and echo it.
"""

from __future__ import annotations

import hashlib
import json
import os
import pwd
import re
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple

import orjson

from trollmoves.errors import MalformedMessage
from trollmoves.uris import CACHED, parse_endpoint

MAGIC = "pytroll:/"
NEWEST_VERSION = "v1.2"
EXTENSION = "trollmoves"
PROTOCOL = 1
"""Version of the extension."""
DEEPEST = 20
"""Levels of nesting accepted in a message."""
MOST_ITEMS = 20_000
"""Values accepted in a message."""

Data = dict[str, Any]

NESTED = (dict, list)

LONGEST_NAME = 4096
"""Characters; what is longer is not kept in memory, in the journal and in logs as a name."""
LONGEST_HEAD = 1000
"""Characters of a subject, a type, a sender; they are kept by the thousand."""

LARGEST_WHOLE = 2**63 - 1
"""The largest whole number a journal can keep."""
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_UNSAFE = re.compile(r"\s")


class Message(NamedTuple):
    """One decoded message. `data` is shared, never changed in place. (A tuple, because thousands are made in a second.)"""

    subject: str
    type: str
    sender: str
    time: str
    version: str
    data: Any
    """A dict for JSON objects, text for `text/ascii`, empty text for none."""
    raw: bytes

    def __repr__(self) -> str:
        return f"<Message {self.subject} {self.type} {self.sender} {self.time}>"

    @property
    def fields(self) -> Data:
        """The data when it is a JSON object, else an empty one."""
        return self.data if isinstance(self.data, dict) else {}

    @property
    def extension(self) -> Data:
        """What the peer said in our extension, else empty."""
        found = self.data.get(EXTENSION) if isinstance(self.data, dict) else None
        return found if isinstance(found, dict) else {}


@dataclass(frozen=True, slots=True)
class Envelope:
    """Writes messages in the name of one sender."""

    sender: str
    version: str = NEWEST_VERSION

    @classmethod
    def of_this_process(cls, version: str | None = None) -> Envelope:
        user = _user_name()
        return cls(_UNSAFE.sub("_", f"{user}@{socket.gethostname()}"), version or NEWEST_VERSION)

    def encode(self, subject: str, kind: str, data: Mapping[str, Any] | str | None = None) -> bytes:
        """The bytes of one message. Raises `MalformedMessage` for a subject or type that no one could read back."""
        head = self._head(subject, kind)
        if not data:
            return head
        if isinstance(data, str):
            return head + b" text/ascii " + data.encode("utf-8", "replace")
        return head + b" application/json " + dumps(data, offsets=self.version > "v1.01")

    def encode_like(self, message: Message, kind: str, more: Mapping[str, Any] | None = None) -> bytes:
        """A message of another type about what *message* is about: its subject and data, with *more* behind them. The data go on
        as they came, byte for byte."""
        _, found, payload = message.raw.partition(b" application/json {")
        if not found or payload[-1:] != b"}" or (more and any(name in message.fields for name in more)):
            return self.encode(message.subject, kind, {**message.fields, **(more or {})})
        body = b" application/json {" + payload if not more else b" application/json {" + payload[:-1] + b", " + dumps(more)[1:]
        return self._head(message.subject, kind) + body

    def _head(self, subject: str, kind: str) -> bytes:
        now = datetime.now(UTC)
        stamp = now.replace(tzinfo=None).isoformat() if self.version <= "v1.01" else now.isoformat()
        beginning = _checked(subject, kind) if len(subject) + len(kind) <= CACHED else _checked.__wrapped__(subject, kind)
        return f"{beginning} {self.sender} {stamp} {self.version}".encode()


@lru_cache(maxsize=1024)
def _checked(subject: str, kind: str) -> str:
    """The beginning of a message with this subject and type."""
    if not subject or not kind or _UNSAFE.search(subject) or _UNSAFE.search(kind):
        raise MalformedMessage(f"subject {subject!r} or type {kind!r} is empty or holds white space")
    if max(len(subject), len(kind)) > LONGEST_HEAD:
        raise MalformedMessage(f"subject {subject[:40]!r}... or type {kind[:40]!r} is longer than {LONGEST_HEAD} characters")
    return f"{MAGIC}{subject} {kind}"


def _user_name() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container may run under a number without a name
        return str(os.getuid())


def dumps(data: Any, *, offsets: bool = True) -> bytes:
    """JSON; what orjson refuses (huge integers, lone surrogates) goes through the standard library. Without *offsets*, times have
    none, as v1.01 wants it."""
    try:
        if offsets:
            return orjson.dumps(data)
        return orjson.dumps(data, default=_without_offset, option=orjson.OPT_PASSTHROUGH_DATETIME)
    except TypeError:
        return json.dumps(data, default=_plain if offsets else _without_offset).encode()


def _plain(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _without_offset(value: Any) -> str:
    return _plain(value.replace(tzinfo=None)) if isinstance(value, datetime) else str(value)


def loads(text: bytes | str) -> Any:
    """Parse JSON as posttroll's peers write it (NaN and Infinity included). Raises `MalformedMessage`."""
    try:
        return orjson.loads(text)
    except ValueError:
        try:
            return _loaded_leniently(text if isinstance(text, str) else text.decode())
        except (ValueError, RecursionError, OverflowError) as error:
            raise MalformedMessage(f"unreadable JSON: {type(error).__name__}") from None


def _loaded_leniently(text: str) -> Any:
    """With NaN and Infinity, but without what neither a journal nor a socket takes: half characters, endless numbers."""
    data = json.loads(text, parse_int=_whole_or_float)
    if _SURROGATE.search(text):
        json.dumps(data, ensure_ascii=False).encode()  # UnicodeEncodeError is a ValueError
    return data


def _whole_or_float(digits: str) -> int | float:
    number = int(digits)
    return number if abs(number) <= LARGEST_WHOLE else float(number)


def decode(raw: bytes) -> Message:
    """Read one message. Raises `MalformedMessage`, and nothing else, for anything unacceptable."""
    text = _text_of(raw)
    if not raw.isascii():
        raw = text.encode("utf-8")  # what is kept and sent on is UTF-8, whatever came
    if not text.startswith(MAGIC):
        raise MalformedMessage("does not begin with 'pytroll:/'")
    if text[len(MAGIC):len(MAGIC) + 1].isspace():
        raise MalformedMessage("the subject is empty")
    parts = text[len(MAGIC):].split(maxsplit=6)  # an expression for white space would take eight times as long
    if len(parts) == 6 and text[-1].isspace():
        parts.append("")
    if len(parts) < 5:
        raise MalformedMessage("has fewer than five fields")
    subject, kind, sender, time, version = parts[:5]
    if max(len(subject), len(kind), len(sender)) > LONGEST_HEAD:
        raise MalformedMessage(f"the subject, type or sender is longer than {LONGEST_HEAD} characters")
    if version > NEWEST_VERSION:
        raise MalformedMessage(f"version {version[:20]!r} is newer than {NEWEST_VERSION}")
    if _as_datetime(time) is None:
        raise MalformedMessage(f"time {time[:40]!r} is no date")
    data = _payload(parts[5].lower(), parts[6]) if len(parts) == 7 else ""
    return Message(subject, kind, sender, time, version, data, raw)


def _text_of(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("iso-8859-1")


def _payload(mime: str, text: str) -> Any:
    if mime == "application/json":
        data = loads(text)
        # Counting brackets and commas is cheap and errs on the strict side; only what looks large is examined.
        if text.count("{") + text.count("[") > DEEPEST or text.count(",") > MOST_ITEMS // 2:
            # The extension for itself: what was accepted is acceptable with what we add to it.
            rest = {name: value for name, value in data.items() if name != EXTENSION} if isinstance(data, dict) else data
            _check_proportions(rest)
            _check_proportions(data.get(EXTENSION) if isinstance(data, dict) else None)
        return data
    if mime in ("text/ascii", "binary/octet-stream"):
        return text
    raise MalformedMessage(f"unknown kind of payload {mime[:40]!r}")


def _check_proportions(data: Any) -> None:
    """Refuse what is nested or counted beyond reason, without recursion."""
    level, items = [data], 0
    for _ in range(DEEPEST):
        below: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                below.extend(value.values())
            elif isinstance(value, list):
                below.extend(value)
        items += len(below)
        if not below:
            return
        if items > MOST_ITEMS:
            raise MalformedMessage(f"holds more than {MOST_ITEMS} values")
        level = [value for value in below if isinstance(value, (dict, list))]
        if not level:
            return
    raise MalformedMessage(f"is nested deeper than {DEEPEST} levels")


def _as_datetime(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def moment(value: Any) -> Any:
    """*value* as a datetime when it is text that reads as one, else *value* unchanged."""
    if isinstance(value, str):
        found = _as_datetime(value)
        return value if found is None else found
    return value


def dated(value: Any) -> Any:
    """The same for what is filled into templates, which have formats for dates: only what begins with a year is taken for one."""
    return moment(value) if isinstance(value, str) and len(value) >= 8 and value[:4].isdigit() else value


def values_of(data: Any, key: str) -> Iterator[Any]:
    """Every value of *key* in dicts and lists of dicts, outermost first; as upstream looks for `uid` and `uri`. Our extension is
    not searched."""
    if isinstance(data, dict):
        for name, value in data.items():
            if name == key:
                yield value
            elif name != EXTENSION and isinstance(value, (dict, list)):
                yield from values_of(value, key)
    elif isinstance(data, list):
        for value in data:
            if isinstance(value, dict):
                yield from values_of(value, key)


def uids_of(data: Any) -> tuple[str, ...]:
    """All uids as text, in the order they stand."""
    return _texts_of(data, "uid")


def uris_of(data: Any) -> tuple[str, ...]:
    """All uris as text, in the order they stand."""
    return _texts_of(data, "uri")


def _texts_of(data: Any, key: str) -> tuple[str, ...]:
    if is_flat(data):
        return (str(data[key]),) if key in data else ()
    return tuple(str(value) for value in values_of(data, key))


def is_flat(data: Any) -> bool:
    """Whether *data* is a mapping in which nothing is nested (but our extension): the usual case, and worth a short way."""
    if not isinstance(data, dict):
        return False
    for name, value in data.items():  # noqa: SIM110 - a generator costs three times as much, for every message
        if value.__class__ in NESTED and name != EXTENSION:
            return False
    return True


def identity_of(data: Any) -> str:
    """What tells whether two messages speak of the same file or set of files: the uid, or a digest of several sorted uids, or of
    one that is longer than a name can be; of messages without any uid, the uris."""
    return _identity(uids_of(data) or uris_of(data))


UNPACKED_OF = "u:"
"""Before an identity in the extension, so that none is read as a date."""


def file_of(message: Message) -> str:
    """The identity of the file that a notice is about: what a client has unpacked it publishes by other names than were
    announced, and says what that was."""
    said = message.extension.get("announced")
    if isinstance(said, str) and said.startswith(UNPACKED_OF) and "request_address" not in message.fields:
        return said.removeprefix(UNPACKED_OF)
    return identity_of(message.fields)


def _identity(uids: tuple[str, ...]) -> str:
    if len(uids) == 1 and len(uids[0]) <= LONGEST_NAME:
        return uids[0]
    return "md5:" + hashlib.md5("".join(sorted(uids)).encode("utf-8", "replace"), usedforsecurity=False).hexdigest()


def digest(*texts: str) -> bytes:
    """Stands for *texts*, however long somebody makes them."""
    return hashlib.sha256("\0".join(texts).encode("utf-8", "replace")).digest()


def digest_of(message: Message) -> bytes:
    """What tells whether a publication was heard before: the number that a publisher of ours gave it, where it has one (so a copy
    that was sent again is known); else the whole of it."""
    said = message.extension
    epoch, offset = said.get("epoch"), said.get("offset")
    if not isinstance(epoch, str) or not _whole(offset):
        return hashlib.sha256(message.raw).digest()
    text = "\n".join((epoch, str(offset), message.subject, message.type, *uris_of(message.fields)))  # relays copy the number
    return hashlib.sha256(text.encode("utf-8", "replace")).digest()


def translate(data: Any, key: str, value: Any) -> Any:
    """A copy of *data* in which every value of *key* was replaced by `value(dict that holds it)`."""
    if is_flat(data):
        return {**data, key: value(data)} if key in data else dict(data)
    if isinstance(data, dict):
        copy = {name: item if name == EXTENSION else translate(item, key, value) for name, item in data.items()}
        if key in data:
            copy[key] = value(data)
        return copy
    if isinstance(data, list):
        return [translate(item, key, value) for item in data]
    return data


class Announcement(NamedTuple):
    """A published message that names files one can ask for."""

    message: Message
    address: str
    """`request_address` as announced: names the provider of this announcement."""
    host: str
    port: int
    identity: str
    """See `identity_of`."""
    uids: tuple[str, ...]
    epoch: str = ""
    """Of the announcer's journal, when the announcer speaks our extension; else empty."""
    offset: int = 0
    """Position in the announcer's journal; 0 without the extension."""
    previous: int = 0
    """Offset of the announcement before this one with the same subject; 0 for the first."""
    key: str = ""
    """Identifies the content: subject, uids, sizes and modification times."""
    size: int | None = None
    """Bytes, when the announcer says so."""

    @property
    def named(self) -> tuple[str, int, str]:
        """What names its announcer, which speaks our extension, to those who ask (`bus.requesters.Named`)."""
        return self.host, self.port, self.epoch

    def lifetime(self, heard: float) -> float | None:
        """Seconds after *heard* (epoch seconds) for which the file will be at its provider; None when it does not tell."""
        expires = self.message.extension.get("expires") if self.epoch else None
        return float(expires) - heard if isinstance(expires, (int, float)) and expires > heard else None


def read_announcement(message: Message) -> Announcement:
    """The announcement in *message*. Raises `MalformedMessage` when there is no address to ask, or nothing to ask for."""
    data = message.fields
    address: Any = data.get("request_address")
    try:
        host, port = parse_endpoint(address)
    except ValueError as error:
        raise MalformedMessage(f"request_address: {error}") from None
    uids = uids_of(data)
    names = uids or uris_of(data)
    if not names:
        raise MalformedMessage("announces neither a uid nor a uri")
    identity = _identity(names)
    extension = message.extension
    epoch, offset = announced_at(message)
    if not epoch:
        return Announcement(message, address, host, port, identity, uids)
    return Announcement(message, address, host, port, identity, uids, epoch, offset,
                        _whole(extension.get("previous")), _text(extension.get("key")), _size(extension))


def announced_at(message: Message) -> tuple[str, int]:
    """The epoch of the announcer's journal and the position in it; nothing and 0 where it does not speak our extension."""
    extension = message.extension
    return (extension["epoch"], extension["offset"]) if _is_extension_of(extension, message.fields) else ("", 0)


def renewed(raw: bytes, moved: Mapping[str, str]) -> bytes:
    """The announcement *raw*, of our journal, with the address to ask at now where that has *moved*; all else as it came."""
    if not moved:
        return raw
    message = decode(raw)
    address = moved.get(str(message.fields.get("request_address")))
    if address is None:
        return raw
    data = {**message.fields, "request_address": address, EXTENSION: {**message.extension, "address": address}}
    return raw.partition(b" application/json ")[0] + b" application/json " + dumps(data)


def sent_again(raw: bytes, envelope: Envelope) -> bytes:
    """A message that was perhaps sent before, so that its receivers can tell."""
    message = decode(raw)
    said = {"version": PROTOCOL, **message.extension, "redelivered": True}
    return envelope.encode(message.subject, message.type, {**message.fields, EXTENSION: said})


def _is_extension_of(extension: Data, data: Data) -> bool:
    """Whether *extension* was written by the announcer itself, and not copied on by a relay that does not know it."""
    return (bool(extension) and extension.get("address") == data.get("request_address")
            and bool(_text(extension.get("epoch"))) and _whole(extension.get("offset")) > 0)


def _whole(value: Any) -> int:
    return value if type(value) is int and 0 <= value <= LARGEST_WHOLE else 0


def _text(value: Any) -> str:
    return value if isinstance(value, str) and len(value) <= LONGEST_NAME else ""


def _size(extension: Data) -> int | None:
    size = extension.get("size")
    return size if type(size) is int and 0 <= size <= LARGEST_WHOLE else None


def content_key(subject: str, uids: tuple[str, ...], sizes: tuple[int, ...], mtimes_ns: tuple[int, ...]) -> str:
    """Identifies the content of an announcement: equal for the same files, different when one was written again."""
    text = "\n".join((subject, *sorted(uids), *map(str, sizes), *map(str, mtimes_ns)))
    return "k:" + hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:32]
