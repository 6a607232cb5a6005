"""What to do when something a test needs is not on this machine."""

from __future__ import annotations

import os
import shutil
import socket
from typing import NoReturn

import pytest


def unavailable(reason: str) -> NoReturn:
    """Skip on a laptop, fail in CI (where `CI` is set): there a silent skip would hide a hole."""
    if os.environ.get("CI", "").lower() in ("", "0", "false", "no"):
        pytest.skip(reason)
    pytest.fail(f"{reason} (CI is set: this is a failure, not a skip)", pytrace=False)


def need_program(name: str, package: str) -> str:
    """The path of a system program, looked for where servers are kept too; *package* is the Debian package to install."""
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin:/usr/local/sbin")
    return path or unavailable(f"{name} is not installed (Debian: apt install {package})")


def need_family(family: int) -> None:
    """Skip where this machine has no loopback address of that family, as containers often have none of IPv6: there is nothing to
    install."""
    address = "::1" if family == socket.AF_INET6 else "127.0.0.1"
    try:
        with socket.socket(family) as probe:
            probe.bind((address, 0))
    except OSError as error:
        pytest.skip(f"no {address} on this machine: {error}")
