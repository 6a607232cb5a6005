"""Numbers as archives write them; anything else in their place is damage."""

from __future__ import annotations

from trollmoves.unpacking.base import BadArchive

MOST_DIGITS = 19
OCTAL = frozenset(b"01234567")


def whole(text: str, what: str) -> int:
    """A number of decimal digits only."""
    if not (text.isascii() and text.isdigit() and len(text) <= MOST_DIGITS):
        raise BadArchive(f"has a {what} that is no number: it is damaged")
    return int(text)


def field_number(data: bytes, what: str) -> int:
    """A field of a tar header: octal digits, or a binary number of GNU tar's (which alone can be negative)."""
    if data[0] == 0x80:
        return int.from_bytes(data[1:], "big")
    if data[0] == 0xFF:
        return int.from_bytes(data, "big", signed=True)
    digits = data.split(b"\0", 1)[0].strip(b" ")
    if not OCTAL.issuperset(digits):
        raise BadArchive(f"has a {what} that is no number: it is damaged")
    return int(digits, 8) if digits else 0
