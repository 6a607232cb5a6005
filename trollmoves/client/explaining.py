"""Explaining: what a client would make of an announcement, and what decided. Asks for nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from trollmoves.client.addressing import Addressing, Place
from trollmoves.config.settings import ClientSettings
from trollmoves.errors import ConfigurationError, DestinationInvalid, MalformedMessage
from trollmoves.explaining import ONLY_NAME, Sample, explain_each, named
from trollmoves.messages import EXTENSION, Message, dumps, read_announcement, uids_of
from trollmoves.unpacking import is_packed

NOTICES = {"push": "a notice that another client asks for the file", "ack": "a notice that another client has the file",
           "beat": "a heartbeat"}


def explain_sample(text: str, chains: Mapping[str, ClientSettings]) -> Iterator[str]:
    """Lines that say what each section would make of the sample. Raises `ConfigurationError` when it is none."""
    return explain_each(text, chains, partial(named, remark=ONLY_NAME), _lines)


def _lines(sample: Sample, settings: ClientSettings) -> Iterator[str]:
    if sample.message is None:
        yield from _request({"uid": os.path.basename(sample.path), "uri": sample.path}, "its provider", settings)
        return
    message = sample.message
    trouble = trouble_with(message, settings)
    if trouble:
        yield f"no, {trouble}"
        return
    yield f"yes, if it comes from {' or '.join(providers_of(message, settings))}"
    if settings.processing_delay:
        yield f"hot spare: it is left to the primary for {settings.processing_delay:g} s (processing_delay)"
    yield from _request(message.fields, read_announcement(message).address, settings)


def providers_of(message: Message, settings: ClientSettings) -> list[str]:
    """Those at which its subject is listened to."""
    return [str(provider) for provider in settings.providers if message.subject.startswith(settings.topic_at(provider))]


def trouble_with(message: Message, settings: ClientSettings) -> str:
    """Why the file of a message would not be asked for; empty when it would."""
    if not providers_of(message, settings):
        topics = dict.fromkeys(settings.topic_at(provider) for provider in settings.providers)
        return f"the subject begins with none of {', '.join(topics)}"
    if message.type in NOTICES:
        return f"it is {NOTICES[message.type]}, and nothing to ask for"
    if "request_address" not in message.fields:
        return "it has no request_address: a notice that another client has published the file"
    try:
        read_announcement(message)
    except MalformedMessage as error:
        return str(error)
    return ""


def _request(fields: Mapping[str, Any], address: str, settings: ClientSettings) -> Iterator[str]:
    addressing = Addressing(settings)
    try:
        place = addressing.place(fields)
    except (ConfigurationError, DestinationInvalid) as error:
        yield f"-> cannot be asked for: {error}"
        return
    login = " (with the login of the section)" if settings.login is not None else ""
    yield f"-> asks {address} for {place.noticed}{login}"
    if place.directory is not None:
        yield f"makes the directory {place.directory} on this machine (create_target_directory)"
    yield from _published(fields, address, place, addressing, settings)


def _published(fields: Mapping[str, Any], address: str, place: Place, addressing: Addressing,
               settings: ClientSettings) -> Iterator[str]:
    compression = settings.compression
    packed = [uid for uid in uids_of(fields) if compression is not None and is_packed(uid, compression)]
    if packed:
        yield f"unpacks {', '.join(packed)} (compression = {compression}), and publishes what comes out"
    data = addressing.published_data({name: value for name, value in fields.items() if name != EXTENSION}, address, place)
    yield f"-> publishes {dumps(data).decode('utf-8', 'replace')}"
