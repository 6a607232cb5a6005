"""Text to value for what says where: providers, destinations, origins, topics, hosts. Rules as in `values`."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from trollmoves.config.hidden import HiddenUri
from trollmoves.config.values import words_or_any
from trollmoves.errors import ConfigurationError, DestinationInvalid
from trollmoves.patterns import Pattern, Template
from trollmoves.uris import (
    LOCAL_SOCKET,
    Destination,
    format_endpoint,
    hide_login,
    hide_password,
    is_address,
    one_spelling,
    parse_destination,
    parse_endpoint,
)

LONGEST_SOCKET = 107
"""Bytes of the path of a socket: what Linux takes."""


@dataclass(frozen=True, slots=True)
class Provider:
    """A server or mirror a client listens to."""

    host: str
    port: int
    topic: str | None = None
    """With a leading slash; None means the topic of the section."""

    def __str__(self) -> str:
        return format_endpoint(self.host, self.port) + (self.topic or "")

    @property
    def address(self) -> str:
        """`host:port`."""
        return format_endpoint(self.host, self.port)


def topic(value: Any) -> Any:
    """A topic with its leading slash; empty stays empty."""
    if not isinstance(value, str) or not value:
        return value
    if re.search(r"\s", value):
        raise ValueError("holds white space, which separates the fields of a message; write for example /1b/hrit")
    return "/" + value.lstrip("/")


def topics(value: Any) -> Any:
    """Topics, separated by white space."""
    return tuple(dict.fromkeys(map(topic, value.split()))) if isinstance(value, str) else value


def host(value: Any) -> Any:
    """A host name or address without port; `*` where every address is meant."""
    if not isinstance(value, str) or value == "*":
        return value
    bare = value.removeprefix("[").removesuffix("]")
    if not is_address(bare) and not re.fullmatch(r"[\w.-]{1,253}", bare):
        raise ValueError("is not a host name or address; write it without scheme and port")
    return bare


def providers(value: Any) -> Any:
    """`host:port[/topic]`, separated by white space."""
    return tuple(dict.fromkeys(provider(word) for word in value.split())) if isinstance(value, str) else value


def provider(word: str) -> Provider:
    """`host:port[/topic]`, an IPv6 address in brackets."""
    where, slash, subject = word.partition("/")
    what = "has a word that is not host:port or host:port/topic; write for example 192.0.2.1:9010 or [2001:db8::1]:9010/1b"
    try:
        name, port = parse_endpoint(where)
    except ValueError:
        raise ValueError(what) from None
    bracketed = where.startswith("[")
    if bracketed != (":" in name) or bracketed != ("]" in where) or (bracketed and not is_address(name)):
        raise ValueError(what)
    return Provider(name, port, "/" + subject if slash else None)


def publishers(value: Any) -> Any:
    """Addresses of publishers: `tcp://host:port` or `ipc://path`, separated by white space."""
    if not isinstance(value, str | tuple):
        return value
    words = value.split() if isinstance(value, str) else value
    try:
        read = (word if isinstance(word, tuple) else _publisher(word) for word in words)
        return tuple(dict.fromkeys(read))
    except (ValueError, AttributeError):
        what = "has an address that is not tcp://host:port or ipc://path; write for example tcp://127.0.0.1:40000"
        raise ValueError(what) from None


def _publisher(word: str) -> tuple[str, int]:
    if not word.startswith(LOCAL_SOCKET):
        return parse_endpoint(word.removeprefix("tcp://"))
    if not 0 < len(os.fsencode(word.removeprefix(LOCAL_SOCKET))) <= LONGEST_SOCKET:
        raise ValueError(word)
    return word, 0


def request_addresses(value: Any) -> Any:
    """`host:port` of requests, separated by white space."""
    if not isinstance(value, str):
        return value
    try:
        return tuple(dict.fromkeys(format_endpoint(*parse_endpoint(word)) for word in value.split()))
    except ValueError:
        raise ValueError("has a word that is not host:port; write for example 192.0.2.1:9094 192.0.2.2:9094") from None


def destination(value: Any) -> Any:
    """A uri or an absolute path, with trollsift fields."""
    if not isinstance(value, str):
        return value
    try:
        Template(value)
    except ConfigurationError as error:
        raise ValueError(_reason(error, value)) from None
    filled = re.sub(r"\{[^{}]*\}", "1", value)  # a digit fits a port as well
    _checked_destination("/" + filled if value.startswith("{") else filled)
    return HiddenUri(value)


def is_one_file(text: str) -> bool:
    """Whether a destination that *text* was found to be is one and the same file for all that goes there: it has no slash at its
    end and no field behind the last one, and is no directory of this machine."""
    template = Template(text)
    place = parse_destination(re.sub(r"\{[^{}]*\}", "1", text))
    if template.last_fields or place.path.endswith("/") or not place.path:
        return False
    return not (place.is_local and not template.fields and os.path.isdir(place.path))


def _checked_destination(text: str) -> Destination:
    try:
        return parse_destination(text)
    except DestinationInvalid as error:
        raise ValueError(_reason(error, text)) from None


def _reason(error: Exception, text: str) -> str:
    """What an error says after naming *text*, which is left out: it may hold a password where nobody looks for one."""
    parts = (str(error).partition(repr(shown))[2] for shown in (hide_login(text), hide_password(text)))
    return next((part.lstrip(": ") for part in parts if part), "is malformed")


def origin(value: Any) -> Any:
    """An absolute path with trollsift fields, in one spelling."""
    if not isinstance(value, str):
        return value
    value = one_spelling(value)
    if not value.startswith("/"):
        raise ValueError("is not an absolute path; begin it with /")
    try:
        Pattern(value)
    except ConfigurationError as error:
        raise ValueError(f"is no pattern to watch: {_reason(error, value)}") from None
    return value


def directory(value: Any) -> Any:
    """An absolute path."""
    if not isinstance(value, str):
        return value
    if not value.startswith("/") or ".." in value.split("/"):
        raise ValueError("is not an absolute path without `..`; begin it with /")
    return os.path.normpath(value)


def allowed_destinations(value: Any) -> Any:
    """Patterns of destinations: `sftp://user@host:22/data/**`, or an absolute path; or `any`."""
    found = words_or_any(value)
    if isinstance(found, tuple) and found != ("any",):
        check_each(found, _check_allowed)
    return found


def _check_allowed(place: str) -> None:
    if _checked_destination(place.replace("?", "*")).password is not None:
        raise ValueError("holds a password; a destination is matched without it, so leave it out")


def check_each(words: Sequence[str], check: Callable[[str], object]) -> None:
    """Raise one `ValueError` about all of *words* that do not pass *check*; it says by their numbers which these are."""
    wrong = []
    for number, word in enumerate(words, 1):
        try:
            check(word)
        except ValueError as error:
            wrong.append(f"number {number} {error}" if len(words) > 1 else str(error))
    if wrong:
        raise ValueError("; ".join(wrong))
