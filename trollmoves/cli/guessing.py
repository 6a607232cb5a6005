"""For which program a configuration file is: told from what is in it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from trollmoves.config import ini
from trollmoves.config.reading import (
    Configuration,
    read_client_config,
    read_mirror_config,
    read_move_config,
    read_server_config,
)
from trollmoves.config.text import read_text
from trollmoves.config.yaml import load
from trollmoves.dispatcher.reading import read_dispatcher_config
from trollmoves.errors import ConfigurationError
from trollmoves.fetcher.reading import read_fetcher_config, read_s3downloader_config

YAML = (".yaml", ".yml")
READERS: dict[str, Callable[[Path], Configuration[Any]]] = {
    "server": read_server_config, "client": read_client_config, "mirror": read_mirror_config,
    "dispatcher": read_dispatcher_config, "move": read_move_config, "fetch": read_fetcher_config, "s3": read_s3downloader_config}


def likely_program(path: Path, read: Callable[[Path], Any]) -> str:
    """The program that *path* is surely for, which is not the one that reads its files with *read*; else nothing."""
    try:
        kind = guess(path)
        yaml = path.suffix in YAML or _looks_like_yaml(path)
        options = set() if yaml else {option for section in ini.load(path).sections.values() for option in section}
    except ConfigurationError:
        return ""
    own = next((name for name, reader in READERS.items() if reader is read), "")
    vague = {"server": not options & {"origin", "listen"} or bool(options & {"destination", "providers", "client_topic"}),
             "dispatcher": own in ("fetch", "s3")}
    return "" if kind == own or vague.get(kind, False) else kind


def guess(path: Path) -> str:
    """Which program a file is for: dispatchers, fetchers and s3downloaders have YAML; clients have providers, mirrors also a
    request port, cleaners templates, move_it destinations. Raises `ConfigurationError` when it cannot be read."""
    if path.suffix in YAML or _looks_like_yaml(path):
        names = load(path)[0]
        return "fetch" if "subscriber_config" in names else "s3" if "subscribe-topic" in names else "dispatcher"
    options = {option for section in ini.load(path).sections.values() for option in section}
    if "providers" in options:
        return "mirror" if "request_port" in options else "client"
    return "clean" if "templates" in options else "move" if "destinations" in options else "server"


def _looks_like_yaml(path: Path) -> bool:
    """Whether a file of any name is YAML: an ini file begins with a section, YAML with `---` or `name:`."""
    lines = (line for line in read_text(path).splitlines() if line.strip() and line.lstrip()[0] not in "#;")
    return re.match(r"---|%YAML|[^\s\[=][^=:]*:(\s|$)", next(lines, "")) is not None
