"""move_it_server.py: watch directories, announce files, move them for those who ask."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from trollmoves.cli.common import (
    add_common_arguments,
    default_journal,
    read_or_explain,
    run_program,
    say_checked,
    seconds,
    set_up_logging,
    thank,
    whole_number,
)
from trollmoves.config.reading import read_server_config

PORT = whole_number(0, 65535, "a port, a number from 0 (any free one) to 65535")
COUNT = whole_number(0, 1_000_000, "a number from 0 to 1000000")


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="move_it_server.py",
        description="Announce the files that arrive in directories, and move them to where clients want them.")
    add_common_arguments(parser)
    parser.add_argument("-p", "--port", type=PORT, default=9010, help="port for announcements (default: 9010)")
    add_watching_arguments(parser, "do not announce files that were there before the start")
    return parser.parse_args(arguments)


def add_watching_arguments(parser: argparse.ArgumentParser, backlog: str) -> None:
    """The options of all programs that watch directories; *backlog* is the help of `--disable-backlog`."""
    parser.add_argument("--disable-backlog", action="store_true", help=backlog)
    parser.add_argument("-w", "--watchdog", action="store_true",
                        help="poll the directories instead of using inotify (for network file systems)")
    parser.add_argument("--chain-check-interval", type=seconds, default=30.0, metavar="SECONDS",
                        help="seconds between two checks of the watches (default: 30)")
    parser.add_argument("--max-notifier-restarts", type=COUNT, default=10, metavar="N",
                        help="end after so many failed restarts of a watch in a row; 0 for never (default: 10)")


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse_arguments(arguments)
    return run_program("move_it_server.py", lambda: _run(options))


def _run(options: argparse.Namespace) -> int:
    configuration = read_or_explain(read_server_config, options.config_file, check=options.check_config)
    if options.check_config:
        return say_checked(options.config_file, configuration.warnings, configuration.chains)
    set_up_logging(options.log_config, options.log)
    from trollmoves.server.server import Server  # after the cheap checks: a wrong option answers at once
    journal = options.journal or default_journal("server", options.config_file)
    server = Server(options.config_file, journal, options.port, disable_backlog=options.disable_backlog, polling=options.watchdog,
                    check_interval=options.chain_check_interval, most_restarts=options.max_notifier_restarts)
    server.run(configuration)
    thank("move_it_server")
    return 0


if __name__ == "__main__":
    sys.exit(main())
