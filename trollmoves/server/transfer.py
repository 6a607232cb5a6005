"""One move that a request asked for: of which chain, who waits for it, and what the journal keeps of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from trollmoves.bus.leases import UNCONTESTED, Lease
from trollmoves.config.settings import ServerSettings
from trollmoves.errors import MoveError
from trollmoves.journal import Operation
from trollmoves.journal.journal import step_line
from trollmoves.lifecycle import State
from trollmoves.messages import Message
from trollmoves.movers.base import Receipt
from trollmoves.server.pushing import Member, Push, Pushing
from trollmoves.server.removing import Removing
from trollmoves.server.requests import LIGHT, Consumer, Waiter, members
from trollmoves.uris import last_part

Place = tuple[str, str | None, str]
"""Where a file goes: the destination, the path below it, the name."""


class Supply(Protocol):
    """Where the files of a chain come from that are not here yet when somebody asks for them."""

    def members(self, message: Message, row: Any) -> tuple[Member, ...]:
        """The files a request is about, as they were announced."""

    def bring(self, moving: Moving, then: Brought) -> None:
        """Call *then* with the files of *moving* when they are here, or with why they are not."""


Brought = Callable[[tuple[Member, ...] | MoveError], Any]


def nothing(_: Any) -> Sequence[Any]:
    """A row of the journal is about one file."""
    return ()


def nobody_looks(file: int, path: str, then: Callable[[bool], Any]) -> None:
    """Nobody watches for other content."""
    then(False)


@dataclass(frozen=True, slots=True)
class Served:
    """One chain, as far as its requests are concerned."""

    settings: ServerSettings
    pushing: Pushing
    removing: Removing
    supply: Supply | None = None
    """None where the files are here when they are announced."""
    parts: Callable[[Any], Sequence[Any]] = nothing
    """Looks up the files of a row of the journal one by one, where announcements may speak of several."""
    look_again: Callable[[int, str, Callable[[bool], Any]], Any] = nobody_looks
    """Told that a row of the journal is about other content than its path means, and whom to tell whether that will be
    announced."""

    def members(self, message: Message, row: Any) -> tuple[Member, ...]:
        """The files that a request, found to be about *row* of the journal, wants."""
        return members(message, row, self.parts(row)) if self.supply is None else self.supply.members(message, row)


@dataclass(slots=True)
class Moving:
    """A move that is queued or running, and who waits for it."""

    push: Push
    file: int
    served: Served
    total: int
    message: Message
    """The request that started it; its data make up the replies to those who ask for the outcome later."""
    request: str
    """The id of that request, or of a newer one that has the lease for it; empty for upstream clients."""
    grouped: bool
    consumer: Consumer
    before: list[Receipt]
    """The receipts of an earlier delivery of the same content to the same consumer and destination, if there was one."""
    lease: Lease | None = None
    """Who may publish it; None for upstream clients, who do not ask."""
    lease_written: tuple[int, int, int] = UNCONTESTED
    """What the journal has of it, after an earlier delivery."""
    waiters: dict[str | int, Waiter] = field(default_factory=dict)
    """By the ids of their requests: who asks again waits in the place of before. Of upstream clients, which have none, each."""
    requests: dict[str, Waiter] = field(default_factory=dict)
    """Who waits or waited under each id; the one that asks how it stands is a copy of it."""
    done: int = 0
    shown: int = 0
    """Bytes done when the journal was told last."""
    began: float = field(default_factory=time.time)
    noted: bool = False
    """The journal has it."""
    over: bool = False
    """Its outcome is being written, or is in the journal."""
    recorded: str = ""
    """The id of the request that the journal has with the outcome."""
    cancelled: bool = False
    """Nobody wants it any more."""
    wanted: tuple[Member, ...] = ()
    """Its files as they were announced."""
    brought: int = 0
    """How often its files were brought here for it."""
    place: Place = field(init=False)

    def __post_init__(self) -> None:
        member = self.push.members[0]
        self.place = self.push.destination.place, member.relative, last_part(member.file.path)

    @property
    def is_here(self) -> bool:
        """Whether its files are on this machine, as far as we know."""
        return self.served.supply is None or self.push.members is not self.wanted

    @property
    def weight(self) -> int:
        """Bytes that are held in memory for it until it is over, about."""
        return LIGHT if self.grouped else len(self.message.raw)

    def weight_of(self, waiter: Waiter) -> int:
        """Bytes that are held in memory for one who waits, or may ask again how it stands, about."""
        return LIGHT if waiter.message is self.message else waiter.weight

    def rows(self, state: State, now: float, detail: str, receipt: str | None) -> tuple[Any, Any]:
        """What the journal keeps of it: how far it is, and the steps it has not noted yet. For `put_transfer` and `step`."""
        push, consumer, exact = self.push, self.consumer, self.place[0]
        line = step_line(state, now, push.peer, push.attempt, detail) if state is not State.MOVING else ""
        if not self.noted:
            self.noted = True
            line = step_line(State.MOVING, self.began, push.peer, push.attempt, exact) + line
        transfer = (self.file, push.transfer, self.served.settings.name, consumer.client, consumer.group, consumer.spare,
                    push.peer, self.request, exact, state, now, push.attempt, receipt)
        return transfer, (state, now, push.attempt, line, self.file)

    def progress(self, now: float) -> list[Operation]:
        """What is written of a move that takes long. (Short ones are journaled once, when they are over: if we die meanwhile, the
        client asks again.)"""
        records: list[Operation] = []
        if not self.noted:
            transfer, step = self.rows(State.MOVING, self.began, "", None)
            records += [("put_transfer", [transfer]), ("step", [step])]
        if self.done != self.shown:
            self.shown = self.done
            row = (self.file, self.served.settings.name, self.done, self.total, self.began, now)
            records.append(("put_progress", [row]))
        return records


def summary(receipts: Sequence[Receipt]) -> str:
    """A line for the history of the file."""
    receipt = receipts[-1]
    how = "" if receipt.copied else ", was there already"
    return f"{receipt.uri} {receipt.size} bytes, verified: {receipt.verified}{how}, {receipt.seconds:.3f} s"
