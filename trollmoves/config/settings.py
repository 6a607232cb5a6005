"""Every option of a server and of a client chain: its name, type, default and help. The tables of the manual come from here."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer

from trollmoves.config import places, values
from trollmoves.config.expectations import Expectation, expectations
from trollmoves.config.hidden import HiddenUri, Parameters, Secret
from trollmoves.config.places import Provider

DAY = 86400.0
OPEN_MODE = 0o777
"""Permissions of local directories made for files that others write, as upstream."""
SINGLE_FILE_COMPRESSIONS = ("xrit", "bzip", "bzip2", "bz2", "gzip", "xz", "zstd")
COMPRESSIONS = (*SINGLE_FILE_COMPRESSIONS, "tar", "zip")

Flag = Annotated[bool, BeforeValidator(values.flag)]
Seconds = Annotated[float, BeforeValidator(values.seconds_of())]
OptionalSeconds = Annotated[float | None, BeforeValidator(values.seconds_of())]
Timeout = Annotated[float, BeforeValidator(values.seconds_of(0.01, DAY))]
Count = Annotated[int, BeforeValidator(values.number_of(1, 100_000_000))]
Words = Annotated[tuple[str, ...], BeforeValidator(values.words)]
OptionalWords = Annotated[tuple[str, ...] | None, BeforeValidator(values.words)]
Topic = Annotated[str, BeforeValidator(places.topic)]
Host = Annotated[str, BeforeValidator(places.host)]
Mode = Annotated[int | None, BeforeValidator(values.mode)]
Mapped = Annotated[Parameters, BeforeValidator(values.parameters), PlainSerializer(Parameters.masked)]
OptionalSecret = Annotated[Secret | None, BeforeValidator(values.secret), PlainSerializer(lambda secret: secret and str(secret))]
HiddenDestination = Annotated[HiddenUri, BeforeValidator(places.destination), PlainSerializer(str)]
Unpacker = Annotated[str | None, BeforeValidator(values.unpacker(*COMPRESSIONS))]
SingleFileUnpacker = Annotated[str | None, BeforeValidator(values.unpacker(*SINGLE_FILE_COMPRESSIONS))]
OptionalPort = Annotated[int | None, BeforeValidator(values.number_of(1, 65535))]
OptionalHost = Annotated[str | None, BeforeValidator(places.host)]
OptionalDirectory = Annotated[str | None, BeforeValidator(places.directory)]
OptionalOrigin = Annotated[str | None, BeforeValidator(places.origin)]
Publishers = Annotated[tuple[tuple[str, int], ...], BeforeValidator(places.publishers)]
Nameserver = Annotated[str | Literal[False], BeforeValidator(values.false_or_text)]
Info = Annotated[Parameters, BeforeValidator(values.info), PlainSerializer(Parameters.masked)]
AtATime = Annotated[int | None, BeforeValidator(values.number_or_auto(1, 256))]
Bandwidth = Annotated[int | None, BeforeValidator(values.bytes_or_none(1024, 1024**4))]
MinimalRate = Annotated[int | None, BeforeValidator(values.bytes_or_none(1, 1024**4))]
Fsync = Annotated[Literal["always", "when-deleting", "never"], BeforeValidator(values.one_of("always", "when-deleting", "never"))]
FsyncOrNot = Annotated[Literal["always", "never"], BeforeValidator(values.one_of("always", "never"))]
Checksum = Annotated[Literal["auto", "always", "never"], BeforeValidator(values.one_of("auto", "always", "never"))]
Overwrite = Annotated[Literal["replace", "identical", "never"], BeforeValidator(values.one_of("replace", "identical", "never"))]


def option(default: Any, description: str, shown: str | None = None) -> Any:
    """An option; *shown* is its default as written in a file, where that is not the text of the value."""
    return Field(default, description=description, json_schema_extra={"option": True} | ({"shown": shown} if shown else {}))


def required(description: str, example: str) -> Any:
    """An option every section needs."""
    return Field(description=description, json_schema_extra={"option": True, "example": example})


class ChainSettings(BaseModel):
    """What one section says. Frozen; equal when every value is equal; shows no secret."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, arbitrary_types_allowed=True, hide_input_in_errors=True)

    name: str
    """The section's."""

    expect: Annotated[tuple[Expectation, ...], BeforeValidator(expectations)] = option(
        (), "what shall come, and until when; an alarm says what does not: `96 per hour`, "
            "`segment 1-8 within 12m of start_time every 15m`")
    retention: Seconds = option(7 * DAY, "how long the journal remembers a finished file", "7d")
    retention_entries: Count = option(200_000, "how many finished files the journal remembers at most")
    listen_address: Host = option("*", "address the sockets are bound to; `*` is every address, `127.0.0.1` this machine only")

    ELSEWHERE: ClassVar[frozenset[str]] = frozenset()
    """Options of other programs' chains that mean nothing in this one's."""

    @classmethod
    def options(cls) -> tuple[str, ...]:
        """The names that may stand in a section."""
        return tuple(name for name, field in cls.model_fields.items()
                     if isinstance(field.json_schema_extra, dict) and name not in cls.ELSEWHERE)

    @classmethod
    def missing(cls, given: Collection[str]) -> Iterator[tuple[str, str]]:
        """What a section with these options lacks: option and what to write."""
        for name, field in cls.model_fields.items():
            extra = field.json_schema_extra
            if isinstance(extra, dict) and "example" in extra and name not in given:
                yield name, f"is missing; write for example {name} = {extra['example']}"


class ServerSettings(ChainSettings):
    """A server chain."""

    topic: Topic = required("subject under which files are announced", "/1b/hrit")
    origin: OptionalOrigin = option(
        None, "pattern of the files to announce: `/data/in/{platform}_{time:%Y%m%d%H%M}.nc`; this or `listen` is needed; beside "
              "`listen` it says of which files messages may speak")
    request_port: OptionalPort = option(
        None, "port clients send their requests to; without it messages say how a file can be fetched by ssh")
    request_address: OptionalHost = option(None, "name or address of this machine in announcements; found out if left out")
    station: str = option("unknown", "name given in the answer to a ping")
    info: Info = option(Parameters(), "what to add to each announcement: `name=value;name2=a,b`; values with commas become lists")

    allowed_destinations: Annotated[tuple[str, ...], BeforeValidator(places.allowed_destinations)] = option(
        (), "where files may be pushed, as patterns like `sftp://user@host/data/**`; `any` for everywhere; "
            "the asking client's own machine is always allowed")
    trusted_acks: Annotated[tuple[str, ...], BeforeValidator(values.hosts_or_any)] = option(
        (), "hosts whose ack of a file that this server did not itself deliver counts towards its deletion; or `any`")
    allow_inline_credentials: Flag = option(True, "accept credentials in a client's destination; they are kept in memory only")
    connection_parameters: Mapped = option(
        Parameters(), "settings of the mover, one per line: `connection_parameters__name = value`")

    delete: Annotated[Literal["first", "all"] | tuple[str, ...] | None, BeforeValidator(values.deletion)] = option(
        None, "remove a delivered file when every known consumer has confirmed it (`true` or `all`), the `first` one, or all "
              "that are named: client sections as `section@host`, upstream clients by their addresses", "false")
    remove_delay: Seconds = option(30.0, "seconds between the last confirmation and the removal")
    delete_after: OptionalSeconds = option(None, "age after which an announced file is removed, confirmed or not: `12h`, `7d`")

    compression: Unpacker = option(None, f"unpack before announcing: {', '.join(COMPRESSIONS)}", "false")
    prog: str | None = option(None, "program that unpacks xrit; gets the packed file as its only argument")
    working_directory: OptionalDirectory = option(None, "directory for unpacked files; that of the packed file if left out")
    unpack: Annotated[str | None, BeforeValidator(values.one_of_or_none("tar", "zip"))] = option(
        None, "kind of archive (tar, zip) the files are; a chain without `request_port` announces their members")

    listen: Annotated[str | None, BeforeValidator(places.topic)] = option(
        None, "topic of messages to announce again, in place of watching `origin`")
    topics: Annotated[tuple[str, ...], BeforeValidator(places.topics)] = option(
        (), "topics to listen to in place of that of `listen`, separated by white space")
    services: Words = option((), "publishers to take from the nameserver, by name; all if left out")
    addresses: Publishers = option(
        (), "publishers to listen to, by address: `tcp://host:port` or `ipc://path`, separated by white space")
    nameserver: Nameserver = option("localhost", "host of the nameserver that knows the publishers; false for none")
    addr_listener: Flag = option(True, "also listen to publishers that the nameserver gets to know later")
    timeout: Timeout = option(10.0, "seconds after which a nameserver that did not answer is asked again")
    translate: Flag = option(False, "put the publisher's address into the sender of a message, in place of its host name")

    watch_interval: Timeout = option(1.0, "seconds between two looks where directories are polled (upstream: `watchdog_timeout`)")
    settle: Seconds = option(2.0, "seconds a file that was not seen being closed must stay unchanged to count as complete")
    reconcile: Timeout = option(300.0, "seconds between two comparisons of the directory with what was announced")

    workers: AtATime = option(
        None, "transfers at a time; `auto` is 4, or 16 where files are fsynced, and 32 more to other machines", "auto")
    transfers_per_host: AtATime = option(
        None, "transfers at a time to the same host; `auto` is what suits the kind of destination", "auto")
    bandwidth_per_host: Bandwidth = option(
        None, "bytes per second to the same host, of all its transfers together: `512k`, `10M`; `none` for no limit", "none")
    queued_requests: Annotated[int, BeforeValidator(values.number_of(1, 1_000_000))] = option(
        20_000, "requests that may wait, those of one host never more than is left free; beyond it clients are told to ask later")
    max_request_size: Annotated[int, BeforeValidator(values.bytes_of(64 * 1024, 16 * 1024**2))] = option(
        1024**2, "bytes of one request", "1M")
    connect_timeout: Timeout = option(10.0, "seconds to connect and log in to a destination")
    stall_timeout: Timeout = option(60.0, "seconds without a byte moving after which a transfer is tried again")
    min_rate: MinimalRate = option(
        None, "bytes per second: a transfer slower than that, and `stall_timeout` besides, is tried again; `none`: never", "none")

    fsync: Fsync = option(
        "when-deleting", "make a delivered file survive a power loss before confirming it: always, when-deleting, never")
    checksum: Checksum = option(
        "auto", "compare checksums of what was sent and what arrived: always, never, or `auto`: where they cost nothing")
    overwrite: Overwrite = option(
        "identical", "a file that is there already: `replace` it; leave it if `identical`, else replace it; `never` replace it")
    link: Flag = option(False, "hard-link instead of copying where the destination is on the same file system")
    directory_mode: Mode = option(0o755, "permissions of directories made at the destination; `keep` for as they come", "755")
    file_mode: Mode = option(None, "permissions of delivered files; `keep` for those of the origin", "keep")

    publish_port: str = option("0", "accepted, not used: the port is given on the command line")
    publisher_port: str = option("0", "accepted, not used: the port is given on the command line")
    origin_inotify_base_dir_skip_levels: str = option("0", "accepted, not used: directories with fields are watched anyhow")
    req_timeout: Timeout = option(1.0, "accepted, not used: clients and mirrors go by it")
    transfer_req_timeout: Timeout = option(10.0, "accepted, not used: clients and mirrors go by it")

    DEPRECATED: ClassVar[tuple[str, ...]] = (
        "connection_uptime", "ssh_key_filename", "ssh_connection_timeout", "ssh_private_key_file")
    """Options that belong into `connection_parameters` and are moved there."""
    LISTENING: ClassVar[tuple[str, ...]] = ("topics", "services", "addresses", "nameserver", "addr_listener", "translate")
    """Options of sections that listen; `timeout` is one too, but too common a word to be complained of."""
    RENAMED: ClassVar[dict[str, str]] = {"watchdog_timeout": "watch_interval"}
    """Upstream's names of our options."""

    @property
    def heard_topics(self) -> tuple[str, ...]:
        """What a section that listens subscribes to."""
        return self.topics or (self.listen or "",)

    @property
    def archives(self) -> str | None:
        """The kind of archives whose members are announced, if they are."""
        return self.unpack if self.request_port is None else None

    @property
    def any_destination(self) -> bool:
        """Whether files may be pushed anywhere."""
        return self.allowed_destinations == ("any",)

    @property
    def removes(self) -> bool:
        """Whether delivered files are removed here: origins, or only the copies they were unpacked to."""
        return self.delete is not None or self.compression is not None

    @property
    def syncs(self) -> bool:
        """Whether delivered files are made to survive a power loss."""
        return self.fsync == "always" or (self.fsync == "when-deleting" and self.removes)

    @classmethod
    def missing(cls, given: Collection[str]) -> Iterator[tuple[str, str]]:
        yield from super().missing(given)
        if "origin" not in given and "listen" not in given:
            yield "origin", "is missing; write for example origin = /data/in/{name}.nc, or listen = /topic"
        if "listen" in given and "request_port" not in given:
            yield "request_port", "is missing, and listen needs it; write for example request_port = 9094"


class ClientSettings(ChainSettings):
    """A client chain."""

    providers: Annotated[tuple[Provider, ...], BeforeValidator(places.providers)] = required(
        "servers and mirrors to listen to: `host:port` or `host:port/topic`, separated by white space", "192.0.2.1:9010")
    destination: HiddenDestination = required(
        "where files shall go, a uri or a path; fields in braces are filled from the message", "file:///data/in/")
    topic: Topic = option("", "beginning of the subjects to ask for; everything if left out")
    login: OptionalSecret = option(None, "`user[:password]` for the destination; sent with requests only, never published")
    publish_port: Annotated[int, BeforeValidator(values.number_of(0, 65535))] = option(
        0, "port for what this chain publishes; 0 for a random one")
    replay_port: Annotated[int | None, BeforeValidator(values.number_or_none(0, 65535))] = option(
        0, "port where what was published can be asked for again; 0 for a random one, `none` for no such port")
    nameservers: Annotated[tuple[str, ...] | Literal[False] | None, BeforeValidator(values.false_or_words)] = option(
        None, "hosts of the nameservers told of this publisher; false for none; if left out it is announced by multicast")

    req_timeout: Timeout = option(1.0, "seconds to wait for the answer to a question or an ack")
    transfer_req_timeout: Timeout = option(10.0, "seconds to wait for the answer to a push")
    heartbeat: Flag = option(True, "look for providers that fall silent: an alarm, and `heartbeat_alarm_scale`")
    heartbeat_alarm_scale: Annotated[float, BeforeValidator(values.factor)] = option(
        0.0, "connect again after this many intervals without a message; 0 is never")
    processing_delay: OptionalSeconds = option(None, "seconds to leave to the primary; makes this client a hot spare")
    group: str = option("", "name that a primary and its hot spares share, told to providers only: a secret one where "
                       "strangers may be served; that of the section if left out")
    lease_servers: Annotated[tuple[str, ...], BeforeValidator(places.request_addresses)] = option(
        (), "request addresses (`host:port`) of servers that announce the same files, in the order in which every member of the "
            "group asks them: the first that answers decides who publishes")
    in_flight: Annotated[int, BeforeValidator(values.number_of(1, 10_000))] = option(1000, "requests under way per provider")
    catch_up: Annotated[float, BeforeValidator(values.seconds_of(named={"all": math.inf, "none": 0.0}))] = option(
        math.inf, "what a new client asks for of the past: `all` the server remembers, `none`, or a time like `12h`", "all")

    compression: Unpacker = option(None, f"unpack what arrives: {', '.join(COMPRESSIONS)}", "false")
    xritdecompressor: str | None = option(None, "program that unpacks xrit; gets the packed file as its only argument")
    block_size: Annotated[int, BeforeValidator(values.bytes_of(1, 2**24))] = option(2**20, "bytes decompressed at a time", "1M")
    delete: Flag = option(False, "remove the packed file when what was in it is published")
    working_directory: str | None = option(None, "accepted, not used: files are unpacked beside the packed one")
    create_target_directory: Flag = option(True, "make the directory of the destination on this machine")
    directory_mode: Mode = option(
        OPEN_MODE, "permissions of the directory that is made on this machine, which a server of another user writes to; `keep` "
                   "for as they come", "777")
    ftp_root: str = option("/", "directory on this machine that is the root of the destination's path")
    backup_targets: OptionalWords = option(
        None, "other hosts for the destination, tried when the first is unreachable: `host` or `host:port`")

    replacements: Mapped = Parameters()
    """Metadata to replace: each other option of the section, as a text or as a mapping of values."""

    PROTOCOL_KEYS: ClassVar[frozenset[str]] = frozenset(
        ("uid", "uri", "path", "dataset", "collection", "destination", "origin", "request_address", "trollmoves"))
    """Keys of a message that are never replaced."""
    FREE_TEXT: ClassVar[frozenset[str]] = frozenset(
        ("providers", "lease_servers", "destination", "topic", "login", "nameservers", "listen_address", "working_directory",
         "xritdecompressor", "ftp_root", "backup_targets"))
    """Options whose own values may look like a mapping `a:b`."""

    @property
    def nameserver_hosts(self) -> tuple[str, ...]:
        """The nameservers named, if any."""
        return self.nameservers or ()

    def topic_at(self, provider: Provider) -> str:
        """What it listens to at one of its providers."""
        return provider.topic if provider.topic is not None else self.topic
