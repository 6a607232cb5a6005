"""Explaining: where a file or a recorded message would go, and which condition decided. Moves nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

from trollmoves.config.targets import TargetSettings
from trollmoves.dispatcher.destinations import Route
from trollmoves.errors import ConfigurationError, DestinationInvalid
from trollmoves.explaining import read_samples
from trollmoves.queueing.triggers import Trigger, triggers_of


def read_sample(text: str) -> tuple[list[Trigger], bool]:
    """The files that *text* (as for `explaining.read_samples`) speaks of, and whether their subject is known.

    Of a file nothing is known but its path. Raises `ConfigurationError` when it is no sample.
    """
    samples = read_samples(text)
    if samples and samples[0].message is None:
        path = samples[0].path
        return [Trigger("", {"uri": path, "uid": os.path.basename(path)}, "sample", "")], False
    found = [trigger for sample in samples if sample.message is not None for trigger in triggers_of(sample.message)]
    if not found:
        raise ConfigurationError("the message names no file: dispatched are file, dataset and collection messages with a uri")
    return found, True


def explain_sample(text: str, targets: Mapping[str, TargetSettings]) -> Iterator[str]:
    """The lines of `explain` for all files that a sample speaks of. Raises `ConfigurationError` when it is none."""
    triggers, with_subject = read_sample(text)
    for trigger in triggers:
        yield from explain(trigger, targets, with_subject=with_subject)


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
