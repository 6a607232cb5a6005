"""Text to value, one function per kind of option. Each takes a value that is none any more as it is.

They raise `ValueError` saying what is wrong and what to write; the text never repeats the value, which may be a secret.
"""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from typing import Any

from trollmoves.config.hidden import Parameters, Secret
from trollmoves.config.text import near

Reader = Callable[[Any], Any]
_TRUE, _FALSE = ("1", "yes", "true", "on"), ("0", "no", "false", "off")
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_BYTES = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3}
SPACED = "separated by white space, not by commas"
_RESERVED = ("dataset", "collection", "destination", "trollmoves")


def flag(value: Any) -> Any:
    """A boolean, as INI files write them."""
    if not isinstance(value, str):
        return value
    if value.lower() not in _TRUE + _FALSE:
        raise ValueError("is neither true nor false; write true or false")
    return value.lower() in _TRUE


def is_false(value: Any) -> bool:
    """Whether *value* says no."""
    return value is False or (isinstance(value, str) and value.lower() in _FALSE)


def number_of(low: int, high: int) -> Reader:
    """A whole number from *low* to *high*."""
    def read(value: Any) -> Any:
        number = (int(value) if re.fullmatch(r"-?\d{1,15}", value, re.ASCII) else math.nan) if isinstance(value, str) else value
        return _within(number, low, high, f"is not a whole number from {low} to {high}")
    return read


def number_or_auto(low: int, high: int) -> Reader:
    """A whole number from *low* to *high*; None for `auto`."""
    read = number_of(low, high)
    return lambda value: None if isinstance(value, str) and value.lower() == "auto" else read(value)


def number_or_none(low: int, high: int) -> Reader:
    """A whole number from *low* to *high*; None for `none`."""
    read = number_of(low, high)
    return lambda value: None if isinstance(value, str) and value.lower() == "none" else read(value)


def _within(number: Any, low: float, high: float, complaint: str) -> Any:
    if isinstance(number, int | float) and not low <= number <= high:  # also true for what is no number at all
        raise ValueError(complaint)
    return number


def factor(value: Any) -> Any:
    """A number that is not negative."""
    number = _amount(value, {"": 1}) if isinstance(value, str) else value
    return _within(number, 0, 1e9, "is not a number from 0; write for example 2.5")


def seconds_of(low: float = 0, high: float = 3650 * 86400, named: Mapping[str, float] | None = None) -> Reader:
    """A time in seconds, also written with a unit (`90`, `1.5`, `30m`, `12h`, `7d`) or as one of the *named* ones."""
    known = named or {}
    also = "".join(f", or {word}" for word in known)
    complaint = f"is not a time from {low:g} seconds to {high / 86400:g} days; write seconds, or a unit as in 30m, 12h, 7d{also}"

    def read(value: Any) -> Any:
        number = known.get(value.lower(), _amount(value, _SECONDS)) if isinstance(value, str) else value
        return number if number in known.values() else _within(number, low, high, complaint)
    return read


def bytes_of(low: int, high: int) -> Reader:
    """A size in bytes from *low* to *high*, with `k`, `M` or `G` for powers of 1024."""
    def read(value: Any) -> Any:
        number = _amount(re.sub(r"i?b$", "", value.lower()), _BYTES) if isinstance(value, str) else value
        number = _within(number, low, high, f"is not a size from {low} to {high} bytes; write for example 512k or 1M")
        return int(number) if isinstance(number, float) else number
    return read


def bytes_or_none(low: int, high: int) -> Reader:
    """A size as of `bytes_of`; None for `none`."""
    read = bytes_of(low, high)
    return lambda value: None if isinstance(value, str) and value.lower() == "none" else read(value)


def _amount(text: str, units: Mapping[str, int]) -> float:
    match = re.fullmatch(r"(\d{1,15}(?:\.\d{1,9})?)\s*([a-z]?)", text.lower(), re.ASCII)
    return float(match[1]) * units[match[2]] if match and match[2] in units else math.nan


def one_of(*names: str) -> Reader:
    """One of *names*."""
    def read(value: Any) -> Any:
        text = value.lower() if isinstance(value, str) else value
        if text not in names:
            raise ValueError(f"is none of {', '.join(names)}{near(str(text), names)}")
        return text
    return read


def one_of_or_none(*names: str) -> Reader:
    """One of *names*; None for false or `none`."""
    choose = one_of(*names, "false")

    def read(value: Any) -> Any:
        if value is None or is_false(value) or (isinstance(value, str) and value.lower() == "none"):
            return None
        return choose(value)
    return read


def unpacker(*names: str) -> Reader:
    """One of *names* or of the unpackers other packages bring; None for false or `none`."""
    def read(value: Any) -> Any:
        brought = {entry.name for entry in entry_points(group="trollmoves.unpackers")}
        return one_of_or_none(*names, *sorted(brought.difference(names)))(value)
    return read


def deletion(value: Any) -> Any:
    """None, `first`, `all` (which true means), or the names of consumers."""
    if isinstance(value, str) and value.lower() in (*_TRUE, "all"):
        return "all"
    if value is None or is_false(value):
        return None
    if str(value).lower() == "first":
        return "first"
    names = words(value)
    if isinstance(names, tuple) and names and all(map(_names_consumer, names)):
        return names
    hint = near(str(value), ("true", "false", "first", "all"))
    separated = f"; they are {SPACED}" if "," in str(value) else ""
    raise ValueError(f"is neither true (or all), first nor false, nor are its words consumers: client sections as section@host, "
                     f"upstream clients by their addresses{hint}{separated}")


def _names_consumer(word: Any) -> bool:
    """Whether *word* is `section@host`, or the address of a host."""
    section, at, host = str(word).partition("@")
    if at:
        return bool(section and host) and not {",", "@"} & set(host)  # nobody has such a name, and nothing would be removed
    try:
        ipaddress.ip_address(section)
    except ValueError:
        return False
    return True


def words(value: Any) -> Any:
    """The words of a text, each once."""
    return tuple(dict.fromkeys(value.split())) if isinstance(value, str) else value


def false_or_words(value: Any) -> Any:
    """False, or the words of a text."""
    return False if is_false(value) else words(value)


def false_or_text(value: Any) -> Any:
    """False, or the text as it is."""
    return False if is_false(value) else value


def words_or_any(value: Any) -> Any:
    """The words of a text; the word `any` stands alone."""
    found = words(value)
    if isinstance(found, tuple) and "any" in found and len(found) > 1:
        raise ValueError("has the word 'any' beside others, which then mean nothing; write 'any' alone or leave it out")
    return found


def hosts_or_any(value: Any) -> Any:
    """Hosts; the word `any` stands alone. One with a comma would be nobody, and that would never show."""
    found = words_or_any(value)
    if isinstance(found, tuple) and any("," in host for host in found):
        raise ValueError(f"has a comma; hosts are {SPACED}")
    return found


def secret(value: Any) -> Any:
    """A text that is never shown."""
    return Secret(value) if isinstance(value, str) else value


def info(value: Any) -> Any:
    """`k=v;k2=a,b`: what is added to each announcement; a value with commas is a list."""
    if not isinstance(value, str):
        return Parameters(value) if isinstance(value, dict) else value
    found: dict[str, Any] = {}
    for item in filter(None, map(str.strip, value.split(";"))):
        key, *values = map(str.strip, item.split("="))
        if len(values) != 1 or not key:
            raise ValueError("has an item that is not name=value; write for example sensor=seviri;platform=M9,M10")
        if key in found:
            raise ValueError(f"names {key!r} twice; keep one")
        if key in _RESERVED:
            raise ValueError(f"names {key!r}, which has a meaning of its own in messages; choose another name")
        found[key] = tuple(values[0].split(",")) if "," in values[0] else values[0]
    return Parameters(found)


def mode(value: Any) -> Any:
    """Permission bits, written in octal like `755`; None for `keep`."""
    if not isinstance(value, str):
        return value
    if value.lower() == "keep":
        return None
    match = re.fullmatch(r"(?:0o?)?([0-7]{3,4})", value)
    if not match:
        raise ValueError("is not a file mode; write three or four octal digits like 755")
    return int(match[1], 8)


def parameters(value: Any) -> Any:
    """The parts of `connection_parameters`."""
    if isinstance(value, str):
        raise ValueError("is given in parts; write connection_parameters__name = value")
    return Parameters(value) if isinstance(value, dict) else value
