"""Serve: ping, info, push, ack, replay, status, commit and cancel on one request port, for all chains that share it.

Every request gets exactly one reply; under one id who asked last gets it. Nothing a request contains ends this loop, grows memory
without limit, or reaches a path that was not announced. A request is looked up in the journal (lookups.py); its uri is only
compared. What a push comes to is in pushes.py.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

from trollmoves import crashing
from trollmoves.bus import Asker, Loop, Replier
from trollmoves.bus.replaying import Replaying
from trollmoves.bus.requesting import PUSHES
from trollmoves.bus.topics import topics_told
from trollmoves.errors import Busy, JournalError, MoveError, NotAnnounced, OriginReplaced, PositionUnknown
from trollmoves.journal import Journal
from trollmoves.messages import EXTENSION, PROTOCOL, Envelope, Message, identity_of, uris_of
from trollmoves.server.acknowledging import Acknowledging
from trollmoves.server.alike import Alike
from trollmoves.server.answers import Answers
from trollmoves.server.lookups import Lookups
from trollmoves.server.moves import Moves
from trollmoves.server.pushes import Pushes
from trollmoves.server.recent import Recent
from trollmoves.server.refusals import Refusals
from trollmoves.server.replies import LONGEST_TEXT, UNKNOWN_REQUEST, Replies
from trollmoves.server.requests import MOST_GROUPED, Consumer, Waiter, group, is_named, publishes_at_once, request_id
from trollmoves.server.sharing import Sharing
from trollmoves.server.small_moves import SmallMoves
from trollmoves.server.topics import Topics
from trollmoves.server.transfer import Served
from trollmoves.uris import local_path
from trollmoves.workers import Workers

logger = logging.getLogger(__name__)

MOST_FILES_LISTED = 2256
"""Names in one answer to `info`, as upstream."""
FAILED_HERE = "the server failed on this request; its log says why"


class Serving:
    """Answers on one port; belongs to the loop."""

    def __init__(self, port: int, address: str, largest: int, loop: Loop, journal: Journal, envelope: Envelope, workers: Workers,
                 small: SmallMoves, recent: Recent, started: float, moved: Callable[[], Mapping[str, str]],
                 topics: Topics | None = None):
        """*moved* tells what was announced with another address than it is asked for at now. *topics*, where there are several,
        is told who listens to what."""
        self.chains: dict[str, Served] = {}
        self._journal = journal
        self._envelope = envelope
        self._started = started
        self._topics = topics
        self._lookups = Lookups(journal, recent)
        self._replaying = Replaying(journal, envelope, moved=moved)
        self._replies = Replies(envelope)
        self._replier = Replier(loop, port, envelope, self._handle, address=address, largest=largest)
        self._answers = Answers(loop, self._replies, self._replier.reply)
        alike = Alike(journal, self.chains)
        self._sharing = Sharing(journal, alike, self._answers, self._replies, self._replier.reply)
        self._refusals = Refusals(loop, journal)
        self._moves = Moves(loop, journal, workers, small, self._answers, self._sharing, self._refusals)
        self._pushes = Pushes(journal, self._lookups, self._moves, self._sharing, self._answers)
        self._acknowledging = Acknowledging(journal, envelope, loop.names, alike, self._sharing, self._replier.reply)
        self.port = self._replier.port
        self._by_type: dict[str, Callable[[Asker, Message], bytes | None]] = {
            "ping": self._ping, "info": self._info, "push": self._push, "ack": self._ack, "replay": self._replay,
            "status": self._status, "commit": self._commit, "cancel": self._cancel,
        }

    def add(self, served: Served) -> None:
        """Serve this chain too."""
        self.remove(served.settings.name)
        self.chains[served.settings.name] = served
        self._acknowledging.add(served)

    def remove(self, chain: str) -> None:
        """Serve this one no more; fine when it was not served."""
        if self.chains.pop(chain, None) is not None:
            self._acknowledging.remove(chain)

    def under_way(self) -> int:
        """How many moves are queued or running."""
        return len(self._moves)

    def close(self) -> None:
        for chain in list(self.chains):
            self.remove(chain)
        self._moves.close()
        self._refusals.close()
        self._replier.close()

    # Requests come in.

    def _handle(self, requests: list[tuple[Asker, Message]]) -> None:
        try:
            self._lookups.prepare(message for _, message in requests)
        except JournalError:
            raise
        except Exception:  # they are looked up one by one then, and the bad one gets an error
            logger.exception("requests cannot be looked up together")
            self._lookups.forget()
        for asker, message in requests:
            reply = self._answer(asker, message)
            if reply is not None:
                self._replier.reply(asker, reply)
        if any(message.type == "push" for _, message in requests):
            crashing.point("server.requested")
        self._acknowledging.record()
        self._moves.submit()

    def _answer(self, asker: Asker, message: Message) -> bytes | None:
        """The reply, or None when it comes later."""
        answer = self._by_type.get(message.type)
        if answer is None:
            return self._envelope.encode(message.subject, "unknown")
        try:
            if self._topics is not None and message.extension:
                self._topics.hear(Consumer.of(asker, message), topics_told(message))
            return answer(asker, message)
        except MoveError as error:
            self._refusals.note(asker.address, message, error)
            return self._replies.error(message, error)
        except JournalError:
            raise
        except Exception:  # whatever a request brings about, the next one is served
            logger.exception("%s request of %s failed", message.type, asker.address)
            if request_id(message):  # without its id the answer would not be known for one
                return self._replies.error(message, MoveError(FAILED_HERE))
            return self._envelope.encode(message.subject, "error")

    def _ping(self, asker: Asker, message: Message) -> bytes:
        data: dict[str, Any] = {"station": next((served.settings.station for served in self.chains.values()), "unknown")}
        if message.extension:
            data[EXTENSION] = {"version": PROTOCOL, "request": message.extension.get("request"), "epoch": self._journal.epoch,
                               "head": self._journal.head, "load": len(self._moves),
                               "capabilities": ["replay", "status", "commit", "cancel"]}
        return self._envelope.encode(message.subject, "pong", data)

    def _info(self, asker: Asker, message: Message) -> bytes:
        asked = message.fields.get("max_count")
        most = min(asked, MOST_FILES_LISTED) if type(asked) is int and asked >= 0 else MOST_FILES_LISTED
        rows = self._journal.find("announced_names", (message.subject, message.subject, most))
        uptime = str(timedelta(seconds=time.monotonic() - self._started))
        data = {"files": [row[0] for row in rows], "max_count": most, "uptime": uptime}
        return self._envelope.encode(message.subject, "info", data)

    def _replay(self, asker: Asker, message: Message) -> bytes:
        return self._replaying.answer(message)

    # A push: find the file; what comes of it is for `Pushes`.

    def _push(self, asker: Asker, message: Message) -> None:
        if PUSHES in message.extension:
            self._push_group(asker, message)
            return
        row, served = self._find(message)
        if self._is_replaced(message, row):
            raise OriginReplaced(f"{row['identity']} has other content than what is asked for")
        waiter = Waiter.of(asker, message, time.monotonic())
        if waiter.request and self._is_by_name(message, row):
            self._sharing.asked_by_name(waiter.request, row["id"])
        self._pushes.take(row, served, waiter)

    def _push_group(self, asker: Asker, message: Message) -> None:
        """Many requests for one destination in one message: each an announcement's position and the id of its request. What has
        another position by now (our journal is new, or has forgotten that announcement) is found for who asks by its name, as
        clients do in their second attempt."""
        consumer, now, at_once = Consumer.of(asker, message), time.monotonic(), publishes_at_once(message)
        for offset, request in group(message):
            waiter = Waiter(asker, message, now, request, consumer, True, at_once)
            try:
                row = self._lookups.announced_at(offset) if message.extension.get("epoch") == self._journal.epoch else None
                if row is None:
                    raise PositionUnknown(f"announcement {offset} is none of this journal: ask for it alone, by its name")
                self._pushes.take(row, self._chain_of(row), waiter)
            except MoveError as error:
                self._refusals.note(asker.address, message, error)
                self._answers.error(waiter, error)
            except JournalError:
                raise
            except Exception:
                logger.exception("request %s of %s failed", request, asker.address)
                self._answers.error(waiter, MoveError(FAILED_HERE))

    def _find(self, message: Message) -> tuple[Any, Served]:
        """The journal's row of what the request is about, and its chain. Raises `NotAnnounced`, or `Busy` (see `_chain_of`)."""
        row, uris, identity = self._announced(message), uris_of(message.fields), identity_of(message.fields)
        if row is not None and row["identity"] == identity and row["chain"] in self.chains and is_named(row, uris):
            newest = row if request_id(message) else self._lookups.newest(identity, uris, (row["chain"],), message.subject)
            return newest or row, self._chain_of(newest or row)
        row = self._lookups.newest(identity, uris, self.chains, message.subject)
        if row is None:
            raise NotAnnounced(f"{(local_path(uris[0]) if uris else message.subject)[:LONGEST_TEXT]} not reachable")
        return row, self._chain_of(row)

    def _announced(self, message: Message) -> Any | None:
        """The row of what was announced at the position that a request names, if it does."""
        offset = self._lookups.position_in(message)
        return None if offset is None else self._lookups.announced_at(offset)

    def _is_by_name(self, message: Message, row: Any) -> bool:
        """Whether *row* was found by the name that a request has, and not by the position: the content may be another one."""
        announced = self._announced(message)
        return announced is None or bool(announced["id"] != row["id"])

    def _is_other(self, message: Message, row: Any) -> bool:
        """Whether *row* has the name a request is about, and another key: our journal is new, say, or older than that."""
        return message.extension.get("key", row["key"]) != row["key"] and self._is_by_name(message, row)

    def _is_replaced(self, message: Message, row: Any) -> bool:
        """The same, and other content. (What one section announced may be asked for where another one is served that announced
        the same file.)"""
        if not self._is_other(message, row):
            return False
        announced = self._announced(message)
        return announced is None or not _is_alike(announced, row)

    def _chain_of(self, row: Any) -> Served:
        """Raises `Busy` while it is not served: its section may be back when a mistake in it is mended, or its start succeeds.
        (Who asks for what a section announced that was removed for good asks until the file expires.)"""
        served = self.chains.get(row["chain"])
        if served is None:
            raise Busy(f"section [{row['chain']}] is not served now", 10.0)
        return served

    def _status(self, asker: Asker, message: Message) -> bytes | None:
        """Somebody waits for long moves: the answers come when they are over, or after a while as `pending`."""
        requests = _named(message)
        if not requests:
            return None if self._wait(asker, request_id(message)) else self._replies.unknown_request(message)
        for request in requests:
            if not self._wait(asker, request):
                waiter = Waiter(asker, message, 0.0, request, Consumer.of(asker, message), grouped=True)
                self._answers.add(waiter, {"request": request, "code": UNKNOWN_REQUEST})
        return None

    def _wait(self, asker: Asker, request: str) -> bool:
        """Whether the outcome of *request* is on its way, and will be told."""
        moving = self._moves.of_request(request)
        if moving is None:
            return self._sharing.wait(request, asker)
        self._moves.wait(moving, replace(moving.requests[request], asker=asker, since=time.monotonic()))
        return True

    def _commit(self, asker: Asker, message: Message) -> bytes | None:
        """Somebody is about to publish what was delivered."""
        return self._sharing.commit(asker, message)

    def _cancel(self, asker: Asker, message: Message) -> bytes:
        """Somebody does not want any more what it asked for."""
        asked = _named(message)
        for_all = message.extension.get("for_all") is True
        ended = [request for request in asked if self._moves.cancel(request, for_all=for_all)]
        if ended:
            logger.info("%s cancelled %d requests, of which %d were under way", asker.address, len(asked), len(ended))
        said = {"version": PROTOCOL, "request": request_id(message), "cancelled": ended}
        return self._envelope.encode(message.subject, "ack", {EXTENSION: said})

    def _ack(self, asker: Asker, message: Message) -> bytes | None:
        if isinstance(message.extension.get("requests"), list):
            self._acknowledging.confirm(asker, message)
            return None
        row, _ = self._find(message)
        if self._is_other(message, row):
            raise NotAnnounced(f"{row['identity']} has other content than what is acknowledged")
        return self._acknowledging.acknowledge(asker, message, row)


def _is_alike(one: Any, other: Any) -> bool:
    """Whether two rows of the journal are about the same content of a file that is here."""
    return one["inode"] is not None and all(one[name] == other[name] for name in ("identity", "inode", "size", "mtime_ns"))


def _named(message: Message) -> list[str]:
    """The requests a message is about, where it names several."""
    requests = message.extension.get("requests")
    found = requests[:MOST_GROUPED] if isinstance(requests, list) else []
    return list(dict.fromkeys(request for request in found if isinstance(request, str)))
