"""The records of pax headers: `<length> <key>=<value>` and a newline, of which only those about names and sizes count."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from trollmoves.unpacking.base import BadArchive
from trollmoves.unpacking.fields import whole

SPARSE_PIECES = ("GNU.sparse.offset", "GNU.sparse.numbytes")
LONGEST_LENGTH = 10
"""Digits."""


class Records(dict[str, str]):
    """The records by key, and apart from them the repeated ones of sparse files in their order."""

    def __init__(self, values: Mapping[str, str] | Iterable[tuple[str, str]] = (), extents: list[int] | None = None):
        super().__init__(values)
        self.extents: list[int] = extents if extents is not None else []

    def number(self, key: str, default: int) -> int:
        """The whole number at *key*."""
        return whole(self[key], key) if key in self else default


def parse_records(data: bytes) -> Records:
    """All records in *data*. Raises `BadArchive`."""
    records = Records()
    position = 0
    while position < len(data):
        if not data[position]:
            break  # padding within the size, as some programs write it
        key, value, position = _one(data, position)
        if key in SPARSE_PIECES:
            records.extents.append(whole(value, key))
        else:
            records[key] = value
    return records


def _one(data: bytes, position: int) -> tuple[str, str, int]:
    space = data.find(b" ", position, position + LONGEST_LENGTH)
    digits = data[position:space]
    end = position + int(digits) if space > 0 and digits.isdigit() else 0
    equals = data.find(b"=", space, end)
    if not space < equals < end <= len(data) or data[end - 1] != ord("\n"):
        raise BadArchive("has a damaged pax header")
    key = data[space + 1:equals].decode("utf-8", "surrogateescape")
    return key, data[equals + 1:end - 1].decode("utf-8", "surrogateescape"), end
