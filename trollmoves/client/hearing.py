"""Hear: what providers announce and what peers say (peers.py), journaled first; whether it is news is for `recognising`.

Each provider has a listener for what it publishes and a catch-up for what was missed.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Protocol

from trollmoves import crashing
from trollmoves.attention.orders import asking
from trollmoves.bus import Listener, Loop
from trollmoves.bus.asking_again import Countdown, within
from trollmoves.bus.catching_up import CatchUp
from trollmoves.bus.few_lines import Sparingly
from trollmoves.bus.silence import Silence
from trollmoves.client.asking import Asking
from trollmoves.client.deciding import FINISHED, Known, Notice, Verdict, Wait, may_differ, place_of, read_notice
from trollmoves.client.doubting import is_lost_copy, new_row, with_checksum
from trollmoves.client.flight import Flight, Source
from trollmoves.client.following import Following
from trollmoves.client.introducing import Introducing
from trollmoves.client.ledger import Ledger
from trollmoves.client.peers import Peers
from trollmoves.client.providers import host_part
from trollmoves.client.recognising import Recognising
from trollmoves.client.upstream_past import UpstreamPast
from trollmoves.config.places import Provider
from trollmoves.config.settings import ClientSettings
from trollmoves.errors import JournalError, MalformedMessage
from trollmoves.journal import Journal
from trollmoves.journal.alarms import GAP, SILENT
from trollmoves.lifecycle import State
from trollmoves.messages import Announcement, Message, read_announcement

logger = logging.getLogger(__name__)

BEATS = "/heartbeat/move_it_"
SERVER_BEATS = ("/heartbeat/move_it_server", "/heartbeat/move_it_mirror")
PAUSE = 1.0
"""Seconds between two looks whether the journal can be written again."""
SHORT_PAUSE = 0.1
"""The same while it is being written."""
MUCH = 16 * 2**20
"""Bytes of messages on their way to the journal, beyond which no more are taken in."""
NOTEWORTHY = 64 * 1024
MOST_SOURCES = 20
"""Who have the same file, as published at one place: a mirror's own, or a few servers that share an address."""
MOST_NAMED = 10_000
OTHERS_ANNOUNCE = 3.0
"""Seconds for the first of `lease_servers` to announce what another one has announced."""


class Relay(Protocol):
    """What a mirror does with announcements, in place of asking for their files. What peers say of files is nothing to it."""

    def is_welcome(self, announcement: Announcement) -> bool:
        """Whether it is to be looked at at all."""

    def begin(self, source: Source, before: int) -> None:
        """A file that is new to us, or could not be had when it was known as the row *before*, if that is not 0: what is noted is
        written together with the other messages at hand."""

    def also_from(self, file: int, source: Source) -> None:
        """Another provider announces what we know already."""

    def again(self, file: int, source: Source) -> None:
        """A provider announces once more what we have heard of."""

    def committing(self, then: Callable[[], Any] | None) -> Callable[[], Any]:
        """What to call when the messages at hand are in the journal, which then calls *then*."""


class Hearing:
    """The providers of one client chain; belongs to the loop."""

    def __init__(self, settings: ClientSettings, who: Mapping[str, Any], ledger: Ledger, journal: Journal, loop: Loop,
                 asking: Asking, relay: Relay | None = None):
        """*who* says to providers who we are."""
        self._relay = relay
        self._who = who
        self._settings = settings
        self._ledger = ledger
        self._journal = journal
        self._loop = loop
        self._asking = asking
        self._delay = settings.processing_delay or 0.0
        self._peers = Peers(self._delay, ledger, asking, longest_move=settings.transfer_req_timeout)
        self._following = Following(settings.name, settings.providers, journal, ledger, asking.requesters,
                                    lambda address: asking.providers.wake(address=address))
        self._recognising = Recognising(ledger, self._following, relays=relay is not None)
        self._listeners: dict[Provider, Listener] = {}
        self._catch_ups: dict[Provider, CatchUp] = {}
        self._introducing: dict[Provider, Introducing] = {}
        self._heard: dict[Provider, float] = {}
        """When (monotonic) each was heard last, or might have been."""
        self._interval: dict[Provider, float] = {}
        """Seconds between its heartbeats, as they say."""
        self._again: list[tuple[float, list[str], Callable[[], Any]]] = []
        """What was ordered before the start: since when, and under which topics, all is asked for again that was announced."""
        alarms, chain = journal.alarms, settings.name
        self._silence = Silence(lambda name, text: alarms.raise_(chain, SILENT, name, text), self._speaks_again,
                                [alarm.about for alarm in alarms.open(SILENT, chain)])
        self._upstream = UpstreamPast(chain, settings.topic, settings.transfer_req_timeout, journal, loop, asking.requesters,
                                      self._alarm)
        self._open = True
        self._paused = False
        self._refused = Sparingly(logger)
        self._named: OrderedDict[tuple[int, Provider], int] = OrderedDict()
        """How often a provider named somebody else who has a file; those of the last files."""
        self._unwritten = 0
        """Bytes of messages that the journal does not have yet; few are not counted."""

    def start(self) -> None:
        for provider in self._settings.providers:
            self._listen_to(provider)
        if self._delay:
            self._loop.after(1.0, self._check_peers)
        self._silence.leave_others()
        if self._settings.heartbeat:
            self._loop.after(1.0, self._check_silence)

    def stop(self) -> None:
        """Hear nothing more; may be called twice."""
        self._open = False
        self._upstream.close()
        for listener in self._listeners.values():
            listener.close()
        for catch_up in self._catch_ups.values():
            catch_up.close()
        self._listeners.clear()
        self._catch_ups.clear()

    def _listen_to(self, provider: Provider) -> None:
        topics = [self._settings.topic_at(provider)]
        row = self._journal.find_one("cursor", (self._settings.name, str(provider)))
        cursor = None if row is None else (str(row["epoch"]), int(row["position"]))

        def page(messages: list[Message], epoch: str, position: int, then: Callable[[], Any]) -> None:
            self._take_in(provider, messages, (self._settings.name, str(provider), epoch, position), then)

        def moved_on(epoch: str, position: int) -> None:
            self._ledger.add("set_cursor", (self._settings.name, str(provider), epoch, position))

        self._catch_ups[provider] = CatchUp(
            self._loop, self._asking.requesters, str(provider), topics, cursor=cursor, past=self._settings.catch_up,
            page=page, moved_on=moved_on, restarted=self._asking.repeat, alarm=self._alarm,
            host=provider.host)
        self._introducing[provider] = Introducing(self._who, topics[0] or "/", self._catch_ups[provider])
        for asked in self._again:
            self._catch_ups[provider].again(*asked)
        self._listeners[provider] = Listener(self._loop, provider.host, provider.port, (*topics, BEATS),
                                             lambda messages: self._take_in(provider, messages))
        self._heard[provider] = time.monotonic()
        if self._settings.heartbeat:
            self._silence.follow(str(provider))

    def _alarm(self, about: str, text: str) -> None:
        self._journal.alarms.raise_(self._settings.name, GAP, about, text)

    def order_past(self, newer_than: float, topics: list[str]) -> bool:
        """Note that all providers shall be asked for what they announced since a time, known or not. False when none of them is
        heard under *topics*."""
        if not any(within(topics, [self._settings.topic_at(provider)]) for provider in self._settings.providers):
            return False
        self._journal.write([asking(self._settings.name, newer_than, topics)])
        return True

    def ask_again(self, said: Mapping[str, Any], end: Callable[[], Any]) -> None:
        """Do so; before the start: when they are listened to. Then call *end*."""
        asked = said["newer_than"], said["topics"], Countdown(len(set(self._settings.providers)), end).one_ended
        if not self._catch_ups:
            self._again.append(asked)
        for catch_up in self._catch_ups.values():
            catch_up.again(*asked)

    def _take_in(self, provider: Provider, messages: list[Message], cursor: tuple[Any, ...] | None = None,
                 then: Callable[[], Any] | None = None) -> None:
        """Handle messages of one provider in one transaction; *cursor* goes with them when they are a page of a replay."""
        if not self._open:
            return
        self._heard[provider] = time.monotonic()
        if cursor is None:
            self._silence.heard(str(provider), messages)
        crashing.point("client.heard")
        self._ledger.look_up(messages)
        catch_up = self._catch_ups[provider]
        for message in messages:
            try:
                self._take_one(provider, catch_up, message, live=cursor is None)
            except MalformedMessage as error:
                self._refused.say("[%s] %s announced something nobody can ask for: %s", self._settings.name, provider, error)
            except JournalError:
                raise
            except Exception:  # whatever one message brings about, the next one is taken
                logger.exception("[%s] a message of %s cannot be dealt with", self._settings.name, provider)
        if cursor is not None:
            self._ledger.add("set_cursor", cursor)
        size = sum(len(message.raw) for message in messages)
        if size > NOTEWORTHY:
            self._unwritten += size
            then = partial(self._written, size, then)
        self._asking.commit(then if self._relay is None else self._relay.committing(then))
        if self._is_behind and not self._paused:
            self._pause()

    def _written(self, size: int, then: Callable[[], Any] | None) -> None:
        self._unwritten -= size
        if then is not None:
            then()

    @property
    def _is_behind(self) -> bool:
        """The journal cannot be written, or takes long for much that came."""
        return self._journal.full or self._unwritten > MUCH

    def _pause(self) -> None:
        """Messages wait where they are, in queues of bounded length."""
        self._paused = True
        for listener in self._listeners.values():
            listener.pause()
        self._loop.after(self._pause_for, self._resume)

    @property
    def _pause_for(self) -> float:
        return PAUSE if self._journal.full else SHORT_PAUSE

    def _resume(self) -> None:
        if not self._open:
            return
        if self._is_behind:
            self._loop.after(self._pause_for, self._resume)
            return
        self._paused = False
        for provider, listener in self._listeners.items():
            self._heard[provider] = time.monotonic()
            self._silence.heard(str(provider), ())
            listener.resume()

    def _take_one(self, provider: Provider, catch_up: CatchUp, message: Message, *, live: bool) -> None:
        if message.type == "beat":
            self._beat(provider, message)
            return
        notice = read_notice(message)
        if notice is not None:
            if live:
                catch_up.published(message)
            if self._relay is None:
                self._peers.take_notice(provider, notice, message)
            return
        announcement = read_announcement(message)
        self._following.heard(provider, announcement.epoch)
        if live:
            self._asking.providers.wake(address=announcement.address)
            catch_up.announced(announcement)
            if not announcement.epoch and self._relay is None:
                self._upstream.heard(announcement)
        if self._relay is None or self._relay.is_welcome(announcement):
            self._take_announcement(provider, announcement)

    def _beat(self, provider: Provider, message: Message) -> None:
        interval = message.fields.get("min_interval")
        if isinstance(interval, (int, float)) and interval > 0:
            self._interval[provider] = float(interval)
        if not message.subject.startswith(SERVER_BEATS):
            self._catch_ups[provider].leave_past()  # what a peer had done before we knew it is its own business
            if message.extension.get("group") == group_sign(self._settings.group):
                self._peers.add(provider)
        else:
            self._asking.providers.wake(host=host_part(str(message.extension.get("address"))))
            self._following.told(provider, message.extension.get("epoch"), message.extension.get("moved"))
        self._catch_ups[provider].beat(message)
        if message.subject.startswith(SERVER_BEATS):
            self._introducing[provider].beat(message.extension)

    def _take_announcement(self, provider: Provider, announcement: Announcement) -> None:
        verdict, file, known = self._recognising.recognise(announcement)
        if verdict is Verdict.DOUBTFUL and known is not None and known.state is State.COVERED \
                and self._asking.replacing.is_left_to_upstream(file):
            verdict = Verdict.TELL
        if verdict is Verdict.IGNORE and known is not None and self._is_back(file, known, announcement):
            verdict = Verdict.DOUBTFUL
        source = Source(announcement.address, announcement)
        if verdict in (Verdict.NEW, Verdict.DOUBTFUL):
            if known is not None and known.state in (State.GIVEN_UP, State.FAILED):
                self._no_loss(file, known, announcement)
            if self._relay is not None:
                self._relay.begin(source, file)
            else:
                self._begin(source, doubtful=verdict is Verdict.DOUBTFUL)
        elif verdict is Verdict.SOURCE:
            self._also_from(provider, file, known, source)
        elif self._relay is not None and verdict is Verdict.TELL:
            self._relay.also_from(file, source)
        elif verdict is Verdict.IGNORE and known is not None:
            self._heard_again(file, known, source)
        elif verdict is Verdict.TELL and not self._ledger.is_dismissed(file):  # which nobody has
            self._asking.acknowledging.tell(source)

    def _is_back(self, file: int, known: Known, announcement: Announcement) -> bool:
        """Whether its provider announces again what was perhaps a copy, and away when it was to be compared: it waits for us."""
        before = self._ledger.versions(announcement.identity).get(file) if known.state is State.COVERED else None
        if before is None or before.epoch != announcement.epoch or before.offset >= announcement.offset:
            return False
        row = self._journal.find_one("file", (file,))
        return row is not None and is_lost_copy(row["steps"])

    def _no_loss(self, file: int, known: Known, announcement: Announcement) -> None:
        """What could not be had of *file*, and is not tried again, is no loss any more: it is announced anew. (A file of the same
        name in another directory is another one.)"""
        if known.state is State.FAILED and self._relay is None:
            return
        version = self._ledger.versions(announcement.identity).get(file, known)
        if version.epoch != announcement.epoch or version.place == place_of(announcement.message):
            self._ledger.step(file, State.COVERED, None, 0, "announced anew")

    def _also_from(self, provider: Provider, file: int, known: Known | None, source: Source) -> None:
        """Another one announces what we are about to get."""
        if self._names_too_many(provider, file):
            return
        if self._relay is not None:
            self._relay.also_from(file, source)
            return
        if self._asking.is_delivered(file):
            if known is not None and may_differ(known.key, source.announcement.key):
                self._begin(source, doubtful=True)
            else:  # when the journal has what is delivered, which is on its way there
                self._journal.write([], self._asking.acknowledging.tell, source)
            return
        self._ledger.add("add_source", (file, source.provider, source.announcement.message.raw.decode()))
        self._asking.add_source(file, source)
        if known is not None and known.state is State.ANNOUNCED and not self._delay and self._settings.lease_servers \
                and self._asking.providers.is_preferred(source.provider):
            self._ledger.step(file, State.ANNOUNCED, time.time(), 0, f"{source.provider} announces it as well")

    def _names_too_many(self, provider: Provider, file: int) -> bool:
        """Whether what is published at *provider* has named more who have *file* than anybody can be: each would be asked, one
        after the other, before it is given up or tried again."""
        count = self._named[file, provider] = self._named.pop((file, provider), 0) + 1
        if len(self._named) > MOST_NAMED:
            self._named.popitem(last=False)
        return count > MOST_SOURCES

    def _heard_again(self, file: int, known: Known, source: Source) -> None:
        if self._relay is not None:
            self._relay.again(file, source)
        if known.state not in FINISHED:
            self._announced_again(file, source)

    def _announced_again(self, file: int, source: Source) -> None:
        """The same content, that is under way, announced once more: with a later position it may be another file, of the same
        size and time, and what was announced before cannot be had any more; nor can what is not in the provider's new journal.
        What tells the content counts for more than what does not: that may be of somebody else who speaks for the provider."""
        announcement = source.announcement
        before = self._ledger.versions(announcement.identity).get(file)
        if before is None or not announcement.epoch or (before.key and not announcement.key):
            return
        if before.epoch != announcement.epoch or before.offset < announcement.offset or (announcement.key and not before.key):
            self._ledger.add("add_source", (file, source.provider, announcement.message.raw.decode()))
            self._asking.add_source(file, source)

    def _begin(self, source: Source, *, doubtful: bool = False) -> None:
        """A file that is new to us, or *doubtful*: a row in the journal, and a request at once if there is no reason to wait."""
        announcement, now = source.announcement, time.time()
        flight = Flight(self._journal.new_file(), self._settings.name, announcement.identity, now, source,
                        {source.provider: source}, doubtful=doubtful)
        state, due, why = self._first_step(flight.id, announcement, now, doubtful=doubtful)
        self._asking.begin(flight, now=state is State.REQUESTED)
        self._ledger.add("add_file", new_row(flight, state, due, why))
        self._ledger.remember(flight.identity, flight.id, Known.of(state, announcement)._replace(doubtful=doubtful))

    def _first_step(self, file: int, announcement: Announcement, now: float, *,
                    doubtful: bool) -> tuple[State, float | None, str]:
        """The state a new file begins in, when it is due, and why it needs nothing."""
        said = self._peers.said_of(announcement)
        if said is not None and doubtful and said.key != announcement.key:
            said = None
        if said is not None and said.notice is Notice.HAS:
            return State.COVERED, None, with_checksum(said.checksum, f"a peer {said.word}")
        if said is not None and self._delay:
            wait = self._peers.after(said, State.ANNOUNCED)
            assert isinstance(wait, Wait)
            self._peers.leave_to(said, file, announcement.identity)
            return State.ANNOUNCED, now + wait.seconds, ""
        if not self._delay and not self._asking.providers.is_preferred(announcement.address):
            return State.ANNOUNCED, now + OTHERS_ANNOUNCE, ""
        if self._delay or self._asking.providers.room(announcement.address) <= 0 \
                or self._asking.replacing.has_to_wait(announcement.identity, file, announcement.address, doubtful=doubtful):
            return State.ANNOUNCED, now + self._delay, ""
        return State.REQUESTED, None, ""

    def _check_peers(self) -> None:
        if self._open:
            self._peers.check(self._heard)
            self._loop.after(1.0, self._check_peers)

    # Silence.

    def _speaks_again(self, name: str, text: str) -> None:
        self._journal.alarms.clear(self._settings.name, SILENT, name, text)
        self._upstream.listen_again()

    def _check_silence(self) -> None:
        """An alarm for providers that say nothing; connect anew to those that have been silent for longer than the alarm scale
        allows."""
        if not self._open:
            return
        scale = self._settings.heartbeat_alarm_scale
        if not self._paused:
            self._silence.look()
        for provider, listener in () if self._paused or not scale else self._listeners.items():
            silence = time.monotonic() - self._heard[provider]
            if silence > scale * self._interval.get(provider, 30.0):
                logger.error("[%s] nothing heard from %s for %d s: connecting anew", self._settings.name, provider, silence)
                listener.reconnect()
                self._heard[provider] = time.monotonic()
        self._loop.after(1.0, self._check_silence)


def group_sign(group: str) -> str:
    """By which members of a group know each other in public. Who knows the name of a group may take its leases: that is told to
    providers only."""
    return "g:" + hashlib.sha256(group.encode("utf-8", "replace")).hexdigest()[:32]
