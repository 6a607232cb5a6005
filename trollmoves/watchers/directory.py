"""Watching directories for files whose path matches a pattern: `watch` makes a watcher, by inotify or by polling."""

from __future__ import annotations

import logging
import math
import sys
import threading
import time
from collections.abc import Callable, Sequence

from trollmoves.errors import ConfigurationError
from trollmoves.patterns import Pattern
from trollmoves.watchers.base import Arrival, Deliver, Watcher
from trollmoves.watchers.polling import PollingEngine
from trollmoves.watchers.scanning import Beginning, Doorbell, Engine, Outbox, Pace, WatchLimitReached

logger = logging.getLogger(__name__)

_SETTLE = 5.0  # seconds
_PATIENCE = 1.0
"""Seconds that the start and the end of a watch are waited for: its directory may not answer."""
_TRY_AGAIN = 60.0
"""Seconds after which inotify is tried again where the kernel granted no more of it."""
_SILENT = 60.0
"""Seconds that one look at the file system may take before that is told of."""

OnDeath = Callable[[BaseException], None]
"""Told, from the dying thread, what ended it."""


def watch(pattern: Pattern, deliver: Deliver, *, polling: bool = False, interval: float = 1.0, settle: float | None = None,
          reconcile: float = 300.0, backlog: bool = True, leaves_out: Callable[[str], bool] = lambda path: False,
          on_death: OnDeath | None = None) -> DirectoryWatcher:
    """A watcher for the files that match *pattern*, in its directory and in those its wildcard levels stand for.

    Files that are there when it starts are not delivered unless `scan` is called or a reconciliation comes across them; without
    *backlog* they are not delivered at all until they change. Times are in seconds: *interval* between two looks when polling,
    *settle* without a change where no event tells that a file is complete (5 by default, when polling two looks), *reconcile*
    between two looks at everything (0 for never). Paths of which *leaves_out* is true are neither delivered nor opened. Raises
    `ConfigurationError`.
    """
    if not pattern.directory.startswith("/"):
        raise ConfigurationError(f"pattern {pattern.text!r} cannot be watched: it needs an absolute path")
    if interval <= 0 or reconcile < 0 or (settle is not None and settle < 0):
        raise ConfigurationError("the times of a watcher must not be negative, nor its interval 0")
    polling = polling or sys.platform != "linux"
    if settle is None:
        settle = interval if polling else _SETTLE
    pace = Pace(interval, settle, reconcile)
    return DirectoryWatcher(pattern, deliver, pace, polling=polling, backlog=backlog, leaves_out=leaves_out, on_death=on_death)


class DirectoryWatcher(Watcher):
    """Runs one way of watching in a thread; from inotify it changes to polling when the kernel grants no more watches, and back
    when it does."""

    def __init__(self, pattern: Pattern, deliver: Deliver, pace: Pace, *, polling: bool, backlog: bool,
                 leaves_out: Callable[[str], bool], on_death: OnDeath | None):
        self.pattern = pattern
        self._deliver = deliver
        self._outbox, self._bell = Outbox(self._hand_over, leaves_out, pattern.directory), Doorbell()
        self._pace, self._beginning = pace, Beginning(backlog)
        self._polling, self._on_death = polling, on_death
        self._engine: Engine | None = None
        self._next_try = math.inf
        """When (monotonic) inotify is tried again."""
        self._thread: threading.Thread | None = None
        self._opened, self._stopping = threading.Event(), threading.Event()
        self._handed_over = 0.0
        """When (monotonic) it was tried last to hand over what came."""
        self._death: BaseException | None = None

    @property
    def polling(self) -> bool:
        """Whether it polls by now."""
        return self._polling

    @property
    def overflows(self) -> int:
        """How often events were lost and everything was scanned instead."""
        return self._engine.overflows if self._engine else 0

    def start(self) -> None:
        """Begin: a file that is completed after the return is delivered. A watcher starts once. A directory that does not answer
        is waited for no longer than a second; it is watched when it does."""
        if self._thread is not None or self._stopping.is_set():
            raise RuntimeError("a watcher starts once")
        self._bell.open()
        self._beginning.mark()
        self._thread = threading.Thread(target=self._run, name=f"watcher of {self.pattern.directory}", daemon=True)
        self._thread.start()
        if not self._opened.wait(_PATIENCE):
            self.scan()  # for what came between this return and the watch

    def stop(self) -> None:
        """End and join the thread, which is waited for no longer than a second, once: a `deliver` that blocks has to return for
        that, and the directory has to answer."""
        if self._stopping.is_set():
            return
        self._stopping.set()
        self._bell.ring()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(_PATIENCE)
            if self._thread.is_alive():
                logger.error("the %s has not ended yet: it waits for the directory, or hands over files", self._thread.name)

    def scan(self) -> None:
        self._bell.ask_for_scan()

    def look_at(self, path: str) -> None:
        self._bell.ask_to_look_at(path)

    def trouble(self) -> str | None:
        if self._death is not None:
            return f"the watching thread died: {self._death!r}"
        if self._thread is None or not self._thread.is_alive():
            return "it is not running"
        if self.hangs:
            return f"{self.pattern.directory} does not answer"
        return self._engine.sight.trouble() if self._engine is not None else None

    @property
    def hangs(self) -> bool:
        if self._thread is None or not self._thread.is_alive():
            return False
        since = max(self._bell.answered, self._handed_over)
        return not self._opened.is_set() or time.monotonic() - since > _SILENT

    def _hand_over(self, arrivals: Sequence[Arrival]) -> bool | None:
        self._handed_over = time.monotonic()
        return self._deliver(arrivals)

    def _make_engine(self, *, polling: bool, resumes: bool = False) -> Engine:
        if polling:
            return PollingEngine(self.pattern, self._outbox, self._bell, self._pace, self._beginning, resumes)
        from trollmoves.watchers.inotify import InotifyEngine  # there is none but on Linux
        return InotifyEngine(self.pattern, self._outbox, self._bell, self._pace, self._beginning, resumes)

    def _change_to_polling(self, error: WatchLimitReached, *, resumes: bool) -> None:
        logger.warning("no more inotify watches for %s (%s): polling every %g seconds from now on; where that lasts, raise the "
                       "limits fs.inotify.max_user_instances and max_user_watches, or that of open files",
                       self.pattern.directory, error, self._pace.interval)
        if self._engine is not None:
            self._engine.close()
        self._polling, self._next_try = True, time.monotonic() + _TRY_AGAIN
        self._engine = self._make_engine(polling=True, resumes=resumes)
        self._engine.open()

    def _try_inotify_again(self) -> None:
        """Change back, if the kernel grants all that is needed by now; what came meanwhile is found by a look at everything."""
        engine = self._make_engine(polling=False, resumes=True)
        try:
            engine.open()
        except WatchLimitReached:
            engine.close()
            self._next_try = time.monotonic() + _TRY_AGAIN
            return
        if self._engine is not None:
            self._engine.close()
        self._engine, self._polling, self._next_try = engine, False, math.inf
        logger.info("inotify watches %s again", self.pattern.directory)

    def _open(self) -> None:
        try:
            self._engine = self._make_engine(polling=self._polling)
            self._engine.open()
        except WatchLimitReached as error:
            self._change_to_polling(error, resumes=False)
        self._opened.set()

    def _run(self) -> None:
        try:
            self._open()
            while not self._stopping.is_set():
                self._step()
        except BaseException as error:  # whatever it is, somebody must hear of it
            self._death = error
            logger.critical("the %s died", threading.current_thread().name, exc_info=True)
            if self._on_death is not None:
                self._on_death(error)
        finally:
            self._opened.set()
            if self._engine is not None:
                self._engine.close()
            self._bell.close()

    def _step(self) -> None:
        assert self._engine is not None  # `_open` made one
        try:
            self._engine.step()
            if time.monotonic() >= self._next_try:
                self._try_inotify_again()
        except WatchLimitReached as error:
            self._change_to_polling(error, resumes=True)
