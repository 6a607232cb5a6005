"""trollmoves check: read a configuration as its program would, and say everything that is wrong with it."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

from trollmoves.cli.clean import read_cleaner_or_explain
from trollmoves.cli.common import read_or_explain, run_program, say_checked
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


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="trollmoves check", description="Say all that is wrong with configuration files.")
    parser.add_argument("config_file", type=Path, nargs="+")
    parser.add_argument("--as", dest="kind", choices=sorted([*READERS, "clean"]),
                        help="the program it is for (default: told from its options)")
    parser.add_argument("--json", action="store_true", help="JSON instead of text")
    options = parser.parse_args(arguments)
    if options.json:
        reports = [_report(path, options.kind) for path in options.config_file]
        print(json.dumps(reports, indent=2))
        return max(int(report["status"]) for report in reports)
    return max(_run(path, options.kind) for path in options.config_file)


def _report(path: Path, kind: str | None) -> dict[str, Any]:
    """Exit status and lines of the check of one file."""
    with redirect_stdout(StringIO()) as said, redirect_stderr(said):
        status = _run(path, kind)
    return {"config_file": str(path), "status": status, "said": said.getvalue().splitlines()}


def _run(path: Path, kind: str | None) -> int:
    return run_program("trollmoves check", lambda: _check(path, kind))


def _check(path: Path, kind: str | None) -> int:
    kind = kind or guess(path)
    if kind == "clean":
        cleaner = read_cleaner_or_explain(path, check=True)
        return say_checked(path, cleaner.warnings, cleaner.sections, kind=kind)
    configuration = read_or_explain(READERS[kind], path, check=True)
    return say_checked(path, configuration.warnings, configuration.chains, kind=kind)


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
