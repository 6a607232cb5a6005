"""How every program begins and ends: what signals mean while it is loaded, and what becomes of output that nobody takes.

Only the standard library is imported here, and little of it: what a signal interrupts before that is the interpreter.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import TextIO

ROLES = frozenset(f"trollmoves.cli.{name}" for name in (
    "client", "dispatcher", "fetcher", "mirror", "move_it", "s3downloader", "server"))
"""The programs that run until they are told to stop."""


def start(module: str, words: Sequence[str] | None = None) -> int:
    """Run main() of *module* with *words* (None: those of the command line). The exit status."""
    try:
        return int(load(module).main(words))
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # of a parser of arguments; what main() runs knows it
        drop_output()
        return 0
    finally:
        let_go_of_output()


def load(module: str) -> ModuleType:
    """*module*, with signals and descriptors as it needs them. Raises `ImportError`."""
    _fill_closed_descriptors()
    if module in ROLES:
        hold_signals()
    return importlib.import_module(module)


def hold_signals() -> None:
    """What signals mean until the program listens to them (`Service.run`). SIGHUP waits: by itself it would end the process,
    and a supervisor takes that for a stop. SIGTERM ends it at once and well, as nothing has begun: by itself it would end with
    another status than later, and be ignored by the first process of a container."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGHUP])
    signal.signal(signal.SIGTERM, _end_well)


def keep_own_files() -> None:
    """What is written from now on, also by programs that are started, is not everybody's to change, whatever the umask was: such
    configurations would be refused."""
    os.umask(os.umask(0o022) | 0o002)


def release_signals() -> None:
    """Signals mean what they mean to any command: whoever is ended while it checks something has not found all well."""
    if signal.getsignal(signal.SIGTERM) is _end_well:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGHUP])


def _end_well(number: int, frame: object) -> None:
    os._exit(0)


def let_go_of_output() -> None:
    """Write out what was printed. A reader who has gone (`| head`) is no error, a full disk is: `SystemExit`. What went wrong
    with errors and logs changes no status."""
    try:
        if sys.stderr is not None:
            sys.stderr.flush()
    except OSError:
        drop_output(sys.stderr)
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        drop_output()
    except OSError as error:
        drop_output()
        raise SystemExit(f"{os.path.basename(sys.argv[0])}: the output could not be written: {error.strerror}") from None


def drop_output(stream: TextIO | None = None) -> None:
    """What is printed to *stream* (None: the output) from now on, or waits to be written, goes nowhere: the interpreter would
    complain of it at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, (stream or sys.stdout).fileno())
    os.close(nowhere)


def _fill_closed_descriptors() -> None:
    """See to it that no file of ours gets the number of an output that is closed: libraries and other programs write there."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free


def move_it_server() -> int:
    return start("trollmoves.cli.server")


def move_it_client() -> int:
    return start("trollmoves.cli.client")


def move_it_mirror() -> int:
    return start("trollmoves.cli.mirror")


def move_it() -> int:
    return start("trollmoves.cli.move_it")


def move_it_req() -> int:
    return start("trollmoves.cli.req")


def dispatcher() -> int:
    return start("trollmoves.cli.dispatcher")


def fetcher() -> int:
    return start("trollmoves.cli.fetcher")


def s3downloader() -> int:
    return start("trollmoves.cli.s3downloader")


def remove_it() -> int:
    return start("trollmoves.cli.clean")


def umbrella() -> int:
    return start("trollmoves.cli.umbrella")
