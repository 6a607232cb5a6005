"""Silence: notices when a publisher that ought to be heard says nothing, not even that it is there."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

from trollmoves.messages import Message

OURS = 45.0
"""Seconds without a word after which a publisher of ours, which beats every five seconds, counts as silent."""
INTERVALS = 3
"""Intervals between two beats after which any other one does."""
UNHEARD = 90.0
"""Seconds for one that was never heard at all."""

Say = Callable[[str, str], Any]


class Silence:
    """Follows publishers by name; belongs to the loop."""

    def __init__(self, silent: Say, speaks: Say, before: Iterable[str] = (), clock: Callable[[], float] = time.monotonic):
        """*silent* and *speaks* get the name of a publisher and what to say of it. *before* are those that were silent when the
        last process ended."""
        self._silent_since = dict.fromkeys(before, 0.0)
        self._silent = silent
        self._speaks = speaks
        self._clock = clock
        self._heard: dict[str, float] = {}
        self._patience: dict[str, float | None] = {}
        """Seconds each may be silent; None for one that is heard but does not beat."""

    def follow(self, name: str, *, beats: bool = True) -> None:
        """Expect to hear of *name* from now on; unless it surely *beats*, only when it was heard to."""
        self._heard[name] = self._clock()
        self._patience[name] = UNHEARD if beats else None

    def leave(self, name: str) -> None:
        """*name* need not be heard any more."""
        self._heard.pop(name, None)
        self._patience.pop(name, None)
        self._end(name, "it is listened to no more")

    def leave_others(self) -> None:
        """Those that were silent before and are not followed now need not be heard any more."""
        for name in [name for name in self._silent_since if name not in self._heard]:
            self.leave(name)

    def heard(self, name: str, messages: Iterable[Message]) -> None:
        """*name* said something."""
        if name not in self._heard:
            return
        self._heard[name] = self._clock()
        for message in messages:
            interval = message.fields.get("min_interval") if message.type == "beat" else None
            if message.extension and interval is not None:
                self._patience[name] = OURS
            elif isinstance(interval, (int, float)) and interval > 0:
                self._patience[name] = INTERVALS * float(interval)
            elif self._patience[name] == UNHEARD:
                self._patience[name] = None
        self._end(name, "it is heard again")

    def look(self) -> None:
        """Say who has become silent."""
        now = self._clock()
        for name, patience in self._patience.items():
            silence = now - self._heard[name]
            if patience is not None and silence > patience and name not in self._silent_since:
                self._silent_since[name] = self._heard[name]
                ever = "since we listen to it" if patience == UNHEARD else f"for {patience:.0f} s"
                self._silent(name, f"nothing was heard from {name} {ever}: it is down, or cannot be reached")

    def _end(self, name: str, why: str) -> None:
        if self._silent_since.pop(name, None) is not None:
            self._speaks(name, why)
