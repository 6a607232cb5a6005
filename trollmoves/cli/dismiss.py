"""trollmoves dismiss: an operator knows of a failed file or of an alarm, and wants to hear no more of it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from trollmoves.cli.ordering import add_file_arguments, check_chain, give, order_dismissal, tell
from trollmoves.cli.places import add_journal_arguments, on_journals
from trollmoves.errors import TrollmovesError
from trollmoves.journal import Reader
from trollmoves.journal.alarms import DEAD_LETTERS


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="trollmoves dismiss",
        description="Want nothing more of files that were given up, or that a client asks for again and again because their "
                    "provider is gone for good, and hear no more of alarms. Nothing is deleted; `trollmoves trace` still shows "
                    "what happened.")
    add_file_arguments(parser, "given up", "given up, or asked for by a client")
    parser.add_argument("--waiting", action="store_true",
                        help="with --all: also those that failed and are tried again by themselves, by a client")
    parser.add_argument("--alarm", type=int, action="append", default=[], metavar="NUMBER",
                        help="the alarm of this number in `trollmoves status` (may be repeated)")
    parser.add_argument("--alarms", action="store_true", help="every alarm (of the section, with --chain)")
    add_journal_arguments(parser)
    options = parser.parse_args(arguments)
    if options.waiting and not options.all:
        parser.error("--waiting goes with --all")
    if not (options.uid or options.all or options.alarm or options.alarms):
        parser.error("say what: uids or --all for files; --alarm NUMBER or --alarms for alarms")
    return on_journals("trollmoves dismiss", options, _run)


def _run(options: argparse.Namespace, places: list[Path]) -> int:
    result: dict[str, int] = {}
    said: list[str] = []
    if options.uid or options.all:
        count = result["files"] = order_dismissal(options, places, said)
        if not count and options.uid:
            raise TrollmovesError(f"no file {', '.join(options.uid)} was given up, or is asked for")
        said.append(f"{count} file(s) dismissed")
    if options.alarm or options.alarms:
        count = result["alarms"] = _dismiss_alarms(options, places, said)
        if not count and options.alarm:
            raise TrollmovesError(f"there is no alarm {', '.join(map(str, options.alarm))}")
        said.append(f"{count} alarm(s) dismissed")
    tell(options, result, said)
    return 0


def _dismiss_alarms(options: argparse.Namespace, places: list[Path], said: list[str]) -> int:
    check_chain(options, places)
    if options.alarm and len(places) > 1:
        raise TrollmovesError("an alarm has its number in one journal: name it with --journal or --config")
    count = 0
    for path in places:
        with Reader(path) as reader:
            found = [row["id"] for row in reader.find("open_alarms") if options.chain in (None, row["chain"])
                     and (row["id"] in options.alarm or (options.alarms and row["kind"] != DEAD_LETTERS))]
        if found:
            said += give(path, "dismiss_alarm", options.chain or "", found)
        count += len(found)
    return count
