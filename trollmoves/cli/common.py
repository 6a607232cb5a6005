"""What all programs share at the door: logging, the place of the journal, messages for the user, exit status."""

from __future__ import annotations

import argparse
import hashlib
import logging
import logging.config
import logging.handlers
import math
import os
import re
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Sequence, Sized
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import yaml

from trollmoves import __version__
from trollmoves.cli.doubts import doubts_about
from trollmoves.cli.moving import missing_movers
from trollmoves.cli.starting import drop_output, release_signals
from trollmoves.config import values
from trollmoves.config.hiding import HidePasswords
from trollmoves.config.reading import Configuration
from trollmoves.config.text import read_text
from trollmoves.errors import SAID_AT_THE_END, ConfigurationError, TrollmovesError
from trollmoves.log_files import all_handlers
from trollmoves.uris import printable

C = TypeVar("C", bound=Configuration[Any])
logger = logging.getLogger(__name__)

SAID_AGAIN = 3600.0
"""Seconds between two complaints about a log that cannot be written."""
FORMAT = "[%(asctime)s %(levelname)-8s %(name)s] %(message)s"


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """The options every long-running program has."""
    parser.add_argument("config_file", type=Path, help="the configuration file")
    parser.add_argument("-c", "--log-config", type=Path, metavar="FILE",
                        help="YAML file with a logging configuration (dictConfig)")
    parser.add_argument("-l", "--log", type=Path, metavar="FILE", action=Deprecated,
                        help="log to this file, a new one every midnight (pending deprecation, use --log-config)")
    parser.add_argument("-v", "--verbose", action=DeprecatedFlag, help="no effect (pending deprecation, use --log-config)")
    parser.add_argument("--journal", type=Path, metavar="FILE",
                        help="where the state is kept (default: below the user's state directory)")
    add_check_and_version(parser)


def add_check_and_version(parser: argparse.ArgumentParser) -> None:
    """What every program that has a configuration can be asked for instead of its work."""
    parser.add_argument("--check-config", action="store_true",
                        help="read the configuration, say all that is wrong with it, and end")
    parser.add_argument("--version", action="version", version=f"trollmoves {__version__}")


def whole_number(low: int, high: int, what: str) -> Callable[[str], int]:
    """What argparse reads a whole number from *low* to *high* with; *what* says in a complaint what it is."""
    def read(text: str) -> int:
        if not re.fullmatch(r"-?\d{1,15}", text, re.ASCII) or not low <= int(text) <= high:
            raise argparse.ArgumentTypeError(f"{text!r} is not {what}")
        return int(text)
    return read


def seconds(text: str) -> float:
    """What argparse reads a time in seconds with; more than nothing, at most a day."""
    if not re.fullmatch(r"\d{1,9}(\.\d{1,9})?", text, re.ASCII) or not 0 < float(text) <= 86400:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds, more than 0 and at most 86400")
    return float(text)


def past(text: str) -> float:
    """What argparse reads a time back from now with, in seconds: 90, 30m, 12h, 7d."""
    try:
        return float(values.seconds_of(0)(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} {error}") from None


def _warn(option: str | None) -> None:
    warnings.warn(f"The {option} option is pending deprecation, use --log-config instead.", RuntimeWarning,
                  stacklevel=100)  # the user wrote no line of Python that could be shown


class Deprecated(argparse.Action):
    """Takes a value, and says that the option will go."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any,
                 option: str | None = None) -> None:
        _warn(option)
        setattr(namespace, self.dest, values)


class DeprecatedFlag(argparse.Action):
    """Says that the option will go."""

    def __init__(self, option_strings: list[str], dest: str, **settings: Any):
        super().__init__(option_strings, dest, nargs=0, default=False, help=settings.get("help"))

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any,
                 option: str | None = None) -> None:
        _warn(option)
        setattr(namespace, self.dest, True)


def set_up_logging(log_config: Path | None, log_file: Path | None, *, level: int | None = None, days: int = 1,
                   kept: int = 7) -> None:
    """Log as the options say, to a file of which a new one is begun every so many *days*. No handler of ours or the user's ever
    writes a password. Raises `ConfigurationError`."""
    logging.captureWarnings(True)
    if log_config is not None:
        _configure(log_config)
    elif log_file is not None:
        handler = logging.handlers.TimedRotatingFileHandler(_writable(log_file), when="midnight", interval=days, backupCount=kept)
        _log_to(handler, logging.DEBUG if level is None else level)
    else:
        _log_to(logging.StreamHandler(), logging.INFO if level is None else level)
    for found in all_handlers():
        found.addFilter(HidePasswords())
        found.handleError = partial(_not_logged, found, Lost())  # type: ignore[method-assign]
        if getattr(found, "stream", None) in (sys.stderr, sys.stdout):
            found.addFilter(lambda record: not hasattr(record, SAID_AT_THE_END))


@dataclass
class Lost:
    """That lines could not be logged."""

    told: float = -math.inf
    """When (monotonic) that was said last."""


def _not_logged(handler: logging.Handler, lost: Lost, record: logging.LogRecord) -> None:
    """Say in one line what keeps *handler* from logging (a full disk, say), and not with every record."""
    error = sys.exc_info()[1]
    if not isinstance(error, OSError):
        logging.Handler.handleError(handler, record)
    elif time.monotonic() - lost.told > SAID_AGAIN:
        lost.told = time.monotonic()
        place, why = getattr(handler, "baseFilename", "the log"), error.strerror or error
        with suppress(OSError, ValueError, AttributeError):
            print(f"{place} cannot be written: {why}; what is logged meanwhile is lost", file=sys.stderr, flush=True)


def _configure(path: Path) -> None:
    try:
        settings = yaml.safe_load(read_text(path))
        if not isinstance(settings, dict):
            raise ValueError("holds no mapping; begin it with version: 1")
        settings.setdefault("disable_existing_loggers", False)  # ours exist by now, and must go on
        logging.config.dictConfig(settings)
    except (OSError, ValueError, TypeError, AttributeError, ImportError, KeyError, yaml.YAMLError) as error:
        raise ConfigurationError(f"{path}: is no logging configuration: {error.__cause__ or error}") from error


def _writable(path: Path) -> Path:
    try:
        with path.open("a"):
            return path
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot log there: {error.strerror}") from error


def _log_to(handler: logging.Handler, level: int) -> None:
    handler.setFormatter(logging.Formatter(FORMAT))
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(level)
    for chatty in ("paramiko", "asyncssh", "botocore", "urllib3"):
        logging.getLogger(chatty).setLevel(max(level, logging.WARNING))


def default_journal(program: str, config_file: Path) -> Path:
    """Where a program keeps its state: one file for each configuration file, in the service's or the user's state directory."""
    digest = hashlib.sha256(os.fsencode(config_file.resolve())).hexdigest()[:8]
    directory = state_directory()
    if directory.parts[:1] == ("~",):  # it would be made below the working directory, and be another one from elsewhere
        raise ConfigurationError("this user has no home directory for the journal: choose another place with --journal")
    return directory / f"{program}-{config_file.stem}-{digest}.journal"


def state_directory() -> Path:
    """Where journals are kept unless somebody says otherwise: systemd's state directory of the service, else the user's."""
    state = os.environ.get("STATE_DIRECTORY", "").partition(":")[0]
    return Path(state or os.path.join(os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state"), "trollmoves"))


def read_or_explain(read: Callable[[Path], C], path: Path, *, check: bool) -> C:
    """The configuration, after saying all that is wrong with it. Raises `ConfigurationError` when nothing can run (or, for a
    *check*, when anything is wrong). Its warnings are all that was warned of."""
    if check:
        release_signals()
    else:
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGHUP])  # see `hold_signals`; also for who has not come by there
    try:
        configuration = read(path)
    except ConfigurationError as error:
        _say("warning", error.warnings)
        said = error.problems
        if len(said) > 1:
            _say("error", said)
            said = [f"{path}: {len(said)} problem(s), see above"]
        raise ConfigurationError([*said, *_mistaken(read, path)]) from error
    chains = configuration.chains.values() if check else ()
    unmovable = [reason for settings in chains for reason in missing_movers(settings)]
    doubts = [f"{path}: {doubt}" for doubt in (*(reason for reason in unmovable if not reason.fatal),
                                              *(doubt for settings in chains for doubt in doubts_about(settings)))]
    configuration = replace(configuration, warnings=(*configuration.warnings, *doubts))
    fatal = [f"{path}: {reason}" for reason in unmovable if reason.fatal]
    _say("warning", configuration.warnings)
    _say("error", (*configuration.problems, *fatal))
    wrong = len(configuration.problems) + len(fatal)
    if wrong and (check or not configuration.chains):
        raise ConfigurationError([f"{path}: {wrong} problem(s), see above", *_mistaken(read, path)])
    return configuration


def _say(what: str, lines: Iterable[str]) -> None:
    for line in lines:
        print(f"{what}: {line}", file=sys.stderr)


def say_checked(path: Path, warnings: Sequence[str], found: Sized | None = None, *, what: str = "section(s)",
                kind: str = "") -> int:
    """Print the last word on a configuration without errors: for which program, how many of *what* were *found*, and how many
    warnings. The exit status."""
    words = (kind, "" if found is None else f"{len(found)} {what}",
             f"{len(warnings)} warning(s), see above" if warnings else "all well")
    print(f"{path}: {', '.join(filter(None, words))}")
    return 0


def _mistaken(read: Callable[[Path], C], path: Path) -> list[str]:
    """That a file, which has mistakes, looks like one for another program, if it does."""
    from trollmoves.cli.guessing import likely_program  # which loads the readers of all programs
    kind = likely_program(path, read)
    return [f"{path}: looks like a file for another program: trollmoves {kind} {path}"] if kind else []


def thank(program: str) -> None:
    """The last word of a program; who does not get it because a disk is full or nobody reads is no reason to fail."""
    try:
        print(f"Thank you for using pytroll/{program}. See you soon on pytroll.org!", flush=True)
    except OSError:
        drop_output()


def run_program(name: str, main: Callable[[], int | None]) -> int:
    """Run *main*; what it raises on purpose becomes one line for the user and exit status 1."""
    try:
        return main() or 0
    except TrollmovesError as error:
        if logging.getLogger().handlers and not error.is_logged:
            logger.critical("%s ends: %s", name, error, extra={SAID_AT_THE_END: True})
        _complain(name, str(error))
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        drop_output()
        return 0
    except OSError as error:
        logger.debug("an operating system error ends %s", name, exc_info=True)
        _complain(name, f"{f'{error.filename}: ' if error.filename else ''}{error.strerror or error}")
        return 1


def _complain(name: str, why: str) -> None:
    """An operator's shell may have filled in the name of a file that strangers gave it, with what terminals obey."""
    print(f"{name}: " + "\n".join(map(printable, why.split("\n"))), file=sys.stderr)
