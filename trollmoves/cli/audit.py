"""trollmoves audit: what was refused, given up, not removed, ordered by an operator or alarmed about, from the journals."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trollmoves.cli.common import past
from trollmoves.cli.ordering import add_chain_argument
from trollmoves.cli.places import add_journal_arguments, local_time, on_journals
from trollmoves.journal import Reader
from trollmoves.journal.audit import first_changed
from trollmoves.uris import printable

HEAD = ("number", "time", "what", "section")
"""What each record says; the rest depends on what happened."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="trollmoves audit",
        description="Which requests were refused, which files given up or not removed, what operators ordered, and all alarms: "
                    "each with the number that the log tells.")
    parser.add_argument("--since", type=past, metavar="TIME", help="only what is younger than this: 90, 30m, 12h, 7d")
    parser.add_argument("--verify", action="store_true",
                        help="say whether the records are as they were written; if not, the exit status is 1")
    add_chain_argument(parser)
    add_journal_arguments(parser)
    options = parser.parse_args(arguments)
    return on_journals("trollmoves audit", options, _run, needed="last_audit")


def _run(options: argparse.Namespace, places: list[Path]) -> int:
    if options.verify:
        return max([_verify(path) for path in places])
    found = [record for path in places for record in records(path, options)]
    if options.json:
        print(json.dumps(found, indent=2))
        return 0
    for record in found:
        print(_as_text(record))
    print(f"{len(found)} record(s)")
    return 0


def records(path: Path, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Those of one journal that are asked for, oldest first."""
    oldest = 0.0 if options.since is None else time.time() - options.since
    with Reader(path) as reader:
        found = [{"journal": str(path), **json.loads(row["record"])} for row in reader.find("audit")]
    return [record for record in found if record["time"] >= oldest and options.chain in (None, record["section"])]


def _verify(path: Path) -> int:
    with Reader(path) as reader:
        rows = reader.find("audit")
    changed = first_changed(rows)
    if changed is not None:
        print(f"{path}: record {changed} is not as it was written, or those before it are missing")
        return 1
    print(f"{path}: {len(rows)} record(s), all as they were written")
    return 0


def _as_text(record: dict[str, Any]) -> str:
    said = " · ".join(f"{name}: {printable(str(value))}" for name, value in record.items()
                      if name not in ("journal", *HEAD) and value not in ("", None))
    section = f" [{printable(record['section'])}]" if record["section"] else ""
    return f"{record['number']} {local_time(record['time'])}{section} {record['what']}: {said}"
