"""move_it_mirror.py: announce what servers in one network announce to another network, and pass the files on."""

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
from trollmoves.cli.server import PORT
from trollmoves.config.reading import read_mirror_config


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="move_it_mirror.py",
        description="Announce what servers elsewhere announce, fetch each file when it is first asked for, and move it on.")
    add_common_arguments(parser)
    parser.add_argument("-p", "--port", type=PORT, default=9010, help="port for announcements (default: 9010)")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse_arguments(arguments)
    return run_program("move_it_mirror.py", lambda: _run(options))


def _run(options: argparse.Namespace) -> int:
    configuration = read_or_explain(read_mirror_config, options.config_file, check=options.check_config)
    if options.check_config:
        return say_checked(options.config_file, configuration.warnings, configuration.chains)
    set_up_logging(options.log_config, options.log)
    from trollmoves.mirror.mirror import Mirror  # after the cheap checks: a wrong option answers at once
    journal = options.journal or default_journal("mirror", options.config_file)
    Mirror(options.config_file, journal, options.port).run(configuration)
    thank("move_it_mirror")
    return 0


if __name__ == "__main__":
    sys.exit(main())
