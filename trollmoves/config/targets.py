"""Every option of a dispatcher: of its subscription, of a target, of one item of a target's `dispatch_configs`."""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer

from trollmoves.config import places, values
from trollmoves.config.hidden import HiddenUri, Parameters
from trollmoves.config.settings import (
    AtATime,
    Bandwidth,
    ChainSettings,
    Checksum,
    FsyncOrNot,
    Mapped,
    MinimalRate,
    Mode,
    Nameserver,
    Overwrite,
    Publishers,
    Seconds,
    Timeout,
    Words,
    option,
)
from trollmoves.errors import ConfigurationError, DestinationInvalid
from trollmoves.patterns import Template
from trollmoves.uris import Destination, parse_destination


def _template(value: Any) -> Any:
    """Text with fields of the message."""
    if isinstance(value, str):
        try:
            Template(value)
        except ConfigurationError as error:
            raise ValueError(f"is malformed: {error}") from None
    return value


def _topic_template(value: Any) -> Any:
    """A subject, with fields of the message."""
    text = _template(value)
    if isinstance(text, str) and re.search(r"\s", re.sub(r"\{[^{}]*\}", "", text)):
        raise ValueError("holds white space, which separates the fields of a message; write for example /dispatched/{sensor}")
    return "/" + text.lstrip("/") if isinstance(text, str) else text


def _host(value: Any) -> Any:
    """Scheme, login, host and port of a target; empty for this machine."""
    if not isinstance(value, str):
        return value
    if value:
        if not re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", value):
            raise ValueError("has no scheme; write for example sftp://user@host, or '' for this machine")
        try:
            root_of(value)
        except DestinationInvalid:
            raise ValueError("is malformed; write for example sftp://user@host or ftp://host:2121") from None
    return HiddenUri(value)


def root_of(host: str) -> Destination:
    """The root directory of a target's host; what follows the host in its text is left out. Raises `DestinationInvalid`."""
    scheme, mark, rest = host.partition("://")
    return parse_destination(f"{scheme}://{re.split('[/?#]', rest)[0]}/" if mark else "/")


def read_topics(value: Any) -> Any:
    """Beginnings of subjects, each with its slash."""
    found = values.words(value)
    return tuple(dict.fromkeys(map(places.topic, found))) if isinstance(found, tuple) else found


def read_directories(value: Any) -> Any:
    found = values.words(value)
    return tuple(map(places.directory, found)) if isinstance(found, tuple) else found


TemplateText = Annotated[str | None, BeforeValidator(_template)]
TopicTemplate = Annotated[str | None, BeforeValidator(_topic_template)]
Place = Annotated[HiddenUri | None, BeforeValidator(_host), PlainSerializer(lambda host: host and str(host))]


class SubscriberSettings(BaseModel):
    """What `posttroll_subscriber` says: whom to listen to."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)

    subscribe_addresses: Publishers = option(
        (), "publishers to listen to, by address: a list of `tcp://host:port` or `ipc://path`")
    nameserver: Nameserver = option("localhost", "host of the name server that knows the publishers; false for none")
    subscribe_services: Words = option((), "publishers to take from the name server, by name; all if left out")


class ItemSettings(BaseModel):
    """One item of `dispatch_configs`, completed by what the target says: which messages, and where their files go."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, arbitrary_types_allowed=True, hide_input_in_errors=True)

    topics: Annotated[tuple[str, ...], BeforeValidator(read_topics)]
    conditions: Any = None
    """As `dispatcher.conditions` reads them; None takes every message."""
    host: Place = None
    directory: TemplateText = None
    filepattern: TemplateText = None
    aliases: Any = ()
    """As `dispatcher.destinations` reads them."""
    connection_parameters: Mapped = Parameters()
    publish_topic: TopicTemplate = None
    failure_topic: TopicTemplate = None

    OVERRIDABLE: ClassVar[tuple[str, ...]] = (
        "host", "directory", "filepattern", "aliases", "connection_parameters", "publish_topic", "failure_topic")
    """What an item may say differently from its target."""


class TargetSettings(ChainSettings):
    """One target of a dispatcher."""

    host: Place = option(
        None, "where files go: scheme, login, host, port, as in `sftp://user@host:2222`; `''` for this machine. Needed here or "
              "in each item")
    directory: TemplateText = option(None, "directory there, with fields of the message in braces. Needed here or in each item")
    filepattern: TemplateText = option(
        None, "name of the file there, with fields of the message and `file_creation_time`; that of the origin if left out")
    dispatch_configs: tuple[ItemSettings, ...] = option(
        (), "which messages: a list of items with `topics`, `conditions`, and what is different from the target")
    aliases: Any = option(
        (), "fields to replace where a path is composed: `field: {value: replacement}`, or a list of such mappings, each with "
            "`_alias_name` where it makes a new field")
    publish_topic: TopicTemplate = option(
        None, "subject of the message about a dispatched file, with fields of the message; needs `-p`")
    failure_topic: TopicTemplate = option(
        None, "subject of the message (type `err`) when a file could not be dispatched at once, and when it is given up; "
              "needs `-p`")
    connection_parameters: Mapped = option(Parameters(), "settings of the mover, as a mapping")
    backup_targets: Words = option((), "other hosts, tried when the first is unreachable")
    allowed_origins: Annotated[tuple[str, ...], BeforeValidator(read_directories)] = option(
        (), "directories that files may come from, whatever a message says; all but hidden ones if left out")

    give_up_after: Seconds = option(86400.0, "age of a message at which its file is tried no more", "24h")
    transfers_per_host: AtATime = option(
        None, "transfers at a time to the same host; `auto` is what suits the kind of destination", "auto")
    bandwidth_per_host: Bandwidth = option(
        None, "bytes per second to the same host, of all its transfers together: `512k`, `10M`; `none` for no limit", "none")
    connect_timeout: Timeout = option(10.0, "seconds to connect and log in")
    stall_timeout: Timeout = option(60.0, "seconds without a byte moving after which a transfer is tried again")
    min_rate: MinimalRate = option(
        None, "bytes per second: a transfer slower than that, and `stall_timeout` besides, is tried again; `none`: never", "none")
    fsync: FsyncOrNot = option("never", "make a delivered file survive a power loss before it is reported: always, never")
    checksum: Checksum = option(
        "auto", "compare checksums of what was sent and what arrived: always, never, or `auto`: where they cost nothing")
    overwrite: Overwrite = option(
        "identical", "a file that is there already: `replace` it; leave it if `identical`, else replace it; `never` replace it")
    directory_mode: Mode = option(0o755, "permissions of directories made there; `keep` for as they come", "755")
    file_mode: Mode = option(None, "permissions of dispatched files; `keep` for those of the origin", "keep")

    ELSEWHERE: ClassVar[frozenset[str]] = frozenset(("listen_address", "expect"))
