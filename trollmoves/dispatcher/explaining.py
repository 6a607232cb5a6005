"""Explaining: where a file or a recorded message would go, and which condition decided. Moves nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from trollmoves.config.targets import TargetSettings
from trollmoves.dispatcher.destinations import Route
from trollmoves.dispatcher.triggers import Trigger, triggers_of
from trollmoves.errors import ConfigurationError, DestinationInvalid, MalformedMessage
from trollmoves.messages import MAGIC, decode

LARGEST = 16 * 2**20
"""Bytes of a file with recorded messages; larger ones are files to be dispatched."""


def read_sample(text: str) -> tuple[list[Trigger], bool]:
    """The files that *text* speaks of, and whether their subject is known.

    *text* is a message, the path of a file with messages (one a line), or the path of any other file, of which nothing is known
    but its path. Raises `ConfigurationError` when it is none of these.
    """
    if text.startswith(MAGIC):
        return _recorded([text.encode()]), True
    path = Path(text)
    if not path.is_file():
        raise ConfigurationError(f"{text}: is neither a file nor a message; a message begins with {MAGIC}")
    with path.open("rb") as file:
        if file.read(len(MAGIC)) == MAGIC.encode() and path.stat().st_size <= LARGEST:
            return _recorded(path.read_bytes().splitlines()), True
    whole = os.path.abspath(path)
    return [Trigger("", {"uri": whole, "uid": path.name}, "sample", "")], False


def _recorded(lines: list[bytes]) -> list[Trigger]:
    try:
        found = [trigger for line in lines if line.strip() for trigger in triggers_of(decode(line))]
    except MalformedMessage as error:
        raise ConfigurationError(f"the message cannot be read: {error}") from error
    if not found:
        raise ConfigurationError("the message names no file: dispatched are file, dataset and collection messages with a uri")
    return found


def explain(trigger: Trigger, targets: Mapping[str, TargetSettings], *, with_subject: bool) -> Iterator[str]:
    """Lines that say what each target and item would make of the file. Without a subject any topic will do."""
    yield f"{trigger.uri}" + (f" under {trigger.subject}" if with_subject else " (no message: topics are not looked at)")
    for name, target in targets.items():
        yield f"  [{name}]"
        for number, item in enumerate(target.dispatch_configs, 1):
            route = Route(item)
            topic = route.takes(trigger.subject) if with_subject else " or ".join(route.topics)
            if topic is None:
                yield f"    item {number}: no, the topic is none of {', '.join(route.topics)}"
                continue
            decision = route.decide(trigger.fields)
            yield f"    item {number}: {'yes' if decision.accepted else 'no'}, topic {topic}"
            yield from (f"      {reason}" for reason in decision.reasons)
            if decision.accepted:
                yield f"      -> {_where(route, trigger)}"


def _where(route: Route, trigger: Trigger) -> str:
    try:
        created = os.stat(trigger.path).st_ctime
    except (OSError, ValueError):
        created = None
    try:
        return str(route.destination(trigger.fields, os.path.basename(trigger.path), created))
    except (ConfigurationError, DestinationInvalid) as error:
        return f"nowhere: {error}"
