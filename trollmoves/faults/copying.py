"""Sections of an operator's configuration with every place, address, port and secret of theirs replaced or left out.

What is copied stands in a list of options that name no place; whatever else a section says is left out, also what comes with a
later release. So nothing that happens to the copy can reach what the original is for.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from trollmoves.config.settings import ClientSettings, ServerSettings
from trollmoves.errors import ConfigurationError
from trollmoves.patterns import Pattern

COPIED_OF_BOTH = frozenset(("topic", "retention", "retention_entries", "req_timeout", "transfer_req_timeout"))
COPIED_OF_SERVERS = COPIED_OF_BOTH | {
    "info", "station", "delete", "delete_after", "watch_interval", "watchdog_timeout", "settle", "reconcile", "workers",
    "transfers_per_host", "bandwidth_per_host", "queued_requests", "max_request_size", "connect_timeout", "stall_timeout",
    "min_rate", "fsync", "checksum", "overwrite", "link", "directory_mode", "file_mode"}
COPIED_OF_CLIENTS = COPIED_OF_BOTH | {
    "heartbeat", "heartbeat_alarm_scale", "processing_delay", "group", "in_flight", "catch_up"}
REPLACED = frozenset(("origin", "request_port", "request_address", "listen_address", "remove_delay", "providers", "destination",
                      "publish_port", "nameservers"))
SOON = "2"
"""Seconds until a delivered origin is removed; nobody wants to wait for the usual half minute."""

Options = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Feed:
    """Where files of one section of a server are written."""

    server: int
    directory: Path
    pattern: Pattern
    """Of the path below `directory`."""
    topic: str


def copied(options: Options, allowed: frozenset[str]) -> dict[str, str]:
    return {name: text for name, text in options.items() if name in allowed}


def left_out(options: Options, allowed: frozenset[str]) -> list[str]:
    """Names of what the copy lacks."""
    return sorted(options.keys() - allowed - REPLACED)


def feed_of(settings: ServerSettings, server: int, directory: Path) -> Feed:
    """Raises `ConfigurationError` for a section that watches no directory."""
    if settings.origin is None or settings.request_port is None:
        raise ConfigurationError(f"[{settings.name}] is fed by messages or serves nobody: only sections with `origin` and "
                                 "`request_port` can be tried; leave it out of a copy of the file")
    original = Pattern(settings.origin)
    below = "/".join(original.text.split("/")[-(original.depth + 1):])
    if ".." in below.split("/"):
        raise ConfigurationError(f"[{settings.name}] origin leads upwards with `..`; write it without")
    return Feed(server, directory, Pattern(below), settings.topic)


def server_section(options: Options, feed: Feed, request_port: int, request_address: str) -> dict[str, str]:
    return {**copied(options, COPIED_OF_SERVERS), "origin": f"{feed.directory}/{feed.pattern.text}", "remove_delay": SOON,
            "request_port": str(request_port), "request_address": request_address, "listen_address": "127.0.0.1"}


def client_section(options: Options, settings: ClientSettings, directory: Path, providers: Iterable[str],
                   publish_port: int) -> dict[str, str]:
    """Files keep their names: a destination is taken for a directory."""
    place = re.sub(r"^[A-Za-z][A-Za-z0-9+.-]*://[^/]*", "", settings.destination.reveal()).partition("?")[0].strip("/")
    if ".." in place.split("/"):
        raise ConfigurationError(f"[{settings.name}] destination leads upwards with `..`; write it without")
    return {**copied(options, COPIED_OF_CLIENTS), "destination": f"file://{directory}/{place}/".replace("//{", "/{"),
            "providers": " ".join(dict.fromkeys(providers)), "publish_port": str(publish_port), "nameservers": "false",
            "listen_address": "127.0.0.1"}
