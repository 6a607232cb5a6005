"""Every option of a section of move_it."""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, PlainSerializer

from trollmoves.config import places, values
from trollmoves.config.hidden import HiddenUri, Parameters
from trollmoves.config.settings import (
    DAY,
    SINGLE_FILE_COMPRESSIONS,
    AtATime,
    Bandwidth,
    ChainSettings,
    Checksum,
    Flag,
    Fsync,
    Info,
    Mapped,
    MinimalRate,
    Mode,
    OptionalDirectory,
    OptionalHost,
    OptionalPort,
    Overwrite,
    Seconds,
    SingleFileUnpacker,
    Timeout,
    Topic,
    Words,
    option,
    required,
)

MOST = 40


def _destinations(value: Any) -> Any:
    """Uris or absolute paths, separated by white space; fields in their paths."""
    words = values.words(value)
    if not isinstance(words, tuple):
        return value
    if len(words) > MOST:
        raise ValueError(f"has more than {MOST} destinations; use several sections")
    places.check_each([word.reveal() if isinstance(word, HiddenUri) else word for word in words], _check)
    return tuple(dict.fromkeys(word if isinstance(word, HiddenUri) else HiddenUri(word) for word in words))


def _check(text: str) -> None:
    places.destination(text)
    host = re.match(r"[A-Za-z][A-Za-z0-9+.-]*://([^/]*)", text)
    if host is None and not text.startswith("/"):
        raise ValueError("has a destination that is neither a uri nor an absolute path; write for example sftp://user@host/data/")
    if host is not None and "{" in host[1]:
        raise ValueError("has a destination with fields before its path; fields may stand in the path only")


class MoveSettings(ChainSettings):
    """A section of move_it."""

    origin: Annotated[str, BeforeValidator(places.origin)] = required(
        "pattern of the files to move", "/data/in/{platform}_{time:%Y%m%d%H%M}.nc")
    destinations: Annotated[tuple[HiddenUri, ...], BeforeValidator(_destinations),
                            PlainSerializer(lambda found: [str(place) for place in found])] = required(
        "where each file shall go: uris or paths, separated by white space; fields in their paths are filled from its name",
        "sftp://user@host/data/ /archive/")
    topic: Topic = option("", "subject under which a moved file is published; needs `-p`. Nothing is published without it")
    info: Info = option(Parameters(), "what to add to each message: `name=value;name2=a,b`; values with commas become lists")
    request_port: OptionalPort = option(None, "port of a server for the same files, to be named in the messages")
    request_address: OptionalHost = option(None, "its name or address; that of this machine if left out")

    delete: Flag = option(False, "remove a file when it is at all destinations")
    compression: SingleFileUnpacker = option(None, f"unpack before moving: {', '.join(SINGLE_FILE_COMPRESSIONS)}", "false")
    prog: str | None = option(None, "program that unpacks xrit; gets the packed file as its only argument")
    working_directory: OptionalDirectory = option(
        None, "directory for unpacked files, until they are moved; that of the packed file if left out")

    connection_parameters: Mapped = option(
        Parameters(), "settings of the mover, one per line: `connection_parameters__name = value`")
    backup_targets: Words = option((), "other hosts, tried when the one of a destination is unreachable")
    give_up_after: Seconds = option(7 * DAY, "age of a file at which it is tried no more; it stays where it is", "7d")
    transfers_per_host: AtATime = option(
        None, "transfers at a time to the same host; `auto` is what suits the kind of destination", "auto")
    bandwidth_per_host: Bandwidth = option(
        None, "bytes per second to the same host, of all its transfers together: `512k`, `10M`; `none` for no limit", "none")
    connect_timeout: Timeout = option(10.0, "seconds to connect and log in to a destination")
    stall_timeout: Timeout = option(60.0, "seconds without a byte moving after which a transfer is tried again")
    min_rate: MinimalRate = option(
        None, "bytes per second: a transfer slower than that, and `stall_timeout` besides, is tried again; `none`: never", "none")
    fsync: Fsync = option(
        "when-deleting", "make a delivered file survive a power loss before the origin is removed: always, when-deleting, never")
    checksum: Checksum = option(
        "auto", "compare checksums of what was sent and what arrived: always, never, or `auto`: where they cost nothing")
    overwrite: Overwrite = option(
        "identical", "a file that is there already: `replace` it; leave it if `identical`, else replace it; `never` replace it")
    link: Flag = option(False, "hard-link instead of copying where the destination is on the same file system")
    directory_mode: Mode = option(0o755, "permissions of directories made at the destination; `keep` for as they come", "755")
    file_mode: Mode = option(None, "permissions of delivered files; `keep` for those of the origin", "keep")

    watch_interval: Timeout = option(1.0, "seconds between two looks where directories are polled (upstream: `watchdog_timeout`)")
    settle: Seconds = option(2.0, "seconds a file that was not seen being closed must stay unchanged to count as complete")
    reconcile: Timeout = option(300.0, "seconds between two comparisons of the directory with what is known of it")

    ELSEWHERE: ClassVar[frozenset[str]] = frozenset(("expect",))

    @property
    def archives(self) -> None:
        """Archives are moved as they are."""
        return None
