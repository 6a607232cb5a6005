"""Reporting: the messages about files that were dispatched, or could not be."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from trollmoves.dispatcher.destinations import Route
from trollmoves.errors import ConfigurationError, MalformedMessage
from trollmoves.messages import Envelope, moment
from trollmoves.movers.base import Receipt
from trollmoves.patterns import Template
from trollmoves.queueing.triggers import Trigger
from trollmoves.uris import hide_password, local_path

logger = logging.getLogger(__name__)


def report_success(envelope: Envelope, route: Route, trigger: Trigger, receipt: Receipt) -> tuple[str, bytes] | None:
    """Subject and message about a dispatched file: what was said of it, with the path it has there. None without a subject."""
    data = {**trigger.fields, "uri": local_path(receipt.uri)}
    return _message(envelope, route.settings.publish_topic, "file", data)


def report_failure(envelope: Envelope, target: str, route: Route, trigger: Trigger, error: str, *, final: bool) \
        -> tuple[str, bytes] | None:
    """The same about a file that could not be dispatched: what was said of it, and what went wrong. *final*: it is given up."""
    data = {**trigger.fields, "target": target, "destination": route.place, "error": hide_password(error), "final": final}
    return _message(envelope, route.settings.failure_topic, "err", data)


def _message(envelope: Envelope, topic: str | None, kind: str, data: Mapping[str, Any]) -> tuple[str, bytes] | None:
    if topic is None:
        return None
    try:
        fields = {name: value if name in ("uid", "uri") else moment(value) for name, value in data.items()}
        subject = Template(topic).compose(fields)
        return subject, envelope.encode(subject, kind, data)
    except (ConfigurationError, MalformedMessage) as error:
        logger.error("nothing is published of %s: %s", data.get("uid"), error)
        return None
