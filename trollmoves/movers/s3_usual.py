"""What the configuration of fsspec says of S3, which upstream's mover goes by: `~/.config/fsspec/*.json` and `*.ini` (or those in
`FSSPEC_CONFIG_DIR`), and the environment (`FSSPEC_S3_KEY`, ...; `FSSPEC_S3` as JSON). Later ones go before; what a section says
goes before all. fsspec itself is not needed.
"""

from __future__ import annotations

import configparser
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from trollmoves.errors import DestinationInvalid, TemporaryError
from trollmoves.movers.parameters import S3

PROTOCOLS = ("s3", "s3a")
"""The names of S3 in fsspec; what the second says goes before."""
_KNOWN = frozenset(parameter.name for parameter in S3 if parameter.used)
_LOGIN = frozenset(("key", "secret", "token", "profile", "session", "anon"))
"""What belongs together: who names one of them is not given another."""


def with_usual(given: Mapping[str, Any], *, has_login: bool = False,
               environment: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """*given* parameters, and the usual ones it does not name; without those of the login when *has_login*. Raises
    `TemporaryError` naming a file that cannot be read, `DestinationInvalid` for the environment."""
    found: dict[str, dict[str, Any]] = {name: {} for name in PROTOCOLS}
    for name, more in (*_of_files(environment), *_of_environment(environment)):
        if name in found:
            found[name].update(more)
    named = {name for name, value in given.items() if value is not None}
    if has_login or named & _LOGIN:
        named |= _LOGIN
    usual = {name: value for name, value in (found["s3"] | found["s3a"]).items() if name in _KNOWN and name not in named}
    client = usual.get("client_kwargs")
    if "endpoint_url" in named and isinstance(client, dict):
        usual["client_kwargs"] = {name: value for name, value in client.items() if name != "endpoint_url"}
    return {**given, **usual}


def _of_files(environment: Mapping[str, str]) -> Iterator[tuple[str, dict[str, Any]]]:
    directory = Path(environment.get("FSSPEC_CONFIG_DIR") or Path("~/.config/fsspec").expanduser())
    try:
        for path in sorted(directory.iterdir()):
            yield from _of_file(path)
    except (FileNotFoundError, NotADirectoryError, PermissionError, RuntimeError):  # the last: there is no home
        return


def _of_file(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        if path.suffix == ".json":
            yield from ((name, dict(more)) for name, more in json.loads(path.read_text("utf-8")).items())
        elif path.suffix == ".ini":
            file = configparser.ConfigParser()
            file.read_string(path.read_text("utf-8"))
            yield from ((name, dict(file[name])) for name in file.sections())
    except (OSError, ValueError, TypeError, AttributeError, configparser.Error):  # whose text may hold what is secret
        raise TemporaryError(f"the configuration of fsspec in {path} cannot be read") from None  # it may be being written


def _of_environment(environment: Mapping[str, str]) -> Iterator[tuple[str, dict[str, Any]]]:
    words = [(name.split("_", 2), value) for name, value in environment.items() if name.startswith("FSSPEC_")]
    for (_, protocol, *option), value in sorted(words, key=lambda word: len(word[0])):  # JSON first, as fsspec has it
        if protocol.lower() not in PROTOCOLS:
            continue
        if option:
            yield protocol.lower(), {option[0].lower(): value}
        else:
            yield protocol.lower(), _of_json(value, f"FSSPEC_{protocol}")


def _of_json(text: str, name: str) -> dict[str, Any]:
    try:
        return dict(json.loads(text))
    except (ValueError, TypeError):
        raise DestinationInvalid(f"{name} in the environment is no mapping in JSON") from None
