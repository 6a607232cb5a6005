"""Who may have files pushed where.

An unauthenticated peer may have announced files pushed to itself: to a remote destination whose host is the peer's own address,
or to a local path when the peer is this machine. Everything else stands in `allowed_destinations` of the section.

A server of root's could write anywhere, and log in to its own machine as anybody; so that is for root's processes only.
"""

from __future__ import annotations

import posixpath
import time
from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

from trollmoves.bus.addresses import is_own_address, known_addresses_of, same_address
from trollmoves.errors import Denied, DestinationInvalid, Unreachable
from trollmoves.uris import CACHED, Destination, is_address, parse_destination

ANY = "any"
KEEP = 5.0
"""Seconds for which a permission that was found counts."""
MOST_KEPT = 1000
_ANY_LETTER = "\uf8ff"
"""In the place of a `?` while a pattern is read: of private use, no part of any name."""


class NotAllowed(Denied):
    """Who asks may not have files there. Nothing was tried, so nothing is said of the file."""


class Unknown(Unreachable):
    """Whether who asks may have files there cannot be found out now. Nothing was tried, so nothing is said of the file."""


class Rights:
    """The rights that one section gives."""

    def __init__(self, section: str, allowed: Sequence[str], inline_credentials: bool):
        self._section = section
        self._any = ANY in allowed
        self._allowed = [_read(pattern) for pattern in allowed if pattern != ANY]
        self._inline_credentials = inline_credentials
        self._lately: dict[tuple[Destination, str, bool | None], tuple[Destination, float]] = {}

    def check(self, destination: Destination, peer: str, stranger: bool | None = False) -> Destination:
        """The destination to use, its path without `//` and `/./`. Raises `NotAllowed`, naming the option to set, and
        `Unknown`. A *stranger* is, if on this machine, another user than root, who we are.

        May ask a name server, so it belongs into a worker. What was allowed counts for a few seconds.
        """
        known = self.known(destination, peer, stranger)
        if known is not None:
            return known
        now = time.monotonic()
        allowed = self._examine(destination, peer, stranger)
        if len(self._lately) >= MOST_KEPT:
            self._lately.clear()
        if len(destination.path) <= CACHED:
            self._lately[destination, peer, stranger] = allowed, now
        return allowed

    def known(self, destination: Destination, peer: str, stranger: bool | None = False) -> Destination | None:
        """What `check` found a few seconds ago, if it did; asks nobody."""
        allowed, since = self._lately.get((destination, peer, stranger), (None, 0.0))
        return allowed if time.monotonic() - since < KEEP else None

    def _examine(self, destination: Destination, peer: str, stranger: bool | None) -> Destination:
        place = destination.with_path(_normal(destination.path))
        if destination.password is not None and not self._inline_credentials:
            raise NotAllowed(f"{place.exact}: credentials in requests are refused here (allow_inline_credentials = false)")
        if self._any or any(_matches(place, pattern) for pattern in self._allowed):
            return place
        refused = stranger is not False and is_own_address(peer)
        if place.is_local and is_own_address(peer) and not refused:
            return place
        if not place.is_local and place.scheme != "s3" and not (refused and place.password is None):
            pinned = _pinned_to_peer(place, peer)
            if pinned is not None:
                return pinned
        if refused and stranger is None:
            raise Unknown(f"{place.exact}: which user of this machine asks for it cannot be told in this moment")
        why = f"{peer}, whose user is not root as this server's is" if refused else peer
        raise NotAllowed(f"{place.exact} is not allowed for {why}: to allow it, add to section [{self._section}] of the server "
                         f"allowed_destinations = {_suggestion(place)}")


def _read(pattern: str) -> Destination:
    """A pattern of destinations, in which `?` stands for a letter and begins no query: what is behind it would be left out, and
    all that begins like the rest be allowed."""
    found = parse_destination(pattern.replace("?", _ANY_LETTER))
    return replace(found, host=found.host.replace(_ANY_LETTER, "?"), path=found.path.replace(_ANY_LETTER, "?"))


def _normal(path: str) -> str:
    if not path:
        return path
    if any(part == ".." for part in path.split("/")):
        raise DestinationInvalid(f"{path!r} leaves its directory with '..'")
    normal = posixpath.normpath("/" + path.lstrip("/"))
    return normal + "/" if path.endswith("/") and normal != "/" else normal


def _pinned_to_peer(place: Destination, peer: str) -> Destination | None:
    """*place* when its host is the peer itself. A name is looked up once, here: whoever answers for that name could answer
    differently when the connection is made."""
    if is_address(place.host):
        own = same_address(place.host, peer)
        return place if own or (is_own_address(place.host) and is_own_address(peer)) else None
    found = known_addresses_of(place.host)
    if found is None:
        raise Unknown(f"{place.exact}: no name server says now whether that is {peer}, who asks for it")
    for address in sorted(found, key=lambda text: ":" in text):
        if same_address(address, peer) or (is_own_address(address) and is_own_address(peer)):
            return replace(place, connect_to=address)
    return None


def _matches(place: Destination, pattern: Destination) -> bool:
    if place.is_local != pattern.is_local or (not place.is_local and place.scheme != pattern.scheme):
        return False
    if not place.is_local and not fnmatchcase(place.host.lower(), pattern.host.lower()):
        return False
    if pattern.is_local and pattern.host and not fnmatchcase(place.host.lower(), pattern.host.lower()):
        return False
    if pattern.user is not None and place.user != pattern.user:
        return False
    if pattern.port is not None and place.port != pattern.port:
        return False
    return _path_matches(place.path, _normal(pattern.path) if "*" not in pattern.path else pattern.path)


def _path_matches(path: str, pattern: str) -> bool:
    """A pattern without wildcards means that directory and everything below it."""
    if any(mark in pattern for mark in "*?["):
        return fnmatchcase(path, pattern)
    return path.rstrip("/") == pattern.rstrip("/") or path.startswith(pattern.rstrip("/") + "/")


def _suggestion(place: Destination) -> str:
    """What would allow it; a destination is matched without its query."""
    directory = place.path.rpartition("/")[0] + "/"
    if place.is_local and directory == "/":  # `/*` is all of this machine's disk
        return replace(place, query="").exact
    return replace(place, path=directory, query="").exact + "*"
