"""Subscribing as posttroll does it: to publishers named by address, and to those a name server knows and goes on to tell of."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import zmq
from posttroll import config as posttroll_config
from posttroll import ns
from posttroll.address_receiver import get_configured_address_port

from trollmoves.bus.addresses import is_own_address
from trollmoves.bus.asking_again import Countdown, within
from trollmoves.bus.catching_up import CatchUp
from trollmoves.bus.few_lines import Sparingly
from trollmoves.bus.listening import Listener
from trollmoves.bus.loop import Loop
from trollmoves.bus.names import Whereabouts
from trollmoves.bus.silence import Silence
from trollmoves.bus.sockets import Socket, close, connected, send_frames
from trollmoves.errors import MalformedMessage
from trollmoves.messages import Envelope, Message, decode
from trollmoves.uris import LOCAL_SOCKET, format_endpoint, parse_endpoint

logger = logging.getLogger(__name__)

ASK_UNTIL_ANSWERED = 5.0
"""Seconds after which a name server that did not answer is asked again, unless somebody says otherwise."""
ASK_AGAIN = 60.0
"""Seconds between two questions to one that does: what it publishes meanwhile may get lost."""
NAMESERVER_PORT = 5557
SECURE_PORT = "get_configured_secure_zmq_nameserver_port"
"""In later releases of posttroll, what tells the port of name servers that want a key."""
BEATS = "/heartbeat/"
LOOK_FOR_SILENCE = 1.0
MOST_PUBLISHERS = 500
"""When a name server tells of more, one that never said anything is left for a new one."""
PATIENCE = 30.0
"""Seconds for it to say something."""
ROOM_EVERY = 1.0
"""Seconds between two times that one is left, at least: a name server may tell of ever new ones."""

Received = Callable[[list[Message]], Any]
NewCatchUp = Callable[[str, Sequence[str]], CatchUp]
"""Makes what follows a publisher, named by its address, under some topics."""
Asked = tuple[float, Sequence[str], Callable[[], Any]]
"""What `CatchUp.again` is called with."""


class Subscribing:
    """Listens to publishers that come and go; belongs to the loop."""

    def __init__(self, loop: Loop, envelope: Envelope, topics: Iterable[str], received: Received, *,
                 addresses: Sequence[tuple[str, int]], nameserver: str | None, services: Sequence[str], own_port: int | None,
                 timeout: float = ASK_UNTIL_ANSWERED, follow: bool = True, translate: bool = False,
                 accepts: Callable[[str], str] = lambda host: "", new_catch_up: NewCatchUp | None = None,
                 silence: Silence | None = None):
        """*nameserver* is a host, with its port where that is not the usual one, or None for none. *services* are the names of
        the publishers to take from it; none given means all. The publisher of this process, on *own_port*, is never listened to.

        A name server gets *timeout* seconds to answer. Unless told to *follow*, it is only asked, and its news are not heard.
        *accepts* says why a publisher that it tells of is not listened to, if it is not; it gets the host. With *translate* the
        host in the sender of a message is the one we hear it from. With *new_catch_up* publishers of ours are asked for what got
        lost; *silence* is told who is heard."""
        self._loop = loop
        self._envelope = envelope
        self._topics = tuple(topics)
        self._received = received
        self._fixed = frozenset(addresses)
        self._nameserver = None if nameserver is None else _place(nameserver)
        self._timeout, self._translate, self._accepts = timeout, translate, accepts
        self._refused: set[str] = set()
        self._useless = Sparingly(logger)
        self._unheard: dict[tuple[str, int], float] = {}
        """Since when (monotonic) those are listened to that never said anything."""
        self._next_room = 0.0
        self._services = frozenset(services)
        self._own_port = own_port
        self._new_catch_up = new_catch_up
        self._catch_ups: dict[tuple[str, int], CatchUp] = {}
        self._again: list[Asked] = []
        """What those shall be asked for again that are not known yet."""
        self._untold: dict[tuple[str, int], list[Asked]] = {}
        """The same of those that were known, as they may go away before they have told it."""
        self._silence = silence
        self._listeners: dict[tuple[str, int], Listener] = {}
        self._news: Listener | None = None
        self._question: Socket | None = None
        self._closed = self._paused = False
        self._asked = False
        """The name server was asked at least once."""
        for place in self._fixed:
            self._add(place)
        if silence is not None:
            silence.leave_others()
            loop.after(LOOK_FOR_SILENCE, self._look_for_silence)
        self._where: Whereabouts | None = None
        """Of the name server."""
        if self._nameserver is not None:
            self._begin_asking(self._nameserver[0], follow)

    @property
    def publishers(self) -> frozenset[tuple[str, int]]:
        """Host and port of all that are listened to."""
        return frozenset(self._listeners)

    def change_topics(self, topics: Iterable[str]) -> None:
        """From now on hear these; nothing of those that stay is missed."""
        self._topics = tuple(topics)
        for listener in self._listeners.values():
            listener.change_topics(self._heard_topics)
        for catch_up in self._catch_ups.values():
            catch_up.topics = self._topics

    def hears(self, topics: Sequence[str]) -> bool:
        """Whether publishers of ours are heard under any of *topics* (none: all)."""
        return self._new_catch_up is not None and bool(within(topics, self._topics))

    def ask_again(self, newer_than: float, topics: Sequence[str], ended: Callable[[], Any]) -> None:
        """Ask all publishers of ours for what they published since a time (see `CatchUp.again`); where none is known yet, those
        that will be until one of them has told all. Then *ended* is called."""
        if not self._catch_ups:
            _kept(self._again, newer_than, topics, ended)
        all_of_them = Countdown(len(self._catch_ups), ended)
        for place, catch_up in self._catch_ups.items():
            catch_up.again(*_kept(self._untold.setdefault(place, []), newer_than, topics, all_of_them.one_ended))

    @property
    def paused(self) -> bool:
        """Whether messages wait in the queues of the sockets."""
        return self._paused

    def pause(self) -> None:
        """Let messages wait in the queues of the sockets."""
        self._paused = True
        for listener in self._listeners.values():
            listener.pause()

    def resume(self) -> None:
        if self._paused and not self._closed:
            self._paused = False
            for listener in self._listeners.values():
                listener.resume()

    def close(self) -> None:
        """Hear no more; may be called twice."""
        self._closed = True
        self._end_question()
        if self._where is not None:
            self._where.close()
        for listener in (*self._listeners.values(), *filter(None, (self._news,))):
            listener.close()
        for catch_up in self._catch_ups.values():
            catch_up.close()
        self._listeners.clear()
        self._catch_ups.clear()
        self._news = None

    # Publishers come and go.

    def _add(self, place: tuple[str, int]) -> None:
        if place in self._listeners or self._is_this_process(place) or not self._has_room():
            return
        try:
            self._listeners[place] = Listener(self._loop, *place, self._heard_topics, partial(self._take, place))
        except zmq.ZMQError as error:
            logger.warning("cannot connect to %s: %s", format_endpoint(*place), error)
            return
        self._unheard[place] = time.monotonic()
        name = format_endpoint(*place)
        if self._new_catch_up is not None:
            self._catch_ups[place] = self._new_catch_up(name, self._topics)
            for asked in (*self._again, *self._untold.get(place, ())):
                self._catch_ups[place].again(*asked)
        if self._silence is not None and place in self._fixed:
            self._silence.follow(name, beats=False)
        if self._paused:
            self._listeners[place].pause()
        logger.info("listening to %s", format_endpoint(*place))

    def _has_room(self) -> bool:
        """Whether one more can be listened to; if need be in the place of one from which nothing was ever heard."""
        if len(self._listeners) < MOST_PUBLISHERS:
            return True
        now = time.monotonic()
        silent = next((place for place, since in self._unheard.items()
                       if now - since > PATIENCE and place not in self._fixed), None)
        if silent is None or now < self._next_room:
            return False
        self._next_room = now + ROOM_EVERY
        logger.warning("the name server tells of more than %d publishers: %s, which never said anything, is left for another one",
                       MOST_PUBLISHERS, format_endpoint(*silent))
        self._remove(silent)
        return True

    def _received_from(self, host: str, messages: list[Message]) -> None:
        """Hand over what was said, in the name of *host* where that is wanted."""
        if self._translate and not host.startswith(LOCAL_SOCKET):
            messages = [message._replace(sender=f"{message.sender.partition('@')[0]}@{host}") for message in messages]
        self._received(messages)

    @property
    def _heard_topics(self) -> tuple[str, ...]:
        return self._topics if self._new_catch_up is None else (*self._topics, BEATS)

    def _take(self, place: tuple[str, int], messages: list[Message]) -> None:
        """What a publisher said by itself: first what it said, then how far it is."""
        self._unheard.pop(place, None)
        if self._silence is not None:
            self._silence.heard(format_endpoint(*place), messages)
        catch_up = self._catch_ups.get(place)
        if catch_up is None:
            self._received_from(place[0], messages)
            return
        others = [message for message in messages if not _is_beat(message)]
        for message in others:
            catch_up.published(message)
        if others:
            self._received_from(place[0], others)
        for message in messages:
            if _is_beat(message):
                catch_up.beat(message)

    def _look_for_silence(self) -> None:
        if not self._closed and self._silence is not None:
            if not self._paused:
                self._silence.look()
            self._loop.after(LOOK_FOR_SILENCE, self._look_for_silence)

    def _is_this_process(self, place: tuple[str, int]) -> bool:
        return place[1] == self._own_port and is_own_address(place[0])

    def _remove(self, place: tuple[str, int]) -> None:
        if place in self._listeners and place not in self._fixed:
            self._listeners.pop(place).close()
            self._unheard.pop(place, None)
            if place in self._catch_ups:
                self._catch_ups.pop(place).close()
            logger.info("%s is gone", format_endpoint(*place))

    def _told(self, messages: list[Message]) -> None:
        for message in messages:
            self._follow(message.fields)

    def _follow(self, said: Any) -> None:
        """What a name server says of one publisher."""
        services = said.get("service") if isinstance(said, dict) else None
        names = [services] if isinstance(services, str) else services if isinstance(services, list) else []
        if not isinstance(said, dict) or (self._services and not self._services.intersection(map(str, names))):
            return
        uri = said.get("URI")
        try:
            place = parse_endpoint(uri.removeprefix("tcp://") if isinstance(uri, str) else uri)
        except ValueError as error:
            self._useless.say("the name server tells of a publisher without a usable address: %s", error)
            return
        if not said.get("status", True):
            self._remove(place)
        elif place not in self._listeners and self._is_accepted(place):
            self._add(place)

    def _is_accepted(self, place: tuple[str, int]) -> bool:
        complaint = self._accepts(place[0])
        shown = format_endpoint(*place)
        if complaint and shown not in self._refused and len(self._refused) < MOST_PUBLISHERS:
            self._refused.add(shown)
            logger.warning("not listening to %s, of which the name server tells: %s", shown, complaint)
        return not complaint

    # Those that were there before us.

    def _ask_if_unasked(self) -> None:
        """It is known now where the name server is."""
        if not self._asked:
            self._ask()

    def _begin_asking(self, host: str, follow: bool) -> None:
        self._where = Whereabouts(self._loop.names, host, self._ask_if_unasked)
        if follow:
            self._news = Listener(self._loop, host, get_configured_address_port(), ("/address",), self._told)
        self._ask()

    def _ask(self) -> None:
        """Ask the name server for all it knows, now and again."""
        if self._closed or self._nameserver is None or self._where is None:
            return
        self._asked = self._where.address is not None
        if self._where.address is None:
            return
        unanswered = self._question is not None
        self._end_question()
        try:
            self._question = connected(zmq.DEALER, self._where.address, self._nameserver[1])
            self._loop.register(self._question, self._answered)
            send_frames(self._question, b"", self._envelope.encode("/oper/ns", "request", {"service": ""}))
        except zmq.ZMQError as error:
            logger.warning("cannot ask the name server %s: %s", format_endpoint(*self._nameserver), error)
        if unanswered:
            logger.debug("the name server %s does not answer", format_endpoint(*self._nameserver))
        self._loop.after(self._timeout, self._ask_again)

    def _ask_again(self) -> None:
        if self._question is not None:
            self._ask()
        else:
            self._loop.after(max(0.0, ASK_AGAIN - self._timeout), self._ask)

    def _answered(self) -> None:
        assert self._question is not None
        try:
            said = decode(self._loop.incoming.receive(self._question)[-1].bytes).data
        except zmq.Again:
            return
        except MalformedMessage as error:
            logger.warning("the name server answered with something that is no message: %s", error)
            return
        self._end_question()
        for publisher in said if isinstance(said, list) else []:
            self._follow(publisher)

    def _end_question(self) -> None:
        if self._question is not None:
            self._loop.unregister(self._question)
            close(self._question)
            self._question = None


def _kept(asks: list[Asked], newer_than: float, topics: Sequence[str], ended: Callable[[], Any]) -> Asked:
    """Something to ask for, which is among *asks* until somebody has told it."""
    def one_ended() -> None:
        if asked in asks:
            asks.remove(asked)
            ended()
    asked = newer_than, topics, one_ended
    asks.append(asked)
    return asked


def _place(nameserver: str) -> tuple[str, int]:
    """Host and port of a name server: `host`, `host:port`, or a `tcp://` uri."""
    bare = nameserver.removeprefix("tcp://")
    try:
        return parse_endpoint(bare)
    except ValueError:
        return bare, _nameserver_port()


def _is_beat(message: Message) -> bool:
    return message.type == "beat" and message.subject.startswith(BEATS)


def _nameserver_port() -> int:
    """As posttroll is configured; its own function for that has another name in each release."""
    if posttroll_config.get("backend", "") == "secure_zmq" and (asked := getattr(ns, SECURE_PORT, None)) is not None:
        return int(asked())
    return int(posttroll_config.get("nameserver_port", os.environ.get("NAMESERVER_PORT", NAMESERVER_PORT)))
