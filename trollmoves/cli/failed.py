"""trollmoves failed: the files that nobody could deliver, and why; and those that are still tried."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trollmoves.cli.ordering import add_chain_argument, check_chain, found_files
from trollmoves.cli.places import add_journal_arguments, local_time, on_journals
from trollmoves.client.doubting import is_in_doubt
from trollmoves.journal import Reader
from trollmoves.journal.reader import last_failure
from trollmoves.uris import printable

SHOWN = 100


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="trollmoves failed",
        description="Which files nobody could deliver, and why. `trollmoves retry` has them tried again, `trollmoves dismiss` "
                    "ends the matter.")
    parser.add_argument("uid", nargs="*", help="only these: uids (names), or keys of their content (k:...)")
    parser.add_argument("--waiting", action="store_true", help="also those that failed and are tried again by themselves")
    add_chain_argument(parser)
    add_journal_arguments(parser)
    options = parser.parse_args(arguments)
    return on_journals("trollmoves failed", options, _run)


def _run(options: argparse.Namespace, places: list[Path]) -> int:
    check_chain(options, places)
    found = [letter for path in places for letter in letters(path, options)]
    if options.json:
        print(json.dumps(found, indent=2))
        return 0
    for letter in found[:SHOWN]:
        print(_as_text(letter))
    more = f"; {len(found) - SHOWN} more are not shown, --json shows all" if len(found) > SHOWN else ""
    given_up = sum(letter["state"] == "given_up" for letter in found)
    if options.uid and not found:
        more = f": nothing about {', '.join(options.uid)} (`trollmoves trace` shows what happened to a file)"
    waiting = f", {len(found) - given_up} tried again" if options.waiting else ""
    print(f"{given_up} file(s) given up{waiting}{more}")
    return 0


def letters(path: Path, options: argparse.Namespace) -> list[dict[str, Any]]:
    """What one journal says of them."""
    with Reader(path) as reader:
        return [_letter(path, row) for row in found_files(reader, options, waiting=options.waiting)]


def _letter(path: Path, row: Any) -> dict[str, Any]:
    return {"journal": str(path), "chain": row["chain"], "uid": row["identity"], "key": row["key"], "state": row["state"],
            "since": row["created"], "time": row["time"], "attempts": row["attempt"], "next_try": row["due"],
            "perhaps_copy": row["path"] is None and is_in_doubt(row["steps"]), "why": last_failure(row["steps"])}


def _as_text(letter: dict[str, Any]) -> str:
    tries = f"{letter['attempts']} tries" if letter["attempts"] != 1 else "1 try"
    again = f", again at {local_time(letter['next_try'])}" if letter["next_try"] else ""
    copy = "; it is perhaps a copy of what another provider has delivered" if letter["perhaps_copy"] else ""
    return (f"[{letter['chain']}] {printable(letter['uid'])} ({letter['state']} {local_time(letter['time'])} after {tries}, "
            f"known since {local_time(letter['since'])}{again})\n    {printable(letter['why'])}{copy}")
