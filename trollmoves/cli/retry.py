"""trollmoves retry: have files that failed tried again, or the past asked for again."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trollmoves.attention.left_over import left_over
from trollmoves.cli.common import past
from trollmoves.cli.ordering import add_file_arguments, check_chain, give, order_retry, tell
from trollmoves.cli.places import add_journal_arguments, on_journals
from trollmoves.errors import TrollmovesError


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="trollmoves retry",
        description="Have files tried again at once: those that were given up, and those that wait for another try. A client and "
                    "a dispatcher try again themselves; a server announces the file anew. A running process does it within a "
                    "second, a stopped one when it starts.")
    add_file_arguments(parser, "that failed")
    parser.add_argument("--since", type=past, metavar="TIME",
                        help="have a client ask its providers for all they announced in this time (90, 30m, 12h, 7d), known or "
                             "not; what it has is not fetched again. A server announces anew what came in this time and is still "
                             "there, also when its journal has forgotten the announcements")
    parser.add_argument("--topic", action="append", default=[],
                        help="with --since: only what is under this topic (may be repeated)")
    add_journal_arguments(parser)
    options = parser.parse_args(arguments)
    if (options.since is not None) == bool(options.uid or options.all or (options.chain and options.since is None)):
        parser.error("say which files: uids, --all or --chain; or --since, for the past")
    if options.topic and options.since is None:
        parser.error("--topic goes with --since")
    return on_journals("trollmoves retry", options, _run)


def _run(options: argparse.Namespace, places: list[Path]) -> int:
    if options.since is not None:
        return _ask_again(options, places)
    said: list[str] = []
    rows, left = order_retry(options, places, said)
    if not rows and not left and options.uid:
        raise TrollmovesError(f"no file {', '.join(options.uid)} has failed (`trollmoves trace` shows what happened to a file)")
    for section, number in left.items():
        print(f"trollmoves retry: {left_over(section, number)}", file=sys.stderr)
    in_vain = [text for row in rows if (text := _in_vain(row))]
    count = len(rows) - len(in_vain)
    tell(options, {"files": count, "left_over": left}, [*said, *in_vain, f"{count} file(s) to be tried again"])
    return 1 if left else 0


def _in_vain(row: Any) -> str:
    """Why a server cannot announce a file again, if that can be seen; of others nothing."""
    path = os.fsdecode(row["path"] or b"")
    if row["provider"] is not None or not path.startswith("/"):
        return ""
    try:
        status = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return f"{row['identity']} is not announced again: it is gone from {path}"
    except OSError:
        return ""
    if (status.st_size, status.st_mtime_ns, status.st_ino) != (row["size"], row["mtime_ns"], row["inode"]):
        return f"{row['identity']} is not announced again: another file has its name, which is announced in its place"
    return ""


def _ask_again(options: argparse.Namespace, places: list[Path]) -> int:
    check_chain(options, places)
    topics = [topic if topic.startswith("/") else f"/{topic}" for topic in options.topic]
    said: list[str] = []
    for path in places:
        said += give(path, "replay", options.chain or "", {"newer_than": time.time() - options.since, "topics": topics})
    tell(options, {"processes": len(places)}, [*said, f"{len(places)} process(es) told"])
    return 0
