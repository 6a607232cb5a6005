"""s3downloader.py: hear messages, download the objects they name, and publish the files."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from trollmoves.cli.common import (
    add_check_and_version,
    default_journal,
    read_or_explain,
    run_program,
    say_checked,
    set_up_logging,
    thank,
)
from trollmoves.config.fetching import S3DownloaderSettings
from trollmoves.errors import ConfigurationError
from trollmoves.fetcher.reading import FetchingConfiguration, read_s3downloader_config


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="s3downloader.py", description="Hear messages, download the objects they name, and publish the files.")
    parser.add_argument("-c", "--config-file", type=Path, required=True, help="the configuration file")
    parser.add_argument("-l", "--log", type=Path, metavar="FILE", help="log to this file (default: to the terminal)")
    parser.add_argument("-r", "--subscribe-nameserver", default="localhost", metavar="HOST",
                        help="name server that knows the publishers; `false` for none (default: localhost)")
    parser.add_argument("-n", "--nameservers", nargs="*", default=None, metavar="HOST",
                        help="name servers to tell where files are published (default: those that hear multicast)")
    parser.add_argument("--journal", type=Path, metavar="FILE",
                        help="where the state is kept (default: below the user's state directory)")
    add_check_and_version(parser)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse_arguments(arguments)
    return run_program("s3downloader.py", lambda: _run(options))


def _run(options: argparse.Namespace) -> int:
    configuration = read_or_explain(read_s3downloader_config, options.config_file, check=options.check_config)
    if options.check_config:
        return say_checked(options.config_file, configuration.warnings)
    configuration.require_all()
    nameserver: Any = False if options.subscribe_nameserver.lower() == "false" else options.subscribe_nameserver
    if nameserver is False and not configuration.subscriber.addresses:
        raise ConfigurationError(f"{options.config_file}: without a name server subscriber_addresses are needed")
    _set_up_logging(options.log, configuration)
    from trollmoves.fetcher.fetcher import Fetcher  # after the cheap checks: a wrong option answers at once

    def adjusted(read: FetchingConfiguration) -> FetchingConfiguration:
        named = options.nameservers
        hosts: Any = None if not named else False if named[0].lower() == "false" else tuple(named)
        return replace(read, subscriber=read.subscriber.model_copy(update={"nameserver": nameserver}),
                       publisher=read.publisher.model_copy(update={"nameservers": hosts}))
    journal = options.journal or default_journal("s3downloader", options.config_file)
    Fetcher(options.config_file, read_s3downloader_config, journal, adjusted).run(configuration)
    thank("s3downloader")
    return 0


def _set_up_logging(file: Path | None, configuration: FetchingConfiguration) -> None:
    settings = configuration.chains["s3downloader"]
    assert isinstance(settings, S3DownloaderSettings)
    said = settings.logging.plain()
    level = logging.DEBUG if said.get("logging_mode") == "DEBUG" else logging.INFO
    try:
        days, kept = int(said.get("log_rotation_days", 1)), int(said.get("log_rotation_backup", 30))
    except (TypeError, ValueError):
        raise ConfigurationError(f"{configuration.path}: logging: log_rotation_days and log_rotation_backup must be numbers") \
            from None
    set_up_logging(None, file, level=level, days=days, kept=kept)


if __name__ == "__main__":
    sys.exit(main())
