"""A bounded pool of mover threads with a limit per host.

Work for one host is done in the order it came, at most so many at a time; a slow host holds up nobody but itself. Threads are
made when they are needed and end when they have been idle for a while. Each owns its open sessions. Results go back in groups.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

from trollmoves.movers.sessions import Sessions

logger = logging.getLogger(__name__)

IDLE = 10.0
"""Seconds after which an idle thread closes its sessions and ends."""
AT_ONCE = 32
"""Pieces of quick work for one host that a thread takes at a time when many wait."""
SPARE = 16
"""Threads beyond the number asked for, for hosts for which nothing runs while slow ones have all the others."""
HELD_UP = 0.02
"""Seconds without progress after which the thread of quick work counts as held up."""


class Work(NamedTuple):
    """One thing to do in a worker."""

    host: Hashable
    """What the limit counts: usually the scheme, host and port of the destination."""
    limit: int
    """How many of this host may run at a time."""
    run: Callable[[Sessions], Any]
    done: Callable[[Any], Any]
    """Called (in the loop) with what `run` returned, or the exception it raised."""
    quick: bool = False
    """It should take well below a millisecond, and hardly ever waits (a small file on this machine, no fsync)."""
    far: bool = False
    """It mostly waits for another machine, so that more of this kind than there are processors do no harm."""


Call = tuple[Callable[..., Any], tuple[Any, ...]]


class Workers:
    """Threads that do `Work`."""

    def __init__(self, tell: Callable[[list[Call]], Any], died: Callable[[BaseException], Any], most: int,
                 new_sessions: Callable[[], Sessions] = Sessions):
        """*tell* gets the calls to make in the loop; *most* is the number of threads (but see `SPARE` and `most_far`)."""
        self._new_sessions = new_sessions
        self._tell = tell
        self._died = died
        self.most = most
        self.most_far = 0
        """Threads that work far away; 0: they count as all others."""
        self._condition = threading.Condition()
        self._queues: dict[Hashable, deque[Work]] = {}
        self._running: dict[Hashable, int] = {}
        self._busy_near = self._busy_far = 0
        """Threads that work."""
        self._ready: dict[Hashable, None] = {}
        """Hosts with work and room, in the order they came."""
        self._threads: set[threading.Thread] = set()
        self._starting: set[threading.Thread] = set()
        """Made just now, and have not looked for work yet."""
        self._idle = 0
        self._open = True
        self._progress: dict[Hashable, float] = {}
        """When work for a host was last taken or finished."""
        self.waiting = 0
        """Pieces of work that no thread has taken yet."""
        self.queued: Callable[[], Any] | None = None
        """Called when work was queued; `nudge` is due while it waits."""

    def submit(self, work: Sequence[Work]) -> None:
        """Queue *work*; returns at once."""
        with self._condition:
            for piece in work:
                self._queues.setdefault(piece.host, deque()).append(piece)
            for host in {piece.host for piece in work}:
                self._offer(host)
            self.waiting += len(work)
            self._wake()
        if self.queued is not None:
            self.queued()

    def nudge(self) -> None:
        """Called now and then while work waits: a host whose work suddenly takes long gets more threads."""
        with self._condition:
            for host in self._queues:
                self._offer(host)
            self._wake()

    def _wake(self) -> None:
        starving = sum(host not in self._running for host in self._ready)
        wanted = min(starving, self.most + self.most_far + SPARE - self._busy_near - self._busy_far)
        far = sum(self._is_far(host) for host in self._ready)
        near = len(self._ready) - far
        wanted = max(wanted, max(0, min(near, self.most - self._busy)) + max(0, min(far, self.most_far - self._busy_far)))
        self._condition.notify(min(wanted, self._idle))
        for _ in range(wanted - self._idle - len(self._starting)):
            self._start_thread()

    def _offer(self, host: Hashable) -> None:
        """Make *host* ready for one more thread, if it has work and room."""
        queue = self._queues.get(host)
        if queue and host not in self._ready and self._running.get(host, 0) < self._room(host, queue[0]):
            self._ready[host] = None

    def _room(self, host: Hashable, piece: Work) -> int:
        """How many threads may work for *host* now. Quick work goes faster through one thread than through several, which would
        get in each other's way (and in the loop's); unless that thread is held up."""
        if piece.quick and time.monotonic() - self._progress.get(host, 0.0) < HELD_UP:
            return 1
        return piece.limit

    def _start_thread(self) -> None:
        if len(self._threads) >= self.most + self.most_far + SPARE:
            return
        thread = threading.Thread(target=self._work, name=f"worker-{len(self._threads) + 1}", daemon=True)
        self._threads.add(thread)
        self._starting.add(thread)
        thread.start()

    def stop(self, grace: float) -> int:
        """Take no more work, wait at most *grace* seconds for what runs; returns how many pieces were not done."""
        with self._condition:
            self._open = False
            left = self.waiting
            self._queues.clear()
            self._ready.clear()
            self._condition.notify_all()
        deadline = time.monotonic() + grace
        for thread in list(self._threads):
            thread.join(max(0.0, deadline - time.monotonic()))
        return left + sum(thread.is_alive() for thread in self._threads)

    def _work(self) -> None:
        sessions = self._new_sessions()
        try:
            while pieces := self._take(sessions):
                calls = []
                for piece in pieces:
                    calls.append((piece.done, (_outcome(piece, sessions),)))
                    self._progress[piece.host] = time.monotonic()
                self._release(pieces)
                self._tell(calls)
                del pieces, piece, calls  # nothing is held on to while there is nothing to do
                sessions.close_idle()
        except BaseException as error:  # a thread that dies ends the process
            self._died(error)
        finally:
            sessions.close()
            with self._condition:
                self._threads.discard(threading.current_thread())
                if self._ready:
                    self._wake()

    def _take(self, sessions: Sessions) -> list[Work]:
        """The next pieces for one host; empty when the thread shall end."""
        idle_until = time.monotonic() + IDLE
        while (pieces := self._wait_for_pieces(idle_until)) is None:
            sessions.close_idle()  # not under the lock: a server that hangs may take its time, and the loop wants to queue work
        return pieces

    def _wait_for_pieces(self, idle_until: float) -> list[Work] | None:
        """The same; None when there are none after a moment."""
        with self._condition:
            self._starting.discard(threading.current_thread())
            host = self._next_host()
            if host is None:
                left = idle_until - time.monotonic()
                if not self._open or left <= 0:
                    return []
                self._idle += 1
                self._condition.wait(min(left, 1.0))
                self._idle -= 1
                host = self._next_host()
            if host is None:
                return None
            del self._ready[host]
            return self._taken(host)

    def _next_host(self) -> Hashable | None:
        """Whose turn it is: first those for which nothing runs, whatever the number of threads; else who came first."""
        if not self._ready:
            return None
        first = next((host for host in self._ready if host not in self._running), None)
        if first is not None:
            return first
        return next((host for host in self._ready if self._has_thread_for(host)), None)

    def _has_thread_for(self, host: Hashable) -> bool:
        return self._busy_far < self.most_far if self._is_far(host) else self._busy < self.most

    def _is_far(self, host: Hashable) -> bool:
        """Whether the work that *host* has waiting counts apart."""
        return self.most_far > 0 and self._queues[host][0].far

    def _taken(self, host: Hashable) -> list[Work]:
        queue = self._queues[host]
        count = min(AT_ONCE, len(queue)) if queue[0].quick else 1
        pieces = [queue.popleft() for _ in range(count)]
        self.waiting -= count
        self._running[host] = self._running.get(host, 0) + 1
        self._count(pieces[0], 1)
        self._progress[host] = time.monotonic()
        if queue:
            self._offer(host)
            if self._ready:
                self._wake()
        else:
            del self._queues[host]
        return pieces

    def _release(self, pieces: list[Work]) -> None:
        host = pieces[0].host
        with self._condition:
            self._count(pieces[0], -1)
            self._running[host] -= 1
            if not self._running[host]:
                del self._running[host]
            if host in self._queues:
                self._offer(host)
            elif host not in self._running:
                self._progress.pop(host, None)
            if self._ready:
                self._wake()

    def _count(self, piece: Work, change: int) -> None:
        if piece.far:
            self._busy_far += change
        else:
            self._busy_near += change

    @property
    def _busy(self) -> int:
        """Threads that count against `most`."""
        return self._busy_near + (0 if self.most_far else self._busy_far)


def _outcome(piece: Work, sessions: Sessions) -> Any:
    try:
        return piece.run(sessions)
    except Exception as error:
        return error
