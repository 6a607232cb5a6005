"""Explaining: where move_it would move a file, and what decided. Moves nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

from trollmoves.config.moves import MoveSettings
from trollmoves.errors import DestinationInvalid
from trollmoves.explaining import Sample, explain_each, named
from trollmoves.move_it.moving import Place
from trollmoves.patterns import Pattern
from trollmoves.server.explaining import trouble_with


def explain_sample(text: str, chains: Mapping[str, MoveSettings]) -> Iterator[str]:
    """Lines that say what each section would make of the sample. Raises `ConfigurationError` when it is none."""
    return explain_each(text, chains, named, _lines)


def _lines(sample: Sample, settings: MoveSettings) -> Iterator[str]:
    if sample.message is not None:
        yield "no, it watches a directory and hears no messages"
        return
    path, pattern = sample.path, Pattern(settings.origin)
    trouble = trouble_with(path, pattern, empty="")
    if trouble:
        yield f"no, {trouble}"
        return
    yield f"yes, origin {settings.origin} takes it"
    if settings.compression is not None:
        yield f"compression: what has the ending of {settings.compression} is unpacked, and moved is what comes out"
    fields = {**settings.info.plain(), "uri": path, "uid": os.path.basename(path), **(pattern.parse(path) or {})}
    for found in settings.destinations:
        place = Place(found.reveal())
        try:
            yield f"-> moved to {place.destination(fields).exact}"
        except DestinationInvalid as error:
            yield f"-> not moved to {place.label}: {error}"
    yield f"published under {settings.topic}, once for each, if there is a port (-p)" if settings.topic else "published nowhere: \
there is no topic"
    if settings.delete:
        yield "removed when it is at all of them (delete)"
