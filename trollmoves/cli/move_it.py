"""move_it.py: watch directories, and move each file to several destinations."""

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
    set_up_logging,
    thank,
)
from trollmoves.cli.server import PORT, add_watching_arguments
from trollmoves.config.reading import read_move_config


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="move_it.py", description="Move the files that arrive in directories to one or several destinations.")
    add_common_arguments(parser)
    parser.add_argument("-p", "--port", type=PORT, default=None,
                        help="publish what was moved on this port (default: do not publish)")
    parser.add_argument("--replay-port", type=PORT, default=0, metavar="PORT",
                        help="where what was published can be asked for again (default: a free port)")
    add_watching_arguments(parser, "do not move files that were there before the start")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse_arguments(arguments)
    return run_program("move_it.py", lambda: _run(options))


def _run(options: argparse.Namespace) -> int:
    configuration = read_or_explain(read_move_config, options.config_file, check=options.check_config)
    if options.check_config:
        return say_checked(options.config_file, configuration.warnings, configuration.chains)
    set_up_logging(options.log_config, options.log)
    from trollmoves.move_it.move_it import MoveIt  # after the cheap checks: a wrong option answers at once
    journal = options.journal or default_journal("move_it", options.config_file)
    program = MoveIt(options.config_file, journal, options.port, disable_backlog=options.disable_backlog,
                     polling=options.watchdog, check_interval=options.chain_check_interval,
                     most_restarts=options.max_notifier_restarts, replay_port=options.replay_port)
    program.run(configuration)
    thank("move_it")
    return 0


if __name__ == "__main__":
    sys.exit(main())
