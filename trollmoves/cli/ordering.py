"""What `failed`, `retry` and `dismiss` share: which files and alarms are meant, and handing an order to a process."""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trollmoves.cli.places import is_running
from trollmoves.errors import TrollmovesError
from trollmoves.journal import Reader
from trollmoves.journal.ordering import place_order

Said = list[str]
"""Lines for the user."""
MOST_LISTED = 100_000
AT_ONCE = 1000
"""Files in one order."""
PATIENCE = 10.0
"""Seconds that a running process gets to take up an order."""


def add_file_arguments(parser: argparse.ArgumentParser, what: str, named: str = "") -> None:
    """Options that say which of the files that are *what* are meant; where those may be *named* that are more."""
    parser.add_argument("uid", nargs="*", help=f"uids (names) of files {named or what}, or keys of their content (k:...)")
    parser.add_argument("--all", action="store_true", help=f"every file {what}")
    add_chain_argument(parser)


def add_chain_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--chain", metavar="SECTION", default=None, help="only those of this section (or target)")


def found_files(reader: Reader, options: argparse.Namespace, *, waiting: bool = False, left_over: bool = False,
                wanted: bool = False) -> list[Any]:
    """The files that *options* mean: those given up, those *waiting* for another try, those *left over*, whose section is
    configured no more, and those *wanted*, which a client still asks for (where none is named, only those that failed before);
    newest first in each section."""
    rows = []
    chains = [row["chain"] for row in reader.find("chains") if options.chain in (None, row["chain"])]
    gone = reader.not_configured(chains) if left_over else set()
    for chain in chains:
        rows += reader.find("dead_letters_of", (chain, MOST_LISTED))
        rows += reader.find("waiting_failures", (chain, MOST_LISTED)) if waiting else []
        rows += [row for row in reader.find("wanted", (chain, MOST_LISTED)) if options.uid or '["failed",' in row["steps"]] \
            if wanted and chain not in gone else []
        rows += reader.find("unfinished_of", (chain, MOST_LISTED)) if chain in gone else []
    return [row for row in rows if not options.uid or {row["identity"], row["key"]} & set(options.uid)]


def check_chain(options: argparse.Namespace, places: Sequence[Path]) -> None:
    """Raise `TrollmovesError` for a section that no journal knows: a slip would look as if all were well."""
    if options.chain is None:
        return
    known = set()
    for path in places:
        with Reader(path) as reader:
            known |= {row["chain"] for row in (*reader.find("chains"), *reader.find("open_alarms"))}
            known |= reader.configured() or set()
    if options.chain not in known:
        raise TrollmovesError(f"no journal knows a section {options.chain!r}; there is {', '.join(sorted(known)) or 'none'}")


def order_retry(options: argparse.Namespace, places: Sequence[Path], said: Said) -> tuple[list[Any], dict[str, int]]:
    """Order that the files that *options* mean are tried again; their rows, and how many there are of each section that is
    configured no more, which nobody would try."""
    check_chain(options, places)
    found: list[Any] = []
    left = Counter[str]()
    for path in places:
        with Reader(path) as reader:
            rows = found_files(reader, options, waiting=True)
            gone = reader.not_configured(row["chain"] for row in rows)
        left.update(row["chain"] for row in rows if row["chain"] in gone)
        tried = [row for row in rows if row["chain"] not in gone]
        _order(path, "retry", options, said, tried)
        found += tried
    return found, left


def order_dismissal(options: argparse.Namespace, places: Sequence[Path], said: Said) -> int:
    """Order that nothing more is done about the files that *options* mean; how many there are."""
    check_chain(options, places)
    count = 0
    for path in places:
        with Reader(path) as reader:
            rows = found_files(reader, options, left_over=True, wanted=bool(options.uid) or options.waiting)
        count += _order(path, "dismiss", options, said, rows)
    return count


def _order(path: Path, verb: str, options: argparse.Namespace, said: Said, rows: Sequence[Any]) -> int:
    """Order *verb* for these files; how many there are."""
    for start in range(0, len(rows), AT_ONCE):
        said += give(path, verb, options.chain or "", [row["id"] for row in rows[start:start + AT_ONCE]])
    return len(rows)


def give(path: Path, verb: str, chain: str, said: Any) -> Said:
    """Write an order, and wait until a running process has done it; what to say when it has not."""
    order = place_order(path, verb, chain, said)
    if not is_running(path):
        return [f"{path}: the process is not running; it does this when it starts"]
    deadline = time.monotonic() + PATIENCE
    with Reader(path) as reader:
        while reader.find_one("order", (order,)) is not None:
            if time.monotonic() > deadline:
                return [f"{path}: the process runs and has not taken this up within {PATIENCE:.0f} s; it will when it can"]
            time.sleep(0.05)
    return []


def tell(options: argparse.Namespace, result: dict[str, Any], said: Said) -> None:
    """Print what came of orders, one line each, or all of it in JSON."""
    if options.json:
        print(json.dumps({**result, "said": said}, indent=2))
    elif said:
        print("\n".join(said))
