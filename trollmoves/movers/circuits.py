"""Circuits: a destination host that failed five times in a row is left alone, but for one probe every half minute.

So the workers are there for other hosts, and who waits for this one is told at once when to ask again. Shared by the threads of a
process.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

from trollmoves.errors import ConnectionLost, MoveError, Stalled, Unreachable
from trollmoves.movers.retrying import in_words
from trollmoves.uris import hide_password

OPENS_AFTER = 5
"""Failures in a row."""
PROBE_EVERY = 30.0
"""Seconds."""
OF_THE_HOST = (Unreachable, ConnectionLost, Stalled)
"""Errors that say that the host, not the file, is the trouble."""
MOST_HOSTS = 1000


class HostLeftAlone(Unreachable):
    """The host failed again and again and is not tried now; ask again after `retry_after`."""

    def __init__(self, message: str, retry_after: float):
        super().__init__(message)
        self.retry_after = retry_after


class Opened(NamedTuple):
    """A circuit that has opened, or (without failures) closed again."""

    host: str
    failures: int
    error: str


@dataclass(slots=True)
class _Circuit:
    failures: int = 0
    next_probe: float = 0.0
    error: str = ""


class Circuits:
    """Of all hosts of a process, by name."""

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._lock = threading.Lock()
        self._circuits: dict[str, _Circuit] = {}
        """Of hosts whose last move failed."""
        self._tell: Callable[[Opened], Any] = lambda opened: None

    def tell_by(self, tell: Callable[[Opened], Any]) -> None:
        """Have *tell* called, from any thread, when a circuit opens, when a probe failed, and when it closes."""
        self._tell = tell

    @contextmanager
    def guarding(self, host: str) -> Iterator[None]:
        """Around a move to *host*. Raises `HostLeftAlone` when it is not to be tried now."""
        self._enter(host)
        try:
            yield
        except OF_THE_HOST as error:
            self._failed(host, error)
            raise
        else:
            self._worked(host)

    def try_again(self) -> None:
        """Somebody says that hosts that failed may work now: the next move is tried."""
        with self._lock:
            for circuit in self._circuits.values():
                circuit.next_probe = 0.0

    def _enter(self, host: str) -> None:
        if host not in self._circuits:
            return
        with self._lock:
            circuit = self._circuits.get(host)
            if circuit is None or circuit.failures < OPENS_AFTER:
                return
            now = self._clock()
            if now >= circuit.next_probe:
                circuit.next_probe = now + PROBE_EVERY  # this one is the probe
                return
            wait = circuit.next_probe - now
        raise HostLeftAlone(f"{host} failed {circuit.failures} times in a row and is left alone, to be tried {in_words(wait)}; "
                            f"the last error was: {circuit.error}", wait)

    def _failed(self, host: str, error: MoveError) -> None:
        if isinstance(error, HostLeftAlone):
            return
        with self._lock:
            if host not in self._circuits and len(self._circuits) >= MOST_HOSTS:
                self._circuits.pop(next(iter(self._circuits)))
            circuit = self._circuits.setdefault(host, _Circuit())
            circuit.failures += 1
            circuit.error = hide_password(str(error))[:300]
            if circuit.failures < OPENS_AFTER:
                return
            circuit.next_probe = self._clock() + PROBE_EVERY
        self._tell(Opened(host, circuit.failures, circuit.error))

    def _worked(self, host: str) -> None:
        if host not in self._circuits:
            return
        with self._lock:
            circuit = self._circuits.pop(host, None)
        if circuit is not None and circuit.failures >= OPENS_AFTER:
            self._tell(Opened(host, 0, ""))


@cache
def of_this_process() -> Circuits:
    """The one that all sections of a process share."""
    return Circuits()
