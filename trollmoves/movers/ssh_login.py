"""What a section's `connection_parameters` say about logging in by ssh, read once into frozen values.

The names are listed in `parameters`. A host key that is not in a known_hosts file is refused, always.
"""

from __future__ import annotations

import getpass
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from trollmoves.errors import DestinationInvalid
from trollmoves.movers.base import SessionSettings
from trollmoves.movers.credentials import may_be_told
from trollmoves.uris import Destination, format_endpoint

KNOWN_HOSTS = ("~/.ssh/known_hosts", "~/.ssh/known_hosts2", "/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2")


@dataclass(frozen=True, slots=True)
class SshLogin:
    """All that a connection depends on: equal ones share a connection. Secrets are kept out of `repr`."""

    host: str
    port: int
    user: str
    password: str | None = field(repr=False)
    keys: tuple[str, ...]
    passphrase: str | None = field(repr=False)
    known_hosts: tuple[str, ...]
    timeout: float
    """Seconds for one attempt."""
    attempts: int
    connect_to: str = ""
    """Address to connect to in place of looking up the host."""
    alone: int = 0
    """Different for those that shall not share a connection."""

    def __str__(self) -> str:
        return f"{self.user}@{format_endpoint(self.host, self.port)}"


def login_of(destination: Destination, settings: SessionSettings, attempts: int = 1) -> SshLogin:
    """Who logs in where. Raises `DestinationInvalid` naming the parameter that cannot be read."""
    parameters = settings.parameters
    if not destination.host:
        raise DestinationInvalid(f"{destination} names no host")
    return SshLogin(
        host=destination.host,
        connect_to=destination.connect_to,
        port=destination.port or 22,
        user=destination.user or str(parameters.get("username") or _user_of_this_process(destination)),
        password=destination.password or _password(destination, parameters),
        keys=_keys(parameters, destination.scheme),
        passphrase=_text(parameters, "passphrase"),
        known_hosts=paths(parameters, "known_hosts") or tuple(os.path.expanduser(path) for path in KNOWN_HOSTS),
        timeout=number(parameters, "ssh_connection_timeout", settings.connect_timeout),
        attempts=max(1, int(number(parameters, "num_ssh_retries", attempts))),
    )


def _password(destination: Destination, parameters: Mapping[str, Any]) -> str | None:
    return _text(parameters, "password") if may_be_told(destination, parameters, "password") else None


def _user_of_this_process(destination: Destination) -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # as in a container that runs as any number
        raise DestinationInvalid(f"{destination} names no user, and that of this process has no name: write user@host, or set "
                                 "the connection parameter username") from None


def _keys(parameters: Mapping[str, Any], scheme: str) -> tuple[str, ...]:
    """The keys named. Upstream's scp knows one of the options and its sftp the other; here the other counts where it helps."""
    names = ("ssh_key_filename", "ssh_private_key_file")
    own, other = (paths(parameters, name) for name in (names if scheme == "scp" else reversed(names)))
    return tuple(map(_private, own or (key for key in other if os.access(key, os.R_OK))))


def _private(key: str) -> str:
    """The private key that belongs to a public one."""
    private = key.removesuffix(".pub")
    return private if os.access(private, os.R_OK) else key


def number(parameters: Mapping[str, Any], name: str, default: float) -> float:
    """A parameter that is a number, given as one or as text."""
    value = parameters.get(name)
    if value is None or value == "":
        return default
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise DestinationInvalid(f"connection parameter {name} must be a number") from error


def paths(parameters: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """A parameter that is a path or several; empty when it is not given."""
    value = parameters.get(name)
    if not value:
        return ()
    values = [value] if isinstance(value, (str, os.PathLike)) else list(value)
    return tuple(os.path.expanduser(os.fspath(path)) for path in values)


def _text(parameters: Mapping[str, Any], name: str) -> str | None:
    value = parameters.get(name)
    return None if value is None or value == "" else str(value)
