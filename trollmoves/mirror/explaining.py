"""Explaining: what a mirror would make of an announcement or of a request, and what decided. Announces and fetches nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from functools import partial
from typing import Any

from trollmoves.client.addressing import Addressing
from trollmoves.client.explaining import providers_of, trouble_with
from trollmoves.config.mirrors import MirrorSettings
from trollmoves.errors import ConfigurationError, DestinationInvalid
from trollmoves.explaining import ONLY_NAME, Sample, explain_each, named
from trollmoves.messages import Message, read_announcement
from trollmoves.mirror.parts import Store, parts_of
from trollmoves.mirror.relaying import MOST_MIRRORS, names_of, via
from trollmoves.server.explaining import explain_push, requests_and_removal


def explain_sample(text: str, chains: Mapping[str, MirrorSettings]) -> Iterator[str]:
    """Lines that say what each section would make of the sample. Raises `ConfigurationError` when it is none."""
    return explain_each(text, chains, partial(named, remark=ONLY_NAME), _lines)


def _lines(sample: Sample, settings: MirrorSettings) -> Iterator[str]:
    message = sample.message
    if message is None:
        fields = {"uid": os.path.basename(sample.path), "uri": sample.path}
        yield from _relayed(fields, "its provider", "its subject", settings)
    elif message.type == "push" and "destination" in message.fields:
        yield from explain_push(message, settings, settings.client_topic)
    else:
        yield from _of_announcement(message, settings)


def _of_announcement(message: Message, settings: MirrorSettings) -> Iterator[str]:
    trouble = trouble_with(message, settings.front)
    passed = via(message)
    if not trouble and len(passed) > MOST_MIRRORS:
        trouble = f"it has passed through {len(passed)} mirrors"
    if trouble:
        yield f"no, {trouble}"
        return
    yield f"yes, if it comes from {' or '.join(providers_of(message, settings.front))}" + (
        f", and has not passed through this mirror before (it has through {', '.join(passed)})" if passed else "")
    yield from _relayed(message.fields, read_announcement(message).address, message.subject, settings)


def _relayed(fields: Mapping[str, Any], address: str, subject: str, settings: MirrorSettings) -> Iterator[str]:
    try:
        parts = parts_of(fields)
        place = Addressing(settings.front).place(fields)
    except (ConfigurationError, DestinationInvalid) as error:
        yield f"no, {error}"
        return
    names = names_of(settings)
    if not all(fnmatchcase(part.name, names) for part in parts):
        yield f"no, origin lets through {names} only"
        return
    store, wait = Store(settings.front), f" after {settings.delay:g} s (delay)" if settings.delay else ""
    yield f"-> announced under {subject}{wait}"
    yield f"when somebody asks for it, {address} is asked to move it to {place.noticed}"
    yield f"kept as {', '.join(store.path_of(place.destination.path, part) for part in parts)}"
    yield from requests_and_removal(settings)
