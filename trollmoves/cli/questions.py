"""What `move_it_req.py` asks, and how each answer is shown."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from trollmoves.errors import MalformedMessage, TrollmovesError
from trollmoves.messages import EXTENSION, LARGEST_WHOLE, PROTOCOL, Envelope, Message, decode, uids_of, uris_of
from trollmoves.uris import format_endpoint, printable

Show = Callable[[list[str], dict[str, Any]], None]
"""Prints an answer, given as lines and as an object."""


class NoAnswer(TrollmovesError):
    """The server did not answer, or not with what was asked for."""


@dataclass(frozen=True, slots=True)
class Server:
    """Whom to ask, and how long to wait."""

    host: str
    port: int
    timeout: float

    def __str__(self) -> str:
        return format_endpoint(self.host, self.port)

    def ask(self, subject: str, kind: str, data: dict[str, Any]) -> Message:
        """The reply. Raises `NoAnswer` when there is none, or one that says no."""
        from trollmoves.bus.questions import TRIES, ask
        from trollmoves.bus.sockets import message_version
        try:
            raw = Envelope.of_this_process(message_version()).encode(subject, kind, data)
        except MalformedMessage as error:
            raise NoAnswer(f"this cannot be asked: {error}") from error
        reply = ask(self.host, self.port, raw, self.timeout)
        if reply is None:
            raise NoAnswer(f"{self} does not answer ({TRIES} tries of {self.timeout:g} s); is this its request_port?")
        return reply


def _extension(**more: Any) -> dict[str, Any]:
    from trollmoves.bus.requesting import new_request
    return {EXTENSION: {"version": PROTOCOL, "request": new_request(), **more}}


def _ping(server: Server, options: argparse.Namespace, show: Show) -> int:
    began = time.monotonic()
    reply = _expected(server.ask("ping/pong", "ping", {**options.extra, **_extension()}), "pong", server)
    milliseconds = round((time.monotonic() - began) * 1000, 1)
    ours, station = reply.extension, reply.fields.get("station")
    lines = [f"{server} is there: station {station}, {milliseconds} ms"]
    if "epoch" in ours and ours.get("epoch"):
        load = f"; queued or running: {ours.get('load')}" if "load" in ours else ""
        lines.append(f"  announced so far: {ours.get('head')}{load}; can {', '.join(map(str, _list(ours, 'capabilities')))}")
    show(lines + _details(options, reply), {"server": str(server), "milliseconds": milliseconds, **reply.fields})
    return 0


def _info(server: Server, options: argparse.Namespace, show: Show) -> int:
    reply = _expected(server.ask(f"/{options.info.lstrip('/')}", "info", options.extra), "info", server)
    files = reply.fields.get("files")
    if not isinstance(files, list):
        raise NoAnswer(f"{server} answered without a list of files")
    note = [f"{len(files)} announced file(s), newest first; the server has run for {reply.fields.get('uptime')}"]
    show([*map(str, files), *note, *_details(options, reply)], {"server": str(server), **reply.fields})
    return 0


def _replay(server: Server, options: argparse.Namespace, show: Show) -> int:
    count = 0
    for raw in _replayed(server, options):
        count += 1
        try:
            message = decode(raw.encode())
        except MalformedMessage as error:
            raise NoAnswer(f"{server} would tell something that is no message: {error}") from error
        named = uris_of(message.fields) if options.verbose else uids_of(message.fields)
        show([f"{message.time}  {message.subject} {message.type}  {', '.join(named)}"],
             {"subject": message.subject, "type": message.type, "sender": message.sender, "time": message.time,
              "data": message.data})
    print(f"{count} message(s)", file=sys.stderr)
    return 0


def _replayed(server: Server, options: argparse.Namespace) -> Iterator[str]:
    """The messages, page by page, oldest first."""
    newer_than = 0.0 if options.since is None else time.time() - options.since
    topics = [topic if topic.startswith("/") or not topic else f"/{topic}" for topic in options.topic] or [""]
    position, epoch = 0, None
    while True:
        asked = _extension(since=position, topics=topics, newer_than=newer_than, **({"epoch": epoch} if epoch else {}))
        said = _expected(server.ask(topics[0] or "/", "replay", {**options.extra, **asked}), "replay", server).extension
        messages, to = said.get("messages"), said.get("to")
        if not isinstance(messages, list) or type(to) is not int or not position <= to <= LARGEST_WHOLE:
            raise NoAnswer(f"{server} answered with something that is no page of messages")
        if epoch not in (None, said.get("epoch")):
            raise NoAnswer(f"the journal of {server} was replaced meanwhile; ask again")
        if epoch is None and said.get("truncated"):
            print(printable(f"note: what was announced before number {said.get('oldest')} is no longer kept"), file=sys.stderr)
        yield from map(str, messages)
        if not said.get("more"):
            return
        if to == position:
            raise NoAnswer(f"{server} says there is more after {to}, and does not tell it")
        position, epoch = to, said.get("epoch")


def _status(server: Server, options: argparse.Namespace, show: Show) -> int:
    data = {EXTENSION: {"version": PROTOCOL, "request": options.status}}
    reply = server.ask("/", "status", {**options.extra, **data})
    said = reply.extension
    answer = {"server": str(server), "request": options.status, "type": reply.type, **said}
    if reply.type == "pending":
        show([f"{options.status} is under way: {said.get('done')} of {said.get('total')} bytes"], answer)
        return 0
    if said.get("state") in ("held", "covered"):
        what = "waits for another member of its group, which has the lease" if said["state"] == "held" else \
            "is not needed: another member of its group has published the file"
        show([f"{options.status} {what}"], answer)
        return 0
    if said.get("state") == "delivered":
        show([f"{options.status} is delivered: {said.get('destination_uri')}, verified: {said.get('verified')}"], answer)
        return 0
    if reply.type == "results" and isinstance(said.get("results"), list):
        return _status_in_group(said["results"], options, show, answer)
    if said.get("code") == "unknown_request":
        raise NoAnswer(f"{server} is not busy with {options.status}: it is over (`trollmoves trace` shows how it ended), or was "
                       "never made")
    error = reply.fields.get("error")
    if said.get("code") and error:
        show([f"{options.status} failed: {error} ({said['code']})"], {**answer, "error": error})
        return 1
    _expected(reply, "pending", server)
    return 1


def _status_in_group(results: list[Any], options: argparse.Namespace, show: Show, answer: dict[str, Any]) -> int:
    """The outcome of a request that was made together with others comes in a list."""
    mine = [result for result in results if isinstance(result, dict) and result.get("request") == options.status]
    if not mine:
        raise NoAnswer("the answer is about other requests")
    one, state = mine[0], mine[0].get("state")
    what = {"delivered": f"is delivered: {one.get('destination_uri')}", "held": "waits for another member of its group",
            "moving": f"is under way: {one.get('done')} of {one.get('total')} bytes",
            "covered": "is not needed: another member of its group has published the file",
            }.get(str(state), f"failed: {one.get('error')}")
    show([f"{options.status} {what}"], {**{key: answer[key] for key in ("server", "type")}, **one})
    return 0 if state in ("delivered", "held", "moving", "covered") else 1


def _cancel(server: Server, options: argparse.Namespace, show: Show) -> int:
    asked = {**options.extra, **_extension(requests=[options.cancel], for_all=True)}
    reply = _expected(server.ask("/", "cancel", asked), "ack", server)
    ended = options.cancel in _list(reply.extension, "cancelled")
    show([f"{options.cancel} is cancelled; its client and others of its group give the file up"] if ended else
         [f"{server} is not busy with {options.cancel}: it is over, or was never made"],
         {"server": str(server), "request": options.cancel, "cancelled": ended})
    return 0 if ended else 1


def _expected(reply: Message, kind: str, server: Server) -> Message:
    """The reply, if it is of that type. Raises `NoAnswer` saying what it is instead."""
    if reply.type == kind:
        return reply
    if reply.type == "unknown":
        raise NoAnswer(f"{server} does not know this question (an upstream server answers ping and info only)")
    text = reply.fields.get("error") or (reply.data if isinstance(reply.data, str) else "")
    raise NoAnswer(f"{server} answered {reply.type}{f': {text}' if text else ''}")


def _list(said: dict[str, Any], name: str) -> list[Any]:
    """What a server gives a list of, and may give anything for."""
    found = said.get(name)
    return found if isinstance(found, list) else []


def _details(options: argparse.Namespace, reply: Message) -> list[str]:
    return [f"  {reply.subject} {reply.type} {reply.sender} {reply.time} {json.dumps(reply.data)}"] if options.verbose else []


ASKING: dict[str, Callable[[Server, argparse.Namespace, Show], int]] = {
    "ping": _ping, "info": _info, "replay": _replay, "status": _status,
    "cancel": _cancel}
"""Each shows its answer and returns the exit status. Raises `NoAnswer`."""
