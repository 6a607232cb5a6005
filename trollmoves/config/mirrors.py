"""Every option of a mirror section: a client in front and a server behind, without what neither half of a mirror does."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, PlainSerializer

from trollmoves.config import places, values
from trollmoves.config.hidden import HiddenUri
from trollmoves.config.settings import (
    DAY,
    OPEN_MODE,
    ClientSettings,
    Mode,
    OptionalOrigin,
    OptionalPort,
    OptionalSeconds,
    Seconds,
    ServerSettings,
    Timeout,
    Topic,
    option,
    required,
)


def _directory(value: Any) -> Any:
    """A destination that is a directory, whether it was written with a slash at its end or not."""
    return places.destination(value if value.endswith("/") else value + "/") if isinstance(value, str) and value else value


class MirrorSettings(ServerSettings, ClientSettings):  # type: ignore[misc]  # where both have an option, it is the server's
    """A mirror chain; handed to the server half as it is, and as `front` to the client half."""

    destination: Annotated[HiddenUri, BeforeValidator(_directory), PlainSerializer(str)] = required(
        "directory of this machine that fetched files are kept in, as its providers reach it: a path, or a uri like "
        "`sftp://user@this-host/data/mirror/`; fields in braces are filled from the message", "file:///data/mirror/")
    request_port: OptionalPort = required("port clients send their requests to", "9094")
    client_topic: Topic = option("", "beginning of the subjects to mirror; everything if left out")
    origin: OptionalOrigin = option(None, "pattern of the names to mirror, of which only the last part counts; all if left out")
    delay: Seconds = option(0.0, "seconds between hearing an announcement and announcing it")
    delete: Annotated[Literal["first", "all"] | None, BeforeValidator(values.deletion)] = option(  # type: ignore[assignment]
        "all", "remove a fetched file when every known consumer has it that listens to its subject (`true` or `all`), or the "
               "`first` one; `false` leaves it", "true")
    delete_after: OptionalSeconds = option(
        7 * DAY, "age after which a fetched file is removed, whether consumers have it or not: `12h`, `7d`", "7d")
    directory_mode: Mode = option(
        0o755, "permissions of directories made where clients want their files, and of those made for `destination` when it is "
               "set (else 777: providers write there); `keep` for as they come", "755")
    req_timeout: Timeout = option(1.0, "seconds to wait for the answer of a provider to a question or an ack")
    transfer_req_timeout: Timeout = option(10.0, "seconds to wait for the answer of a provider to a push")
    topic: str = option("", "accepted, not used: announcements keep their subjects")

    ELSEWHERE: ClassVar[frozenset[str]] = frozenset((
        "listen", "topics", "services", "addresses", "nameserver", "addr_listener", "timeout", "translate", "unpack", "info",
        "compression", "prog", "working_directory", "watch_interval", "settle", "reconcile",
        "origin_inotify_base_dir_skip_levels", "processing_delay", "group", "lease_servers", "xritdecompressor", "block_size",
        "nameservers", "replay_port"))

    @classmethod
    def missing(cls, given: Collection[str]) -> Iterator[tuple[str, str]]:
        return super(ServerSettings, cls).missing(given)

    @property
    def removes(self) -> bool:
        """Providers are told when the consumers have a file, whether it is removed here or not; and it must be safe by then."""
        return True

    @property
    def front(self) -> ClientSettings:
        """What the client half goes by."""
        own = {"topic": self.client_topic, "group": self.name, "publish_port": 0, "delete": False}
        if "directory_mode" not in self.model_fields_set:
            own["directory_mode"] = OPEN_MODE
        return ClientSettings.model_construct(**{name: getattr(self, name) for name in ClientSettings.model_fields} | own)
