"""A door under upstream's name for programs that log as ours do; nothing of ours uses it."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from trollmoves.cli.common import Deprecated, DeprecatedFlag
from trollmoves.cli.common import set_up_logging as _set_up_logging


def add_logging_options_to_parser(parser: argparse.ArgumentParser, legacy: bool = False) -> None:
    """Add `-c/--log-config`; *legacy* adds `-l/--log` and `-v/--verbose`, which will go."""
    parser.add_argument("-c", "--log-config", type=Path, default=None, help="YAML file with a logging configuration (dictConfig)")
    if legacy:
        parser.add_argument("-l", "--log", type=Path, default=None, action=Deprecated, help="the file to log to")
        parser.add_argument("-v", "--verbose", default=False, action=DeprecatedFlag, help="no effect")


def setup_logging(name: str, cmd_args: argparse.Namespace | None = None) -> logging.Logger:
    """Log as *cmd_args* say (to the terminal unless they do), and return the logger *name*. Raises, as upstream,
    `FileNotFoundError`, and `ConfigurationError`."""
    config = getattr(cmd_args, "log_config", None)
    if config is not None:
        Path(config).stat()
    _set_up_logging(config, getattr(cmd_args, "log", None))
    return logging.getLogger(name)
