"""Real programs in processes of their own: start, wait for a line, stop, kill. None survives the process that started it."""

from __future__ import annotations

import functools
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType

PACKAGE = Path(__file__).resolve().parents[2]
"""The directory from which Python finds this very package."""


class ProgramError(AssertionError):
    """A program did not do what is waited for; the text has the end of its output."""


@functools.cache
def _spawner() -> ThreadPoolExecutor:
    # The kernel ends a leashed child when the *thread* that started it ends, so all are started by one that stays.
    return ThreadPoolExecutor(1, "spawner")


def _leash() -> list[str]:
    """Words before a command that let the kernel kill it when this process is gone, also when it goes this very moment."""
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        return []
    return [setpriv, "--pdeathsig", "KILL", "--", "/bin/sh", "-c", '[ "$PPID" = "$0" ] && exec "$@"', str(os.getpid())]


def clean_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment without what would change how posttroll or we behave, and with *extra*."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("POSTTROLL_", "TROLLMOVES_", "PYTEST_"))}
    return {**kept, "PYTHONUNBUFFERED": "1", "LC_ALL": "C.UTF-8", **(extra or {})}


class Program:
    """One process. Its output (both streams) goes to the file *log*, appended over restarts."""

    def __init__(self, argv: Sequence[str | Path], log: Path, *, environment: Mapping[str, str] | None = None,
                 directory: Path | None = None, name: str = ""):
        self.argv = [str(word) for word in argv]
        self.log = log
        self.name = name or Path(self.argv[0]).name
        self.environment = clean_environment(environment)
        self.pids: list[int] = []
        """Of all its processes, that of the last start at the end."""
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None

    @classmethod
    def ours(cls, role: str, *arguments: str | Path, log: Path, environment: Mapping[str, str] | None = None,
             directory: Path | None = None, name: str = "") -> Program:
        """`trollmoves.cli.<role>` of this very package, run by this very Python."""
        path = {"PYTHONPATH": str(PACKAGE), **(environment or {})}
        argv = [sys.executable, "-m", f"trollmoves.cli.{role}", *arguments]
        return cls(argv, log, environment=path, directory=directory, name=name or role)

    def start(self) -> Program:
        """Start it; returns at once."""
        assert not self.running, f"{self.name} runs already"
        self._process = _spawner().submit(self._spawn).result()
        self.pids.append(self._process.pid)
        return self

    def _spawn(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as output:
            return subprocess.Popen(_leash() + self.argv, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                                    env=self.environment, cwd=self._directory, start_new_session=True)

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        return self._started().pid

    @property
    def exit_status(self) -> int | None:
        """None while it runs; negative: the signal that ended it."""
        return self._started().poll()

    def _started(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, f"{self.name} was not started"
        return self._process

    def output(self, since: int = 0) -> str:
        """What it printed, from byte *since* on (see `mark`)."""
        if not self.log.exists():
            return ""
        return self.log.read_bytes()[since:].decode("utf-8", "replace")

    def mark(self) -> int:
        """The present end of the output, for `output` and `wait_for`."""
        return self.log.stat().st_size if self.log.exists() else 0

    def wait_for(self, pattern: str, seconds: float = 60.0, since: int = 0) -> re.Match[str]:
        """Wait until a line matches the regular expression *pattern*; fails at once when the program ends before that."""
        deadline = time.monotonic() + seconds
        while True:
            alive = self.running
            found = re.search(pattern, self.output(since), re.MULTILINE)
            if found:
                return found
            if not alive or time.monotonic() >= deadline:
                why = f"not within {seconds:g} seconds" if alive else f"it ended with status {self.exit_status}"
                raise ProgramError(f"{self.name}: waiting for {pattern!r}: {why}\n{self._tail()}")
            time.sleep(0.05)

    def _tail(self, lines: int = 40) -> str:
        return f"--- end of {self.log}\n" + "\n".join(self.output().splitlines()[-lines:])

    def wait(self, seconds: float = 60.0) -> int:
        """Wait until it ends by itself; returns the exit status."""
        try:
            return self._started().wait(seconds)
        except subprocess.TimeoutExpired:
            raise ProgramError(f"{self.name} still runs after {seconds:g} seconds\n{self._tail()}") from None

    def signal(self, number: int) -> None:
        """Send the signal to the process (not to its children)."""
        self._started().send_signal(number)

    def suspend(self) -> None:
        """SIGSTOP to it and its children."""
        self._signal_group(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT to it and its children."""
        self._signal_group(signal.SIGCONT)

    @property
    def catches_sigterm(self) -> bool:
        """Whether it has come so far that SIGTERM makes it drain; before that the signal just ends it."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        caught = int(status.partition("SigCgt:")[2].split()[0], 16)
        return bool(caught >> (signal.SIGTERM - 1) & 1)

    def stop(self, seconds: float = 60.0) -> int:
        """SIGTERM and wait; returns the exit status. Fails (after a SIGKILL) when it does not end in time."""
        if self.running:
            self.resume()
            self.signal(signal.SIGTERM)
        try:
            return self.wait(seconds)
        finally:
            self._signal_group(signal.SIGKILL)

    def kill(self) -> None:
        """SIGKILL to it and its children; returns when it is gone. Fine when it ended before."""
        if self._process is not None:
            self._signal_group(signal.SIGKILL)
            self._process.wait(60)

    def restart(self) -> Program:
        """Kill, then start again."""
        self.kill()
        return self.start()

    def _signal_group(self, number: int) -> None:
        process = self._started()
        try:
            os.killpg(process.pid, number)
        except (ProcessLookupError, PermissionError):  # the group is empty, or only a zombie is left in it
            return

    def __enter__(self) -> Program:
        return self if self.running else self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.kill()
