"""trollmoves explain: what a program would make of a file or of a recorded message, and which option decided."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from trollmoves.cli.common import read_or_explain, run_program
from trollmoves.cli.guessing import guess
from trollmoves.client import explaining as client
from trollmoves.config.reading import (
    Configuration,
    read_client_config,
    read_mirror_config,
    read_move_config,
    read_server_config,
)
from trollmoves.dispatcher import explaining as dispatcher
from trollmoves.dispatcher.reading import read_dispatcher_config
from trollmoves.errors import ConfigurationError
from trollmoves.fetcher import explaining as fetcher
from trollmoves.fetcher.reading import FetchingConfiguration, read_fetcher_config, read_s3downloader_config
from trollmoves.mirror import explaining as mirror
from trollmoves.move_it import explaining as move_it
from trollmoves.server import explaining as server
from trollmoves.uris import printable

Explain = Callable[[str, Mapping[str, Any]], Iterator[str]]

PROGRAMS: dict[str, tuple[Callable[[Path], Configuration[Any]], Explain]] = {
    "server": (read_server_config, server.explain_sample),
    "client": (read_client_config, client.explain_sample),
    "mirror": (read_mirror_config, mirror.explain_sample),
    "move": (read_move_config, move_it.explain_sample),
    "dispatcher": (read_dispatcher_config, dispatcher.explain_sample),
}
FETCHING: dict[str, Callable[[Path], FetchingConfiguration]] = {"fetch": read_fetcher_config, "s3": read_s3downloader_config}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="trollmoves explain",
        description="Say what each section of a configuration file would make of a file or of a recorded message: the "
                    "announcement, the request, the destination, and what decided. Nothing is announced, asked for or moved.")
    parser.add_argument("sample", metavar="FILE-OR-MESSAGE",
                        help="a message, a file with recorded messages (one a line), or any other file")
    parser.add_argument("config_file", type=Path, nargs="+", help="configuration files, of all but remove_it")
    parser.add_argument("--as", dest="kind", choices=sorted((*PROGRAMS, *FETCHING)),
                        help="the program they are for (default: told from their options)")
    options = parser.parse_args(arguments)
    return max(run_program("trollmoves explain", lambda path=path: _explain(options.sample, path, options.kind))  # type: ignore[misc]
               for path in options.config_file)


def _explain(sample: str, path: Path, kind: str | None) -> int:
    kind = kind or guess(path)
    if kind in FETCHING:
        lines = fetcher.explain_sample(sample, read_or_explain(FETCHING[kind], path, check=False))
    elif kind in PROGRAMS:
        read, explain = PROGRAMS[kind]
        lines = explain(sample, read_or_explain(read, path, check=False).chains)
    else:
        raise ConfigurationError(f"{path}: files for {kind} cannot be explained; say with --as which program it is for")
    print(f"{path} ({kind})")
    for line in lines:
        print(printable(line))
    return 0
