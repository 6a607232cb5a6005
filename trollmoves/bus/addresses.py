"""Who is this machine: its addresses and names. Answers are kept for a minute, because interfaces come and go; longer while the
system tells nothing, as when strangers' connections have taken all descriptors of the process.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache

import netifaces

from trollmoves.uris import format_endpoint

LONGEST_NAME = 253
"""Characters of a host name."""
EVERYWHERE = ("*", "0.0.0.0", "::")
"""Addresses to bind to that mean every one."""
KEEP = 60.0
"""Seconds an answer is kept."""
NO_DESCRIPTOR = errno.EMFILE, errno.ENFILE
"""Errors when there are too many open files."""
NO_ANSWER = (socket.EAI_AGAIN, socket.EAI_FAIL, socket.EAI_SYSTEM, socket.EAI_MEMORY)
"""What the resolver says when the name may well have addresses."""


def own_addresses() -> frozenset[str]:
    """All IP addresses of this machine's interfaces, loopback included."""
    period = int(time.monotonic() / KEEP)
    if _known.period != period:
        with suppress(OSError):
            _known.addresses, _known.period = _addresses_of_interfaces(), period
    return _known.addresses


def own_address() -> str:
    """The address under which others most likely reach us: that of the default route, else the first that is not loopback."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            # Connecting a datagram socket sends nothing; it only asks the routing table.
            probe.connect(("192.0.2.1", 9))
            _known.address = str(probe.getsockname()[0])
    except OSError as error:
        if error.errno not in NO_DESCRIPTOR or not _known.address:
            others = sorted(address for address in own_addresses() if ":" not in address and not address.startswith("127."))
            _known.address = others[0] if others else "127.0.0.1"
    return _known.address


@dataclass
class _Known:
    """What the system told last."""

    period: int = -1
    addresses: frozenset[str] = frozenset({"127.0.0.1", "::1"})
    address: str = ""


_known = _Known()


def _addresses_of_interfaces() -> frozenset[str]:
    found = {"127.0.0.1", "::1"}
    for interface in netifaces.interfaces():
        for family in (netifaces.AF_INET, netifaces.AF_INET6):
            for link in netifaces.ifaddresses(interface).get(family, []):
                found.add(link["addr"].partition("%")[0])
    return frozenset(found)


class Reachable:
    """Where others reach a port of ours. That may change: the network gives this machine its address, perhaps after our start."""

    def __init__(self, bound: str, port: int):
        """*bound* is the address it is bound to."""
        self._bound = bound
        self._port = port
        self._host = ""

    def now(self) -> str:
        """Host and port. While there is no network it is where it was."""
        if self._bound not in EVERYWHERE:
            return format_endpoint(self._bound, self._port)
        found = own_address()
        if not self._host or not found.startswith("127."):
            self._host = found
        return format_endpoint(self._host, self._port)


def own_names() -> frozenset[str]:
    """Names by which this machine knows itself without asking anybody."""
    return _own_names(int(time.monotonic() / KEEP))


@lru_cache(maxsize=1)
def _own_names(_period: int) -> frozenset[str]:
    return frozenset(("", "localhost", socket.gethostname()))


def is_own_address(address: str) -> bool:
    """Whether the literal *address* is one of this machine's."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    return parsed.is_loopback or str(parsed) in own_addresses()


def look_up(host: str) -> tuple[str, ...] | None:
    """The IP addresses of *host*, the best first and those of IPv4 before others; none when it has none, None when the name
    server does not say so now. Asks it, which may take half a minute: never from the loop (see `names.Names`)."""
    if not 0 < len(host) <= LONGEST_NAME:
        return ()
    try:
        entries = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        return None if error.errno in NO_ANSWER else ()
    except UnicodeError:
        return ()
    except OSError:
        return None
    found = dict.fromkeys(str(entry[4][0]).partition("%")[0] for entry in entries)
    return tuple(sorted(found, key=lambda address: ":" in address))


def known_addresses_of(host: str) -> tuple[str, ...] | None:
    """As `look_up`, from what was answered within the last minute where that will do."""
    try:
        return _kept_addresses_of(host, int(time.monotonic() / KEEP)) if len(host) <= LONGEST_NAME else ()
    except _NoAnswerError:
        return None


def addresses_of(host: str) -> frozenset[str]:
    """The IP addresses of *host*, empty when none can be found out. May ask a name server, so it may take seconds."""
    return frozenset(known_addresses_of(host) or ())


class _NoAnswerError(Exception):
    """Raised, because that is not kept."""


@lru_cache(maxsize=1024)
def _kept_addresses_of(host: str, _period: int) -> tuple[str, ...]:
    found = look_up(host)
    if found is None:
        raise _NoAnswerError
    return found


def whether_this_machine(host: str) -> bool | None:
    """Whether *host* (a name or an address; empty counts) means this machine; None when the name server does not say so now. May
    ask it, so it may take seconds."""
    if host in own_names():
        return True
    found = known_addresses_of(host)
    return None if found is None else any(map(is_own_address, found))


def is_this_machine(host: str) -> bool:
    """Whether *host* means this machine, as far as can be found out now. May ask a name server, so it may take seconds."""
    return bool(whether_this_machine(host))


def same_address(one: str, other: str) -> bool:
    """Whether two literal addresses are the same, an IPv4 address inside IPv6 being itself."""
    return one.removeprefix("::ffff:") == other.removeprefix("::ffff:")
