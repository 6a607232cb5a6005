"""Every option of pytroll-fetcher and of s3downloader."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer

from trollmoves.config import places, values
from trollmoves.config.hidden import Parameters
from trollmoves.config.settings import (
    Bandwidth,
    ChainSettings,
    FsyncOrNot,
    Mapped,
    Mode,
    Nameserver,
    Publishers,
    Seconds,
    Timeout,
    Words,
    option,
    required,
)
from trollmoves.config.targets import TemplateText, read_directories, read_topics

USUAL = ("file", "sftp", "ftp", "http", "https", "s3", "tar", "zip")


def read_protocols(value: Any) -> Any:
    """Names as messages have them; `local` and `ssh` are other names of `file` and `sftp`."""
    found = values.words(value)
    if not isinstance(found, tuple) or not all(isinstance(name, str) for name in found):
        raise ValueError("is no list of names; write for example [sftp, s3]")
    return tuple(dict.fromkeys({"local": "file", "ssh": "sftp"}.get(name.lower(), name.lower()) for name in found))


def read_options(value: Any) -> Any:
    """By protocol, or `protocol://host`, what to add to the arguments of a filesystem."""
    if not isinstance(value, dict) or not all(isinstance(more, dict) for more in value.values()):
        raise ValueError("is no mapping of mappings; write for example `sftp: {username: ingest}`")
    names = {"local": "file", "ssh": "sftp"}
    found = {}
    for name, more in value.items():
        protocol, mark, host = str(name).partition("://")
        found[names.get(protocol.lower(), protocol.lower()) + mark + host] = more
    return Parameters(found)


def _port(value: Any) -> Any:
    return values.number_of(0, 65535)(str(value)) if isinstance(value, int | str) and not isinstance(value, bool) else value


def _nameservers(value: Any) -> Any:
    if value is False or isinstance(value, tuple):
        return value
    return values.false_or_words(value)


class SubscriberConfig(BaseModel):
    """`subscriber_config`: whom to listen to, as posttroll's `create_subscriber_from_dict_config` takes it."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)

    topics: Annotated[tuple[str, ...], BeforeValidator(read_topics)] = option(
        ("",), "subjects to listen to, as beginnings; all if left out", "")
    addresses: Publishers = option(
        (), "publishers to listen to, by address: a list of `tcp://host:port` or `ipc://path`")
    nameserver: Nameserver = option("localhost", "host of the name server that knows the publishers; false for none")
    services: Words = option((), "publishers to take from the name server, by name; all if left out")

    IDLE: ClassVar[dict[str, str]] = {
        "addr_listener": "publishers that announce themselves are heard of through the name server",
        "timeout": "the name server is asked until it answers",
        "translate": "senders are not rewritten",
        "message_filter": "all messages under the topics are looked at"}
    """What posttroll takes as well."""


class PublisherConfig(BaseModel):
    """`publisher_config`: where results are published, as posttroll's `create_publisher_from_dict_config` takes it."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)

    name: str = option("fetcher", "name of the publisher for name servers")
    port: Annotated[int, BeforeValidator(_port)] = option(0, "port to publish on; 0 for a random one")
    nameservers: Annotated[tuple[str, ...] | Literal[False] | None, BeforeValidator(_nameservers)] = option(
        None, "hosts of the nameservers told of this publisher; false for none; if left out it is announced by multicast")
    address: Annotated[str, BeforeValidator(places.host)] = option("*", "address the socket is bound to")

    IDLE: ClassVar[dict[str, str]] = {
        "aliases": "the publisher has one name",
        "broadcast_interval": "it is announced every two seconds",
        "min_port": "set POSTTROLL_PUB_MIN_PORT in the environment",
        "max_port": "set POSTTROLL_PUB_MAX_PORT in the environment"}


class FetchingSettings(ChainSettings):
    """What both programs have."""

    replay_port: Annotated[int, BeforeValidator(_port)] = option(
        0, "port where what was published can be asked for again; 0 for a random one")
    give_up_after: Seconds = option(86400.0, "age of a message at which its file is tried no more", "24h")
    transfers_per_host: Annotated[int, BeforeValidator(values.number_of(1, 256))] = option(
        4, "files fetched at a time from the same host")
    bandwidth: Bandwidth = option(None, "bytes per second, of all files together: `512k`, `10M`; `none` for no limit", "none")
    max_size: Annotated[int | None, BeforeValidator(values.bytes_or_none(1, 1024**5))] = option(
        None, "bytes; a longer file is refused: `20G`; `none` for no limit", "none")
    connect_timeout: Timeout = option(10.0, "seconds to connect and log in")
    stall_timeout: Timeout = option(60.0, "seconds without a byte coming after which a file is tried again")
    fsync: FsyncOrNot = option("always", "make a file survive a power loss before it is published: always, never")
    directory_mode: Mode = option(0o755, "permissions of directories that are made", "755")
    file_mode: Mode = option(0o644, "permissions of fetched files", "644")

    ELSEWHERE: ClassVar[frozenset[str]] = frozenset(("listen_address",))


class FetcherSettings(FetchingSettings):
    """A file of pytroll-fetcher, but for its two mappings for posttroll."""

    destination: TemplateText = required("directory here, with fields of the message in braces; it is made when it is missing",
                                         "/data/in/{platform}/")
    allowed_protocols: Annotated[tuple[str, ...], BeforeValidator(read_protocols)] = option(
        USUAL, "what a message may have fetched from; names of fsspec", ", ".join(USUAL))
    allowed_hosts: Words = option(
        (), "hosts that may be fetched from, as patterns like `*.example.org` or `host:22`; all if left out")
    allowed_origins: Annotated[tuple[str, ...], BeforeValidator(read_directories)] = option(
        (), "directories of this machine that files may come from; all but hidden ones if left out")
    filesystem_options: Annotated[Parameters, BeforeValidator(read_options), PlainSerializer(Parameters.masked)] = option(
        Parameters(), "what to add to the arguments of a filesystem, credentials among them: by protocol, or by `protocol://host`")


class S3DownloaderSettings(FetchingSettings):
    """A file of s3downloader."""

    subscribe_topic: Annotated[tuple[str, ...], BeforeValidator(read_topics)] = option(
        (), "subject, or list of subjects, to listen to (upstream: `subscribe-topic`)")
    publish_topic: str = option("", "subject under which a downloaded file is published (upstream: `publish-topic`)")
    services: Words = option((), "publishers to listen to, by name; all if left out")
    subscriber_addresses: Publishers = option((), "publishers to listen to, by address, separated by commas")
    bucket: str = option("", "bucket to download from; that of the uri of the message if left out")
    download_destination: str = option(".", "directory here; it is made when it is missing")
    s3_kwargs: Mapped = option(
        Parameters(), "settings of the connection, as `anon`, `profile`, `client_kwargs: {endpoint_url: ...}`")
    logging: Mapped = option(Parameters(), "`log_rotation_days` (1), `log_rotation_backup` (30), `logging_mode` (DEBUG, or INFO)")

    UPSTREAM: ClassVar[dict[str, str]] = {"subscribe-topic": "subscribe_topic", "publish-topic": "publish_topic"}
