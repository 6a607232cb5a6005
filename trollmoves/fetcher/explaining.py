"""Explaining: what a fetcher would make of a message, and what decided. Fetches nothing; of a file of this machine it is seen
whether it may be read."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial

from trollmoves.config.fetching import FetchingSettings
from trollmoves.errors import Denied, DestinationInvalid, MalformedMessage, MoveError
from trollmoves.explaining import Sample, explain_each, named
from trollmoves.fetcher.fetching import Plan, plan_and_receiver
from trollmoves.fetcher.reading import FetchingConfiguration
from trollmoves.messages import dumps
from trollmoves.queueing.triggers import Trigger, triggers_of


def explain_sample(text: str, configuration: FetchingConfiguration) -> Iterator[str]:
    """Lines that say what becomes of the sample. Raises `ConfigurationError` when it is none."""
    topics = configuration.subscriber.topics
    return explain_each(text, configuration.chains, partial(named, remark="no message: topics are not looked at"),
                        lambda sample, settings: _lines(sample, topics, settings))


def _lines(sample: Sample, topics: tuple[str, ...], settings: FetchingSettings) -> Iterator[str]:
    plan, _ = plan_and_receiver(settings)
    if sample.message is None:
        fields = {"uri": sample.path, "uid": os.path.basename(sample.path)}
        yield from _of_file(Trigger("", fields, "sample", ""), plan)
        return
    topic = next((topic for topic in topics if sample.message.subject.startswith(topic)), None)
    if topic is None:
        yield f"no, the subject begins with none of {', '.join(topics)}"
        return
    triggers = list(triggers_of(sample.message))
    if not triggers:
        yield "no, it names no file: fetched are those of file, dataset and collection messages with a uri"
    for trigger in triggers:
        yield from _of_file(trigger, plan)


def _of_file(trigger: Trigger, plan: Plan) -> Iterator[str]:
    try:
        place = plan.place(trigger.fields)
        plan.rights.check(place)
        path = plan.path(trigger.fields, place)
        if place.outermost.protocol == "file":
            with plan.opener.opened(place):
                pass
    except (MalformedMessage, Denied, DestinationInvalid, MoveError) as error:
        yield f"no, {error}"
        return
    yield f"-> fetched from {place} to {path}"
    subject, data = plan.report(trigger.subject, trigger.fields, path)
    yield f"-> published under {subject or 'its subject'}: {dumps(data).decode('utf-8', 'replace')}"
