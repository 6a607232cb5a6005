"""The packets of SFTP version 3, as bytes: what a client that writes files needs, and no input or output.

https://datatracker.ietf.org/doc/html/draft-ietf-secsh-filexfer-02 and the `PROTOCOL` file of OpenSSH for the extensions.
"""

from __future__ import annotations

import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass

INIT, VERSION, OPEN, CLOSE, WRITE, FSTAT, SETSTAT, FSETSTAT = 1, 2, 3, 4, 6, 8, 9, 10
REMOVE, MKDIR, REALPATH, STAT, RENAME, EXTENDED = 13, 14, 16, 17, 18, 200
STATUS, HANDLE, NAME, ATTRIBUTES, EXTENDED_REPLY = 101, 102, 104, 105, 201

READ_FLAG, WRITE_FLAG, CREATE_FLAG, EXCLUSIVE_FLAG = 0x01, 0x02, 0x08, 0x20

OK, NO_SUCH_FILE, PERMISSION_DENIED, FAILURE, BAD_MESSAGE, UNSUPPORTED = 0, 2, 3, 4, 5, 8
NO_SPACE, QUOTA_EXCEEDED = 14, 15
"""Of later versions, but some servers use them."""

LONGEST_HANDLE = 256
"""Bytes, as the draft has it."""
LONGEST_PACKET = 2**20
"""Bytes; a server that sends more is not one."""

_HEADER = struct.Struct(">IBI")
_WRITE = struct.Struct(">QI")
_NUMBER = struct.Struct(">I")


class ProtocolBroken(Exception):
    """The peer sent what is no SFTP."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer; `number` is that of the request."""

    kind: int
    number: int
    body: bytes

    @property
    def status(self) -> int | None:
        """The code of a STATUS, None of any other answer."""
        return number_at(self.body, 0) if self.kind == STATUS else None

    @property
    def message(self) -> str:
        """What the server says in a STATUS; may be empty. Control characters are gone: the text comes from a stranger."""
        if self.kind != STATUS:
            return ""
        text = self.body[8:208][:int.from_bytes(self.body[4:8], "big")].decode("utf-8", "replace")
        return "".join(character for character in text if character.isprintable())


@dataclass(frozen=True, slots=True)
class Attributes:
    """What a server says of a file; None is what it did not say."""

    size: int | None
    mode: int | None

    @property
    def is_directory(self) -> bool:
        return self.mode is not None and stat.S_ISDIR(self.mode)

    @property
    def is_file(self) -> bool:
        return self.mode is None or stat.S_ISREG(self.mode)


def number(value: int) -> bytes:
    return _NUMBER.pack(value)


def string(value: bytes) -> bytes:
    return _NUMBER.pack(len(value)) + value


def path_bytes(path: str) -> bytes:
    """A path as a string field."""
    return string(path.encode("utf-8", "surrogateescape"))


def attributes(mode: int | None = None, mtime: int | None = None) -> bytes:
    """Permission bits and time (seconds; access and modification time alike) as a field; None leaves them alone."""
    flags = (0x4 if mode is not None else 0) | (0x8 if mtime is not None else 0)
    fields = [number(flags)]
    if mode is not None:
        fields.append(number(mode))
    if mtime is not None:
        seconds = min(max(mtime, 0), 0xFFFFFFFF)
        fields.append(number(seconds) * 2)
    return b"".join(fields)


def packet(kind: int, request: int, *fields: bytes) -> bytes:
    """A request."""
    body = b"".join(fields)
    return _HEADER.pack(5 + len(body), kind, request) + body


class WriteSpace:
    """Room for a WRITE whose bytes are read straight into it: a large file is copied once less."""

    def __init__(self, handle: bytes, count: int):
        """*handle* is a whole string field."""
        self._handle = handle
        self._start = _HEADER.size + len(handle) + _WRITE.size
        self._buffer = bytearray(self._start + count)
        self.data = memoryview(self._buffer)[self._start:]
        """Where the bytes go."""

    def packet(self, request: int, offset: int, count: int) -> bytearray:
        """The packet, with the first *count* bytes of `data`."""
        self.data.release()
        del self._buffer[self._start + count:]
        _HEADER.pack_into(self._buffer, 0, self._start - 4 + count, WRITE, request)
        self._buffer[_HEADER.size:_HEADER.size + len(self._handle)] = self._handle
        _WRITE.pack_into(self._buffer, _HEADER.size + len(self._handle), offset, count)
        return self._buffer


def hello() -> bytes:
    """The first packet."""
    return struct.pack(">IBI", 5, INIT, 3)


def number_at(body: bytes, offset: int) -> int:
    try:
        value: int = _NUMBER.unpack_from(body, offset)[0]
    except struct.error as error:
        raise ProtocolBroken("a packet is too short") from error
    return value


def string_at(body: bytes, offset: int) -> bytes:
    end = offset + 4 + number_at(body, offset)
    if end > len(body):
        raise ProtocolBroken("a packet is too short")
    return body[offset + 4:end]


def attributes_of(body: bytes) -> Attributes:
    """Read an ATTRIBUTES answer."""
    flags, offset, size, mode = number_at(body, 0), 4, None, None
    if flags & 0x1:
        size = number_at(body, offset) << 32 | number_at(body, offset + 4)
        offset += 8
    if flags & 0x2:
        offset += 8
    if flags & 0x4:
        mode = number_at(body, offset)
    return Attributes(size, mode)


def check(reply: Reply) -> None:
    """Raise `ProtocolBroken` when *reply* does not hold what its kind says."""
    if reply.kind == STATUS:
        number_at(reply.body, 0)
    elif reply.kind == ATTRIBUTES:
        attributes_of(reply.body)
    elif reply.kind == HANDLE and len(string_at(reply.body, 0)) != min(len(reply.body) - 4, LONGEST_HANDLE):
        raise ProtocolBroken("a handle is too long")


def extensions_of(body: bytes) -> set[bytes]:
    """The names of the extensions in a VERSION answer."""
    names, offset = set(), 0
    while offset < len(body):
        name = string_at(body, offset)
        value = string_at(body, offset + 4 + len(name))
        names.add(name)
        offset += 8 + len(name) + len(value)
    return names


def replies_in(received: bytearray) -> Iterator[Reply]:
    """Take all whole answers from the front of *received*. A VERSION comes with its version as `number`."""
    start = 0
    try:
        while len(received) - start >= 9:
            length, kind, request = _HEADER.unpack_from(received, start)
            if not 5 <= length <= LONGEST_PACKET:
                raise ProtocolBroken(f"a packet of {length} bytes")
            if len(received) - start < 4 + length:
                return
            yield Reply(kind, request, bytes(received[start + 9:start + 4 + length]))
            start += 4 + length
    finally:
        del received[:start]
