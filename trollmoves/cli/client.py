"""move_it_client.py: listen to servers, ask for files, publish what arrived."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence

from trollmoves.cli.common import (
    add_common_arguments,
    default_journal,
    past,
    read_or_explain,
    run_program,
    say_checked,
    set_up_logging,
    thank,
)
from trollmoves.config.reading import read_client_config


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="move_it_client.py", description="Listen to what servers announce, have the files moved here, and publish them.")
    add_common_arguments(parser)
    parser.add_argument("--replay-since", type=past, metavar="TIME",
                        help="ask the providers again for all they announced in this time (90, 30m, 12h, 7d), known or not; what "
                             "is here is not fetched again")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse_arguments(arguments)
    return run_program("move_it_client.py", lambda: _run(options))


def _run(options: argparse.Namespace) -> int:
    configuration = read_or_explain(read_client_config, options.config_file, check=options.check_config)
    if options.check_config:
        return say_checked(options.config_file, configuration.warnings, configuration.chains)
    set_up_logging(options.log_config, options.log)
    from trollmoves.client.client import Client  # after the cheap checks: a wrong option answers at once
    client = Client(options.config_file, options.journal or default_journal("client", options.config_file))
    if options.replay_since is not None:
        client.loop.call(client.ask_again, "", time.time() - options.replay_since, [])
    client.run(configuration)
    thank("move_it_client")
    return 0


if __name__ == "__main__":
    sys.exit(main())
