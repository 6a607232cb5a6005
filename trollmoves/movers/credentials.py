"""Who logs in where: the destination says it, else the user's netrc file, else nobody (anonymous).

The netrc file is `~/.netrc`, or the one the environment variable NETRC names. It is read anew for every connection, so a changed
password needs no restart. An entry is used only when nobody but its owner can read the file, as ftp and curl's manuals ask for.
"""

from __future__ import annotations

import netrc
import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from trollmoves.errors import DestinationInvalid, LoginRefused
from trollmoves.movers.base import SessionSettings
from trollmoves.uris import Destination

ANONYMOUS = ("anonymous", "ftp")
"""Accounts of everybody, whose password is no secret."""


@dataclass(frozen=True, slots=True)
class Login:
    """An account on a server; the password is kept out of `repr`."""

    user: str
    password: str = field(default="", repr=False)
    account: str = field(default="", repr=False)
    """What a netrc file calls `account`; hardly a server asks for it."""
    for_all: bool = field(default=False, compare=False)
    """It is a netrc file's `default` entry, for every host that has none of its own."""


def may_be_told(destination: Destination, parameters: Mapping[str, Any], *names: str) -> bool:
    """Whether those of the connection parameters *names* that are given are meant for this host, as `auth_hosts` says: a request
    may name any destination. Raises `DestinationInvalid` when that is missing."""
    if not any(parameters.get(name) for name in names):
        return False
    hosts = parameters.get("auth_hosts")
    if not hosts:
        need = "needs" if len(names) == 1 else "need"
        raise DestinationInvalid(f"{', '.join(names)} {need} auth_hosts: the hosts that may be told")
    return _is_auth_host(destination, parameters)


def _is_auth_host(destination: Destination, parameters: Mapping[str, Any]) -> bool:
    hosts = parameters.get("auth_hosts") or ()
    known = hosts.split() if isinstance(hosts, str) else [str(host) for host in hosts]
    return destination.host.lower() in {host.lower() for host in known}


def scrubbed(said: str, secrets: Iterable[str]) -> str:
    """What a server *said*, who may repeat what it was told, without these."""
    for secret in secrets:
        said = said.replace(secret, "***")
    return said


def login_for(destination: Destination, settings: SessionSettings) -> Login | None:
    """The account for *destination*: of the uri, else of the netrc entry of its host; None when neither names one.

    A user without a password in the uri gets the password of the netrc entry when that is for the same user. Where peers name the
    hosts, those of `auth_hosts` only are told what the default entry has. Raises `LoginRefused` when the entry that is needed
    cannot be used.
    """
    if destination.user is not None and destination.password is not None:
        return Login(destination.user, destination.password)
    entry = login_from_netrc(destination.host)
    if destination.user is not None and (entry is None or entry.user != destination.user):
        return Login(destination.user)
    if entry is not None and entry.for_all and entry.user not in ANONYMOUS and settings.by_request \
            and not _is_auth_host(destination, settings.parameters):
        raise LoginRefused(f"{destination.host} would be told the login of the default entry in netrc, as any host that a client "
                           f"names: give it an entry of its own (machine {destination.host} ...), or name it in auth_hosts "
                           f"(connection_parameters__auth_hosts = {destination.host})")
    return entry


def login_from_netrc(host: str, path: str | None = None) -> Login | None:
    """The entry for *host* (or the default entry) of the netrc file at *path*; None when there is no file or no entry.

    Raises `LoginRefused` when the file is malformed, or when others than its owner can read a password that is needed.
    """
    place = path or os.environ.get("NETRC") or os.path.expanduser("~/.netrc")
    try:
        status = os.stat(place)
    except OSError:
        return None
    entry = _entry(place, host)
    if entry is None:
        return None
    if status.st_uid not in (os.getuid(), 0) or stat.S_IMODE(status.st_mode) & 0o077:
        raise LoginRefused(f"{place} has a login for {host}, but others may read or own the file: chmod 600 it")
    return entry


def _entry(place: str, host: str) -> Login | None:
    """The entry for *host*; the parser's own complaint may quote a password, so nothing of it is passed on."""
    trouble = ""
    try:
        entries = netrc.netrc(place)
        found, for_all = entries.authenticators(host), host not in entries.hosts
    except netrc.NetrcParseError as error:
        trouble = f"line {error.lineno} is malformed"
    except OSError as error:
        trouble = error.strerror or "cannot be read"
    except UnicodeDecodeError:
        trouble = "is no text"
    if trouble:
        raise LoginRefused(f"{place}: {trouble}")
    if found is None:
        return None
    user, account, password = found
    return Login(user or "", password or "", account or "", for_all)
