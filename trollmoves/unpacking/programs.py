"""Foreign programs on foreign data: a list of words, never a shell; limits; a directory and an environment of their own."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from trollmoves.errors import DestinationFull, Stalled, TemporaryError
from trollmoves.unpacking.base import BadArchive, Options

LIMITED = str(Path(__file__).with_name("limited.py"))
KEPT = ("PATH", "LD_LIBRARY_PATH")
"""What of our environment a program sees; the rest may hold secrets."""
LAST_WORDS = 300
SMALLEST_FREE = 2**20
"""Bytes; a program that failed with less than this on the disk failed for that."""
FROM_OUTSIDE = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""Signals that say nothing of the packed file; our own limits end a program by others."""
AFTER_TIMEOUT = 5
"""Seconds after which the alarm ends a program that we did not end, because we are gone."""


def run_limited(words: Sequence[str], directory: str, options: Options, file_size: int) -> None:
    """Run the program *words* in *directory* until it ends well.

    Raises `BadArchive` when it does not, `Stalled` after `options.timeout` seconds, `DestinationFull` when the disk is full,
    `TemporaryError` when somebody else ended it.
    """
    limits = [options.cpu_seconds, options.memory, file_size, math.ceil(options.timeout) + AFTER_TIMEOUT]
    argv = [sys.executable, "-I", "-S", LIMITED, *map(str, limits), *words]
    environment = {name: os.environ[name] for name in KEPT if name in os.environ} | {"TMPDIR": ".", "LC_ALL": "C"}
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(argv, cwd=directory, env=environment, stdin=subprocess.DEVNULL, stdout=output,
                                   stderr=subprocess.STDOUT, start_new_session=True)
        status = _wait(process, words[0], options.timeout)
        if status:
            raise _failure(words[0], status, output.fileno(), directory)


def _wait(process: subprocess.Popen[bytes], name: str, timeout: float) -> int:
    try:
        return process.wait(timeout)
    except subprocess.TimeoutExpired as error:
        raise Stalled(f"{name}: no result within {timeout:g} seconds") from error
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _failure(name: str, status: int, output: int, directory: str) -> BadArchive | TemporaryError:
    disk = os.statvfs(directory)
    if disk.f_bavail * disk.f_frsize < SMALLEST_FREE:
        return DestinationFull(f"{name}: failed on a full disk")
    end = f"signal {signal.Signals(-status).name}" if status < 0 else f"status {status}"
    if -status in FROM_OUTSIDE:
        return TemporaryError(f"{name} was ended by {end}: somebody stopped it, or the machine had no memory left")
    return BadArchive(f"{name} ended with {end}{_last_words(output)}")


def _last_words(output: int) -> str:
    size = os.fstat(output).st_size
    text = os.pread(output, LAST_WORDS, max(size - LAST_WORDS, 0)).decode("utf-8", "replace")
    words = "".join(letter if letter.isprintable() else " " for letter in text).strip()
    return f" and said: {words}" if words else ""
