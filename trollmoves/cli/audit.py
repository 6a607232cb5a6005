"""trollmoves audit: what was refused, given up, removed or not, ordered by an operator, or alarmed about."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from trollmoves.cli.common import past
from trollmoves.cli.ordering import add_chain_argument
from trollmoves.cli.places import add_journal_arguments, local_time, on_journals
from trollmoves.errors import TrollmovesError
from trollmoves.journal.audit import Line, audit_of, read, verify
from trollmoves.uris import printable

HEAD = ("number", "time", "what", "section", "before")
"""What each record says; the rest depends on what happened."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="trollmoves audit",
        description="Which requests were refused, which files given up, removed or not removed, what operators ordered, and "
                    "all alarms: each with the number that the log tells.")
    parser.add_argument("--since", type=past, metavar="TIME", help="only what is younger than this: 90, 30m, 12h, 7d")
    parser.add_argument("--verify", action="store_true",
                        help="say whether the records are as they were written; if not, the exit status is 1")
    add_chain_argument(parser)
    add_journal_arguments(parser)
    options = parser.parse_args(arguments)
    return on_journals("trollmoves audit", options, _run, needed="meta")


def _run(options: argparse.Namespace, places: list[Path]) -> int:
    if options.verify:
        return max([_verify(path) for path in places])
    count = 0  # one at a time: there may be a hundred megabytes
    for count, record in enumerate(chain.from_iterable(records(path, options) for path in places), 1):
        if options.json:
            print("[" if count == 1 else ",", json.dumps(record, indent=2))
        else:
            print(_as_text(record))
    print(("]" if count else "[]") if options.json else f"{count} record(s)")
    return 0


def records(path: Path, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Those of one journal that are asked for, oldest first."""
    oldest = 0.0 if options.since is None else time.time() - options.since
    return ({"journal": str(path), **line.record} for line in _readable(path)
            if line.record is not None and line.record["time"] >= oldest and options.chain in (None, line.record["section"]))


def _readable(path: Path) -> Iterator[Line]:
    try:
        yield from read(path)
    except OSError as error:
        raise TrollmovesError(f"the audit {audit_of(path)} cannot be read: {error.strerror}") from error


def _verify(path: Path) -> int:
    verdict = verify(_readable(path))
    if verdict.wrong is not None:
        print(f"{verdict.wrong.path}, line {verdict.wrong.number}: not as it was written, or what stood before it is missing")
        return 1
    unfinished = "; the last line is no whole record, as a sudden end leaves it" if verdict.unfinished else ""
    print(f"{audit_of(path)}: {verdict.records} record(s), all as they were written{unfinished}")
    return 0


def _as_text(record: dict[str, Any]) -> str:
    said = " · ".join(f"{name}: {printable(str(value))}" for name, value in record.items()
                      if name not in ("journal", *HEAD) and value not in ("", None))
    section = f" [{printable(record['section'])}]" if record["section"] else ""
    return f"{record['number']} {local_time(record['time'])}{section} {record['what']}: {said}"
