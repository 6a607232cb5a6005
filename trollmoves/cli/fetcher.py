"""pytroll-fetcher: hear messages, fetch the files they name from the filesystems they name, and publish them."""

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
from trollmoves.fetcher.reading import read_fetcher_config


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="pytroll-fetcher", description="Hear messages, fetch the files they name from where they are, and publish them.")
    add_common_arguments(parser)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse_arguments(arguments)
    return run_program("pytroll-fetcher", lambda: _run(options))


def _run(options: argparse.Namespace) -> int:
    configuration = read_or_explain(read_fetcher_config, options.config_file, check=options.check_config)
    if options.check_config:
        return say_checked(options.config_file, configuration.warnings)
    configuration.require_all()
    set_up_logging(options.log_config, options.log)
    from trollmoves.fetcher.fetcher import Fetcher  # after the cheap checks: a wrong option answers at once
    journal = options.journal or default_journal("fetcher", options.config_file)
    Fetcher(options.config_file, read_fetcher_config, journal).run(configuration)
    thank("pytroll-fetcher")
    return 0


if __name__ == "__main__":
    sys.exit(main())
