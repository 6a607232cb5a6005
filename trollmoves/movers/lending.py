"""Sessions that stay open between the calls of a script, which has no worker to own them.

Each call borrows one `Sessions` and gives it back, so that a session never serves two threads at a time. What rests longer than
its `connection_uptime` is closed by a thread that ends when nothing rests.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from trollmoves.movers.base import SessionSettings
from trollmoves.movers.registry import known_parameters
from trollmoves.movers.sessions import Sessions

logger = logging.getLogger(__name__)

LOOK = 1.0
"""Seconds between two looks for sessions that rested long enough."""
MOST_SETTINGS = 16


class Lender:
    """May be used by any threads. A process made by fork starts with nothing open."""

    def __init__(self) -> None:
        self._forget()
        os.register_at_fork(after_in_child=self._forget)
        atexit.register(self.close)

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._resting: list[Sessions] = []
        self._settings: list[SessionSettings] = []
        self._closer: threading.Thread | None = None

    @contextmanager
    def sessions(self) -> Iterator[Sessions]:
        """Sessions that nobody else has until the block ends."""
        with self._lock:
            lent = self._resting.pop() if self._resting else Sessions()
        try:
            yield lent
        finally:
            self._take_back(lent)

    def _take_back(self, lent: Sessions) -> None:
        with self._lock:
            if len(lent):
                self._resting.append(lent)
            if self._resting and self._closer is None:
                self._closer = threading.Thread(target=self._close_idle, name="closes idle sessions", daemon=True)
                self._closer.start()

    def settings(self, wanted: SessionSettings) -> SessionSettings:
        """*wanted*, or the equal settings of an earlier call: sessions are found again by the identity of theirs."""
        with self._lock:
            found = next((settings for settings in self._settings if settings == wanted), None)
            if found is None:
                self._settings = [*self._settings[-MOST_SETTINGS + 1:], wanted]
        if found is None:
            _warn_of_unknown(wanted)
        return found or wanted

    def _close_idle(self) -> None:
        while True:
            time.sleep(LOOK)
            with self._lock:
                waiting = list(self._resting)
                if not waiting:
                    self._closer = None
                    return
            for sessions in waiting:
                self._close_if_idle(sessions)

    def _close_if_idle(self, sessions: Sessions) -> None:
        with self._lock:
            if sessions not in self._resting:
                return
            self._resting.remove(sessions)
        sessions.close_idle()  # closing may take a while, so nobody waits for the lock meanwhile
        with self._lock:
            if len(sessions):
                self._resting.insert(0, sessions)

    def close(self) -> None:
        """Close what nobody uses now."""
        with self._lock:
            resting, self._resting = self._resting, []
        for sessions in resting:
            sessions.close()


def _warn_of_unknown(settings: SessionSettings) -> None:
    known = known_parameters()
    strangers = sorted(set(settings.parameters) - known) if known is not None else []
    if strangers:
        logger.warning("no mover knows these attributes, they are ignored: %s", ", ".join(strangers))
