"""Who is this machine: its addresses and names. Answers are kept for a minute, because interfaces come and go."""

from __future__ import annotations

import ipaddress
import socket
import time
from functools import lru_cache

import netifaces

LONGEST_NAME = 253
"""Characters of a host name."""
KEEP = 60.0
"""Seconds an answer is kept."""


def own_addresses() -> frozenset[str]:
    """All IP addresses of this machine's interfaces, loopback included."""
    return _own_addresses(int(time.monotonic() / KEEP))


@lru_cache(maxsize=1)
def _own_addresses(_period: int) -> frozenset[str]:
    found = {"127.0.0.1", "::1"}
    for interface in netifaces.interfaces():
        for family in (netifaces.AF_INET, netifaces.AF_INET6):
            for link in netifaces.ifaddresses(interface).get(family, []):
                found.add(link["addr"].partition("%")[0])
    return frozenset(found)


def own_address() -> str:
    """The address under which others most likely reach us: that of the default route, else the first that is not loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            # Connecting a datagram socket sends nothing; it only asks the routing table.
            probe.connect(("192.0.2.1", 9))
            return str(probe.getsockname()[0])
        except OSError:
            others = sorted(address for address in own_addresses() if ":" not in address and not address.startswith("127."))
            return others[0] if others else "127.0.0.1"


def own_names() -> frozenset[str]:
    """Names by which this machine knows itself without asking anybody."""
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


def addresses_of(host: str) -> frozenset[str]:
    """The IP addresses of *host*, empty when it has none. May ask a name server, so it may take seconds."""
    return _addresses_of(host, int(time.monotonic() / KEEP)) if len(host) <= LONGEST_NAME else frozenset()


@lru_cache(maxsize=1024)
def _addresses_of(host: str, _period: int) -> frozenset[str]:
    try:
        return frozenset(str(entry[4][0]).partition("%")[0] for entry in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM))
    except (OSError, UnicodeError):
        return frozenset()


def is_this_machine(host: str) -> bool:
    """Whether *host* (a name or an address; empty counts) means this machine."""
    return len(host) <= LONGEST_NAME and _is_this_machine(host, int(time.monotonic() / KEEP))


@lru_cache(maxsize=1024)
def _is_this_machine(host: str, _period: int) -> bool:
    if host in own_names():
        return True
    return any(is_own_address(address) for address in addresses_of(host))


def same_address(one: str, other: str) -> bool:
    """Whether two literal addresses are the same, an IPv4 address inside IPv6 being itself."""
    return one.removeprefix("::ffff:") == other.removeprefix("::ffff:")
