"""remove_it.py: remove old files, and say so; never what a journal says waits to be delivered."""

from __future__ import annotations

import argparse
import contextlib
import logging
import logging.handlers
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from trollmoves.cleaner.settings import CleanerConfiguration, Section, read_cleaner_config
from trollmoves.cli.common import FORMAT, add_check_and_version, run_program, say_checked, state_directory
from trollmoves.cli.mailing import MailHandler
from trollmoves.config.hiding import HidePasswords
from trollmoves.config.text import near
from trollmoves.errors import ConfigurationError, TrollmovesError

logger = logging.getLogger(__name__)

LOG_SIZE = 1_000_000
LOGS_KEPT = 10


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="remove_it.py", description="Remove old files and empty directories, but nothing that waits to be delivered.")
    parser.add_argument("configuration_file", type=Path, help="the configuration file")
    parser.add_argument("--dry-run", action="store_true", help="remove nothing, say what would be removed")
    parser.add_argument("-c", "--config-item", action="append", default=[], metavar="SECTION",
                        help="only this section (may be repeated)")
    parser.add_argument("-l", "--logfile", type=Path, metavar="FILE", help="log to this file (default: standard error)")
    parser.add_argument("-v", "--verbose", action="store_true", help="say more")
    parser.add_argument("-q", "--quiet", action="store_true", help="say errors only")
    parser.add_argument("-m", "--mail", action="store_true", help="mail warnings and errors")
    parser.add_argument("--journal", type=Path, action="append", default=[], metavar="FILE",
                        help="a journal to ask what waits to be delivered (may be repeated; default: all in the state directory)")
    add_check_and_version(parser)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse_arguments(arguments)
    return run_program("remove_it.py", lambda: _run(options))


def _run(options: argparse.Namespace) -> int:
    configuration = read_cleaner_or_explain(options.configuration_file, check=options.check_config)
    sections, wrong = _chosen(configuration, options.config_item)
    if options.mail and configuration.mail is None:
        wrong.append(f"{options.configuration_file}: --mail needs mailhost and to in [DEFAULT]; nothing is mailed")
    if options.check_config and wrong:
        raise ConfigurationError(wrong)
    if options.check_config:
        return say_checked(options.configuration_file, configuration.warnings, sections)
    with _logging(options, configuration) as mail:
        for text in wrong:  # which is no reason to let the disk fill up
            logger.error(text)
        try:
            failures = _clean(options, configuration, sections)
        except TrollmovesError as error:
            logger.error("nothing more is removed: %s", error)
            failures = 1
    return 1 if failures or wrong or configuration.problems or (mail is not None and mail.failed) else 0


def read_cleaner_or_explain(path: Path, *, check: bool) -> CleanerConfiguration:
    """The configuration, after saying all that is wrong with it. Raises `ConfigurationError` when nothing can run (or, for a
    *check*, when anything is wrong)."""
    configuration = read_cleaner_config(path)
    for warning in configuration.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    for problem in configuration.problems:
        print(f"error: {problem}", file=sys.stderr)
    if configuration.problems and (check or not configuration.sections):
        raise ConfigurationError(f"{path}: {len(configuration.problems)} problem(s), see above")
    return configuration


def _chosen(configuration: CleanerConfiguration, names: Sequence[str]) -> tuple[list[Section], list[str]]:
    """The sections to clean, and a complaint for each of *names* that is none. Raises `ConfigurationError` when none is left."""
    wrong = [f"{configuration.path}: there is no section [{name}] that can be used{near(name, configuration.sections)}"
             for name in names if name not in configuration.sections]
    chosen = [section for name, section in configuration.sections.items() if not names or name in names]
    if wrong and not chosen:
        raise ConfigurationError(wrong)
    return chosen, wrong


@contextlib.contextmanager
def _logging(options: argparse.Namespace, configuration: CleanerConfiguration) -> Iterator[MailHandler | None]:
    """Log as the options say; at the end mail what has come together. Raises `ConfigurationError`."""
    logging.captureWarnings(True)
    mail = MailHandler(configuration.mail) if options.mail and configuration.mail is not None else None
    handlers: list[logging.Handler] = [_handler(options.logfile), *([] if mail is None else [mail])]
    for handler in handlers:
        handler.setFormatter(logging.Formatter(FORMAT))
        handler.addFilter(HidePasswords())
        logging.getLogger().addHandler(handler)
    logging.getLogger().setLevel(_level(options))
    try:
        yield mail
    finally:
        for handler in handlers:
            handler.close()  # which sends what is left
            logging.getLogger().removeHandler(handler)


def _handler(path: Path | None) -> logging.Handler:
    if path is None:
        return logging.StreamHandler()
    try:
        return logging.handlers.RotatingFileHandler(path, maxBytes=LOG_SIZE, backupCount=LOGS_KEPT, encoding="utf-8",
                                                    errors="backslashreplace")
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot log there: {error.strerror}") from error


def _level(options: argparse.Namespace) -> int:
    if options.quiet:
        return logging.ERROR
    if options.verbose:
        return logging.DEBUG
    return logging.INFO if options.dry_run else logging.WARNING


def _clean(options: argparse.Namespace, configuration: CleanerConfiguration, sections: Sequence[Section]) -> int:
    """Clean section by section; how many things could not be removed."""
    from trollmoves.cleaner.waiting import Waiting  # after the cheap checks: a wrong option answers at once
    journals = options.journal or _journals_of_user()
    now = time.time()
    with contextlib.closing(Waiting(journals, now)) as waiting, _telling(options, configuration) as told:
        return sum(_clean_section(section, waiting, now, told, options.dry_run) for section in sections)


def _journals_of_user() -> list[Path]:
    directory = state_directory()
    found = sorted(directory.glob("*.journal")) if directory.is_dir() else []
    if not found:
        logger.info("there is no journal in %s: files are removed by their age alone (name others with --journal)", directory)
    return found


@contextlib.contextmanager
def _telling(options: argparse.Namespace, configuration: CleanerConfiguration) -> Iterator[Callable[[str], Any]]:
    """What to call with the path of each file that was removed."""
    if options.dry_run:
        yield lambda path: None
        return
    from trollmoves.cleaner.telling import Telling
    with Telling(configuration.publishing) as telling:
        telling.wait()
        yield telling.removed


def _clean_section(section: Section, waiting: Any, now: float, told: Callable[[str], Any], dry_run: bool) -> int:
    from trollmoves.cleaner.cleaning import Cleaning
    done = Cleaning(section, waiting, now, dry_run=dry_run, removed=told).run()
    what = "would remove" if dry_run else "removed"
    logger.info("[%s] %s %d files and directories, %d bytes", section.name, what, done.removed, done.bytes)
    if done.waiting:
        logger.warning("[%s] kept %d old file(s) that wait to be delivered, for example %s", section.name, done.waiting,
                       done.example)
    return done.failures


if __name__ == "__main__":
    sys.exit(main())
