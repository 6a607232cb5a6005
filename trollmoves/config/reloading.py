"""A configuration that changes while it runs: when its file changed, and which chains did."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import select
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from trollmoves.config.reading import Configuration
from trollmoves.config.settings import ChainSettings
from trollmoves.exposed import exposed

logger = logging.getLogger(__name__)
T = TypeVar("T")
S = TypeVar("S", bound=ChainSettings)


@dataclass(frozen=True, slots=True)
class Changes:
    """Names of chains, in the order of the file; those removed in their old order."""

    added: tuple[str, ...]
    changed: tuple[str, ...]
    removed: tuple[str, ...]
    unchanged: tuple[str, ...]


def changes(old: Mapping[str, T], new: Mapping[str, T]) -> Changes:
    """What is different in *new*: an option added, changed or left out makes a chain a changed one."""
    return Changes(
        tuple(name for name in new if name not in old),
        tuple(name for name in new if name in old and new[name] != old[name]),
        tuple(name for name in old if name not in new),
        tuple(name for name in new if name in old and new[name] == old[name]))


def after_reload(running: Mapping[str, S], fresh: Configuration[S]) -> dict[str, S]:
    """The chains to run from now on: the good ones of *fresh*, and as they run those whose section has a problem."""
    kept = {name: chain for name, chain in running.items() if name in fresh.broken}
    return kept | dict(fresh.chains)


class ConfigWatch:
    """A feeder that calls `on_change` (in its own thread) each time the file has got another content, or
    whether everybody may write it is another.

    It sees edits in place, replacement by rename, links that point elsewhere (also of a directory on the way), and a file that
    comes back; at once where the kernel reports it, else within *interval* seconds. Make it before reading the file, so that no
    change falls between. What `on_change` raises is logged; the watch goes on.
    """

    def __init__(self, path: str | os.PathLike[str], on_change: Callable[[], None], *, quiet: float = 0.2, interval: float = 2.0,
                 inotify: bool = True):
        """*quiet*: seconds the content must stay the same. *inotify*: whether to ask the kernel, beside looking."""
        self._path = os.path.abspath(path)
        self._on_change = on_change
        self._quiet = quiet
        self._interval = interval
        self._seen = _digest(self._path)
        self._stopped, self._stop = os.pipe()
        self._directories = _watched_directories(self._path) if inotify else None
        self._thread = threading.Thread(target=self._run, name="config-watch", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def stop(self) -> None:
        """End and join the thread; may be called twice, before `start`, and from `on_change`."""
        stop, self._stop = self._stop, -1
        if stop < 0:
            return
        os.write(stop, b"x")  # stays unread, so that every wait from now on ends at once
        os.close(stop)
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join()
        if self._thread.ident is None:
            self._close()

    def _run(self) -> None:
        try:
            while not self._is_stopped(self._interval, with_events=True) and not self._is_stopped(self._quiet):
                try:
                    self._look()
                except Exception:
                    logger.exception("The change of %s could not be dealt with; the configuration stays as it is", self._path)
        finally:
            self._close()

    def _close(self) -> None:
        os.close(self._stopped)
        if self._directories is not None:
            self._directories.close()

    def _look(self) -> None:
        digest = _digest(self._path)
        while digest is not None and digest != self._seen:
            if self._is_stopped(self._quiet):
                return
            before, digest = digest, _digest(self._path)
            if digest == before:
                self._seen = digest
                self._on_change()
                return

    def _is_stopped(self, seconds: float, with_events: bool = False) -> bool:
        """Wait until the watch is stopped, or (with events) until something happened in a directory, or *seconds* have passed."""
        poll = select.poll()
        poll.register(self._stopped, select.POLLIN)
        if with_events and self._directories is not None:
            self._directories.renew()
            poll.register(self._directories, select.POLLIN)
        ready = [descriptor for descriptor, _ in poll.poll(seconds * 1000)]
        if self._directories is not None:
            self._directories.forget_events()
        return self._stopped in ready


def _watched_directories(path: str) -> _Directories | None:
    try:
        from inotify_simple import INotify, flags  # not on every system
        return _Directories(path, INotify(nonblocking=True), flags.CLOSE_WRITE | flags.MOVED_TO | flags.CREATE)
    except (ImportError, OSError) as error:
        logger.warning("Changes of %s are only looked for now and then: %s", path, error)
        return None


class _Directories:
    """The kernel's watches on the directory of a file and on that of the file a link points to."""

    def __init__(self, path: str, inotify: Any, mask: int):
        self._path = path
        self._inotify = inotify
        self._mask = mask
        self._watches: dict[str, int] = {}
        self.renew()

    def fileno(self) -> int:
        return int(self._inotify.fileno())

    def renew(self) -> None:
        """Watch what the path means now: directories come, go and are replaced."""
        fresh: dict[str, int] = {}
        for directory in {os.path.dirname(self._path), os.path.dirname(os.path.realpath(self._path))}:
            with contextlib.suppress(OSError):
                fresh[directory] = self._inotify.add_watch(directory, self._mask)
        for watch in set(self._watches.values()) - set(fresh.values()):
            with contextlib.suppress(OSError):
                self._inotify.rm_watch(watch)
        self._watches = fresh

    def forget_events(self) -> None:
        while self._inotify.read(timeout=0):
            pass

    def close(self) -> None:
        self._inotify.close()


def _digest(path: str) -> bytes | None:
    try:
        with Path(path).open("rb") as file:
            refused = exposed(path, os.fstat(file.fileno())) is not None
            return hashlib.sha256(b"%d" % refused + file.read()).digest()
    except OSError:
        return None
