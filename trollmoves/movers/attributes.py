"""The `attrs` of a script, read into the values a move depends on. `parameters.OPTIONS` lists what is read here; all else is for
the mover."""

from __future__ import annotations

import hashlib
import math
import os
import socket
import threading
from collections.abc import Mapping
from typing import Any

from trollmoves.errors import DestinationInvalid
from trollmoves.movers.base import Origin, SessionSettings
from trollmoves.movers.moving import How
from trollmoves.movers.parameters import OPTIONS

_DEFAULTS = {option.name: option.default for option in OPTIONS}
_FLAGS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


def session_settings(attrs: Mapping[str, Any], *, link: bool = False) -> SessionSettings:
    """What opening a session depends on; *link* where hard links will do. Raises `DestinationInvalid` naming an attribute."""
    parameters = {name: value for name, value in attrs.items() if name not in _DEFAULTS}
    file_mode = _mode(attrs, "file_mode")
    return SessionSettings(
        connect_timeout=_seconds(attrs, "connect_timeout", _DEFAULTS["connect_timeout"]),
        stall_timeout=_seconds(attrs, "stall_timeout", _DEFAULTS["stall_timeout"]),
        connection_uptime=_seconds(attrs, "connection_uptime", "30", zero=True),
        directory_mode=0o777 if (mode := _mode(attrs, "directory_mode")) is None else mode,
        file_mode=file_mode, checksum=_word(attrs, "checksum", "auto", "always", "never"),
        parameters=parameters | ({"link": True} if link and file_mode is None else {}))


def how_to_move(attrs: Mapping[str, Any], origin: Origin, place: str, *, deleting: bool) -> How:
    """How *origin* shall be moved to *place*. Raises `DestinationInvalid` naming an attribute."""
    fsync = _word(attrs, "fsync", "always", "when-deleting", "never")
    resume = _flag(attrs, "resume")
    return How(
        transfer=_transfer(origin, place, "" if resume else f"{socket.gethostname()}|{os.getpid()}|{threading.get_ident()}"),
        sync=fsync == "always" or (fsync == "when-deleting" and deleting),
        checksum=_word(attrs, "checksum", "auto", "always", "never"),
        overwrite=_word(attrs, "overwrite", "identical", "replace", "never"),
        temporary_prefix=_prefix(attrs), inplace=_flag(attrs, "inplace"), resume=resume)


def _transfer(origin: Origin, place: str, mover: str) -> str:
    """The same again for the same content, so that a later attempt of *mover* finds what an earlier one left."""
    identity = f"{os.path.realpath(origin.path)}|{origin.size}|{origin.mtime_ns}|{place}|{mover}"
    return hashlib.sha256(identity.encode("utf-8", "surrogateescape")).hexdigest()[:16]


def _prefix(attrs: Mapping[str, Any]) -> str | None:
    if not _flag(attrs, "use_tmp_on_transfer"):
        return None
    prefix = str(attrs.get("tmp_prefix", "."))
    if not prefix or "/" in prefix:
        raise DestinationInvalid("tmp_prefix must be text without '/'")
    return prefix


def _flag(attrs: Mapping[str, Any], name: str) -> bool:
    value = _FLAGS.get(str(attrs.get(name) or "false").lower())
    if value is None:
        raise DestinationInvalid(f"{name} must be true or false")
    return value


def _word(attrs: Mapping[str, Any], name: str, *known: str) -> str:
    word = str(attrs.get(name, _DEFAULTS[name])).lower()
    if word not in known:
        raise DestinationInvalid(f"{name} must be one of {', '.join(known)}")
    return word


def _seconds(attrs: Mapping[str, Any], name: str, default: str, *, zero: bool = False) -> float:
    try:
        seconds = float(attrs.get(name, default))
    except (TypeError, ValueError):
        seconds = math.nan
    if not 0 <= seconds < math.inf or (seconds == 0 and not zero):
        raise DestinationInvalid(f"{name} must be a number of seconds, {'0 or more' if zero else 'more than 0'}")
    return seconds


def _mode(attrs: Mapping[str, Any], name: str) -> int | None:
    value = attrs.get(name, _DEFAULTS[name])
    if value is None or str(value).lower() == "keep":
        return None
    try:
        mode = value if isinstance(value, int) else int(str(value), 8)
    except ValueError:
        mode = -1
    if not 0 <= mode <= 0o7777:
        raise DestinationInvalid(f"{name} must be octal digits like '755', a number like 0o755, or keep")
    return mode
