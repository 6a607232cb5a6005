"""Which journals a question is about: one that is named, that of a configuration file, or all of this user's."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path

from trollmoves.cli.common import default_journal, run_program, state_directory
from trollmoves.errors import ConfigurationError
from trollmoves.journal import Reader

PROGRAMS = ("server", "client", "mirror", "dispatcher", "move_it", "fetcher", "s3downloader")


def add_journal_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--journal", type=Path, action="append", default=[], metavar="FILE", help="a journal (may be repeated)")
    parser.add_argument("--config", type=Path, metavar="FILE", help="the configuration file of the process to look at")
    parser.add_argument("--json", action="store_true", help="JSON instead of text")


def on_journals(program: str, options: argparse.Namespace, run: Callable[[argparse.Namespace, list[Path]], int], *,
                needed: str = "orders") -> int:
    """Call *run* with the journals that *options* mean and that can be read (the query *needed* tells). Of the others is said
    what is wrong with them, and the exit status is 1."""
    def readable(path: Path) -> bool:
        return run_program(program, lambda: _read(path, needed)) == 0

    def run_on_readable() -> int:
        places = journals(options)
        found = [path for path in places if readable(path)]
        return max(run(options, found) if found else 0, 0 if len(found) == len(places) else 1)
    return run_program(program, run_on_readable)


def _read(path: Path, query: str) -> int:
    with Reader(path) as reader:
        reader.find_one(query, ("epoch",) if query == "meta" else ())
    return 0


def journals(options: argparse.Namespace) -> list[Path]:
    """The journals that *options* mean. Raises `ConfigurationError` when there is none."""
    if options.journal:
        return list(options.journal)
    if options.config is not None:
        candidates = [default_journal(program, options.config) for program in PROGRAMS]
        found = [path for path in candidates if path.is_file()]
        missing = "" if options.config.exists() else f" (there is no file {options.config} either)"
        where = f"for {options.config}{missing}: looked for {candidates[0]} and the like of {', '.join(PROGRAMS[1:])}"
    else:
        directory = state_directory()
        found = sorted(directory.glob("*.journal")) if directory.is_dir() else []
        where = f"in {directory}"
    if not found:
        raise ConfigurationError(f"there is no journal {where}; name one with --journal (XDG_STATE_HOME and STATE_DIRECTORY "
                                 "decide where programs keep theirs)")
    return found


def is_running(path: Path) -> bool:
    """Whether a process holds the journal."""
    import fcntl

    from trollmoves.journal import lock_of
    try:
        descriptor = os.open(lock_of(path), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def local_time(when: float) -> str:
    """A time since 1970 as the clock on the wall shows it."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(when))
