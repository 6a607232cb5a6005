"""What `failed`, `retry` and `dismiss` share: which files and alarms are meant, and handing an order to a process."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trollmoves.cli.places import is_running, journals
from trollmoves.errors import TrollmovesError
from trollmoves.journal import Reader
from trollmoves.journal.ordering import place_order

MOST_LISTED = 100_000
AT_ONCE = 1000
"""Files in one order."""
PATIENCE = 10.0
"""Seconds that a running process gets to take up an order."""


def add_file_arguments(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument("uid", nargs="*", help=f"uids (names) of files {what}, or keys of their content (k:...)")
    parser.add_argument("--all", action="store_true", help=f"every file {what}")
    add_chain_argument(parser)


def add_chain_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--chain", metavar="SECTION", default=None, help="only those of this section (or target)")


def found_files(reader: Reader, options: argparse.Namespace, *, waiting: bool) -> list[Any]:
    """The files that *options* mean: those given up, and those *waiting* for another try; newest first in each section."""
    rows = []
    for chain in (row["chain"] for row in reader.find("chains")):
        if options.chain in (None, chain):
            rows += reader.find("dead_letters_of", (chain, MOST_LISTED))
            rows += reader.find("waiting_failures", (chain, MOST_LISTED)) if waiting else []
    return [row for row in rows if not options.uid or {row["identity"], row["key"]} & set(options.uid)]


def check_chain(options: argparse.Namespace, places: Sequence[Path]) -> None:
    """Raise `TrollmovesError` for a section that no journal knows: a slip would look as if all were well."""
    if options.chain is None:
        return
    known = set()
    for path in places:
        with Reader(path) as reader:
            known |= {row["chain"] for row in reader.find("chains")} | {row["chain"] for row in reader.find("open_alarms")}
    if options.chain not in known:
        raise TrollmovesError(f"no journal knows a section {options.chain!r}; there is {', '.join(sorted(known)) or 'none'}")


def order_for_files(options: argparse.Namespace, verb: str, *, waiting: bool) -> int:
    """Order *verb* for the files that *options* mean; how many there are."""
    places = journals(options)
    check_chain(options, places)
    count = 0
    for path in places:
        with Reader(path) as reader:
            rows = found_files(reader, options, waiting=waiting)
        for start in range(0, len(rows), AT_ONCE):
            give(path, verb, options.chain or "", [row["id"] for row in rows[start:start + AT_ONCE]])
        count += len(rows)
    return count


def give(path: Path, verb: str, chain: str, said: Any) -> None:
    """Write an order, wait until a running process has done it, and say what happened."""
    order = place_order(path, verb, chain, said)
    if not is_running(path):
        print(f"{path}: the process is not running; it does this when it starts")
        return
    deadline = time.monotonic() + PATIENCE
    with Reader(path) as reader:
        while reader.find_one("order", (order,)) is not None:
            if time.monotonic() > deadline:
                print(f"{path}: the process runs and has not taken this up within {PATIENCE:.0f} s; it will when it can")
                return
            time.sleep(0.05)
