"""Opening a place for reading: files, ssh, s3, and whatever else fsspec knows. Belongs into a worker.

ssh hosts have to be known (`known_hosts`), as for the movers. Connections to ssh servers are kept by each worker for a while.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import io
import logging
import os
import posixpath
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple, cast
from urllib.parse import urljoin

from trollmoves.bus.addresses import is_this_machine
from trollmoves.errors import (
    ConnectionLost,
    Denied,
    LoginRefused,
    MissingLibrary,
    MoveError,
    OriginGone,
    PermanentError,
    Refused,
    Stalled,
    TemporaryError,
    Unreachable,
)
from trollmoves.fetcher.ftp_file import ftp_stream
from trollmoves.fetcher.member import opened_member
from trollmoves.fetcher.places import CLASSES, WEB, Place, Rights, hide_secrets, origin_of
from trollmoves.fetcher.ssh_file import PIECE, SshFile, Watch
from trollmoves.fetcher.web_file import WebFile
from trollmoves.journal.in_use import is_own
from trollmoves.movers.base import SessionSettings
from trollmoves.movers.ends import opened as opened_file
from trollmoves.movers.s3_usual import with_usual
from trollmoves.uris import Destination, is_hidden

INSTALL = "install trollmoves[fetch]"
MOST_KEPT = 8
"""Connections one worker keeps."""


class Opened(NamedTuple):
    """A file being read."""

    stream: Any
    size: int | None
    """Bytes, where the other side says so."""


class Opener:
    """Opens places. One for a configuration; each worker thread has connections of its own."""

    def __init__(self, options: Mapping[str, Mapping[str, Any]], origins: tuple[str, ...], settings: SessionSettings,
                 rights: Rights):
        """*options*: what to add to the arguments of a filesystem, by protocol or `protocol://host`. *origins*: directories of
        this machine that files may come from; none given means all that are not hidden."""
        self._rights = rights
        self._options = options
        self._origins = tuple(os.path.realpath(origin) for origin in origins)
        self._settings = settings
        self._kept = threading.local()

    @contextmanager
    def opened(self, place: Place) -> Iterator[Opened]:
        """The file at *place*, open. Raises a `MoveError`; what reading raises becomes one."""
        try:
            self._rights.reach(place.host, place.port)
            with self._opened(place) as found:
                yield found
        except MoveError:
            raise
        except ImportError as error:
            raise MissingLibrary(f"{place.outermost.protocol} cannot be read without {error.name or error}: {INSTALL}") from error
        except Exception as error:
            raise translated(error, place) from error

    @contextmanager
    def _opened(self, place: Place, *, whole: bool = True) -> Iterator[Opened]:
        """*whole*: it is going to be read from its beginning to its end."""
        if place.inside is not None:
            with self._opened(place.inside, whole=False) as outer, opened_member(place, outer.stream, whole=whole) as found:
                yield Opened(*found)
            return
        ways = {"file": self._file, "sftp": self._sftp, "ftp": self._ftp, "s3": self._s3}
        with ways.get(place.protocol, self._other)(place, whole) as found:
            yield found

    def _arguments(self, place: Place) -> dict[str, Any]:
        """What the message says, and over it what the configuration says."""
        own = {**self._options.get(place.protocol, {}), **self._options.get(f"{place.protocol}://{place.host}", {})}
        return {**place.arguments, **own}

    @contextmanager
    def _file(self, place: Place, whole: bool) -> Iterator[Opened]:
        if not posixpath.isabs(place.path):
            raise Denied(f"{place.path} is no absolute path")
        if not is_this_machine(str(place.arguments.get("host") or "")):
            raise Denied(f"{place} is on another machine")
        if is_own(place.path):
            raise Denied(f"{place.path} is the journal of this fetcher")
        with opened_file(place.path) as origin:
            real = os.readlink(f"/proc/self/fd/{origin.descriptor}")
            if self._origins and not any(real.startswith(root.rstrip("/") + "/") for root in self._origins):
                raise Denied(f"{place.path} is in none of the allowed_origins")
            if not self._origins and is_hidden(real):
                raise Denied(f"{place.path} is hidden (keys and passwords often are); name its directory in allowed_origins")
            with open(origin.descriptor, "rb", buffering=0, closefd=False) as stream:
                yield Opened(stream, origin.size)

    # ssh

    @contextmanager
    def _sftp(self, place: Place, whole: bool) -> Iterator[Opened]:
        arguments = self._arguments(place)
        key = f"sftp {sorted(arguments.items())!r}"
        client, session = self._lent(key, lambda: self._connected(arguments, self._addresses(place, arguments)))
        watch = Watch(self._settings.stall_timeout, client.close)
        with self._kept_unless_broken(key):
            try:
                with watch.waiting():
                    stream = session.open(place.path, "rb")
                    status = stream.stat()
                if status.st_mode is not None and not stat.S_ISREG(status.st_mode):
                    raise Denied(f"{place.path} is no regular file")
                found = SshFile(stream, status.st_size, watch, whole=whole)
                with io.BufferedReader(cast(Any, found), 8 * PIECE) as buffered:
                    yield Opened(buffered, status.st_size)
                with watch.waiting():
                    stream.close()
            finally:
                watch.close()

    # What a worker keeps.

    def _lent(self, key: str, make: Callable[[], Any]) -> Any:
        """What was made under this key and used lately by this thread, or a new one. Its first part can be closed."""
        kept: dict[str, tuple[Any, float]] = self._kept.__dict__.setdefault("by_key", {})
        now = time.monotonic()
        for old in [old for old, (_, used) in kept.items() if now - used > self._settings.connection_uptime]:
            kept.pop(old)[0][0].close()
        if key not in kept:
            while len(kept) >= MOST_KEPT:
                kept.pop(next(iter(kept)))[0][0].close()
            kept[key] = (make(), now)
        found, _ = kept[key]
        kept[key] = (found, now)
        return found

    @contextmanager
    def _kept_unless_broken(self, key: str) -> Iterator[None]:
        """Errors that say nothing of the connection leave it open; after any other it is not used again."""
        try:
            yield
        except (FileNotFoundError, PermissionError):
            raise
        except BaseException:
            found = self._kept.__dict__.get("by_key", {}).pop(key, None)
            if found is not None:
                with suppress(Exception):
                    found[0][0].close()
            raise

    def _addresses(self, place: Place, arguments: Mapping[str, Any]) -> tuple[str, ...]:
        """Where to connect to: addresses that were looked at, or what the configuration says instead."""
        host = str(arguments.get("host"))
        return self._rights.reach(host, place.port) if host == place.host else (host,)

    def _connected(self, arguments: Mapping[str, Any], addresses: tuple[str, ...]) -> tuple[Any, Any]:
        paramiko = importlib.import_module("paramiko")
        client, host = paramiko.SSHClient(), str(arguments.get("host"))
        known = arguments.get("known_hosts")
        if known:
            client.load_host_keys(os.path.expanduser(str(known)))
        else:
            client.load_system_host_keys()
        client.set_missing_host_key_policy(paramiko.RejectPolicy())
        own = {name: value for name, value in arguments.items() if name not in ("host", "known_hosts")}
        seconds = self._settings.connect_timeout
        connection = self._socket(addresses, int(own.get("port") or 22))
        watch = Watch(seconds, client.close)
        try:
            with watch.waiting():
                client.connect(host, sock=connection, timeout=seconds, banner_timeout=seconds, auth_timeout=seconds, **own)
                session = client.open_sftp()
            session.get_channel().settimeout(self._settings.stall_timeout)
        except BaseException:
            client.close()
            connection.close()
            raise
        finally:
            watch.close()
        return client, session

    def _socket(self, addresses: tuple[str, ...], port: int) -> socket.socket:
        """A connection to the first of *addresses* that answers."""
        trouble: OSError | None = None
        for address in addresses:
            try:
                return socket.create_connection((address, port), self._settings.connect_timeout)
            except OSError as error:
                trouble = error
        raise Unreachable(f"{' '.join(addresses)}, port {port}: {trouble}") from trouble

    # ftp

    @contextmanager
    def _ftp(self, place: Place, whole: bool) -> Iterator[Opened]:
        arguments = self._arguments(place)
        stream, size = ftp_stream(place, arguments, self._addresses(place, arguments), self._settings)
        with stream:
            yield Opened(stream, size)

    # s3

    @contextmanager
    def _s3(self, place: Place, whole: bool) -> Iterator[Opened]:
        client_of = importlib.import_module("trollmoves.movers.s3_client").S3Client
        bucket, _, name = place.path.partition("/")
        arguments = with_usual(self._arguments(place))
        settings = SessionSettings(connect_timeout=self._settings.connect_timeout, stall_timeout=self._settings.stall_timeout,
                                   checksum="never", parameters=arguments)
        key = f"s3 {bucket} {sorted(arguments.items(), key=str)!r}"
        client, = self._lent(key, lambda: (client_of(Destination("s3", bucket, None, "/" + name), settings, streams=True),))
        with self._kept_unless_broken(key):
            found = _Object(client, name, client.call("head_object", str(place), Key=name), str(place))
            with io.BufferedReader(cast(Any, found), 2**23) as stream:
                yield Opened(stream, found.size)

    # Everything else.

    @contextmanager
    def _other(self, place: Place, whole: bool) -> Iterator[Opened]:
        fsspec = importlib.import_module("fsspec")
        if logging.getLogger("fsspec").level == logging.NOTSET:  # its debug lines hold whole urls, with what signs them
            logging.getLogger("fsspec").setLevel(logging.INFO)
        arguments = self._arguments(place)
        if place.protocol in WEB:
            client = arguments.get("client_kwargs") or {}
            arguments["client_kwargs"] = {**client, **self._web((client, arguments))}
            arguments["get_client"] = self._web_client
        filesystem = fsspec.filesystem(place.protocol, skip_instance_cache=True, use_listings_cache=False, **arguments)
        if place.protocol in WEB and whole:
            answer = WebFile(filesystem, place.path, self._settings.stall_timeout)
            with io.BufferedReader(cast(Any, answer), 2**18) as buffered:
                yield Opened(buffered, answer.size)
            return
        with filesystem.open(place.path, "rb") as stream:
            yield Opened(stream, getattr(stream, "size", None))

    def _web(self, says: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
        """How a client of web servers waits, that it asks before it follows a redirection, and that what the configuration has it
        *says* (in headers and cookies) is said to no other server than the one it is for."""
        aiohttp = importlib.import_module("aiohttp")

        async def redirected(session: Any, context: Any, found: Any) -> None:
            said = found.response.headers
            target = urljoin(str(found.url), said.get("Location") or said.get("URI") or "")  # aiohttp follows either
            if origin_of(target) != origin_of(str(found.url)):
                if any(said.get("cookies") for said in says):
                    raise Denied("sends on to another server, which must not be told the cookies of filesystem_options")
                for name in (name for said in says for name in said.get("headers") or ()):
                    found.headers.popall(name, None)
            await asyncio.get_running_loop().run_in_executor(None, self._rights.check_redirection, target)
        trace = aiohttp.TraceConfig()
        trace.on_request_redirect.append(redirected)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=self._settings.connect_timeout,
                                        sock_read=self._settings.stall_timeout)
        return {"timeout": timeout, "trace_configs": [trace]}

    async def _web_client(self, **options: Any) -> Any:
        """A client of web servers that connects to addresses that were looked at, however names are answered meanwhile."""
        aiohttp = importlib.import_module("aiohttp")
        reach = self._rights.reach

        class Resolver(aiohttp.abc.AbstractResolver):  # type: ignore[misc, name-defined]
            async def resolve(self, host: str, port: int = 0, family: int = 0) -> list[dict[str, Any]]:
                found = await asyncio.get_running_loop().run_in_executor(None, reach, host, port)
                if found == (host,):
                    raise OSError(f"{host} has no address")
                return [{"hostname": host, "host": address, "port": port, "flags": socket.AI_NUMERICHOST, "proto": 0,
                         "family": socket.AF_INET6 if ":" in address else socket.AF_INET} for address in found]

            async def close(self) -> None:
                """Nothing is kept."""
        return aiohttp.ClientSession(connector=aiohttp.TCPConnector(resolver=Resolver()), **options)


class _Object(io.RawIOBase):
    """An object of S3, read in ranges, so that an archive can be read where it is; all of them of the object that was *found*."""

    def __init__(self, client: Any, key: str, found: Mapping[str, Any], shown: str):
        self._client, self._key, self._shown = client, key, shown
        self.size = int(found["ContentLength"])
        self._same = {"IfMatch": found["ETag"]} if found.get("ETag") else {}
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self.size}[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        last = min(self._at + len(buffer), self.size) - 1
        if last < self._at:
            return 0
        answer = self._client.call("get_object", self._shown, Key=self._key, Range=f"bytes={self._at}-{last}", **self._same)
        data = answer["Body"].read(last - self._at + 1)
        answer["Body"].close()
        asked_for = str(answer.get("ContentRange", "")).startswith(f"bytes {self._at}-") or (self._at, last) == (0, self.size - 1)
        if len(data) != last - self._at + 1 or not asked_for:
            raise ConnectionLost(f"{self._shown}: the server sends other bytes than it was asked for")
        buffer[:len(data)] = data
        self._at += len(data)
        return len(data)


def translated(error: Exception, place: Place) -> MoveError:
    """Our error for what a library raised while *place* was read. Their texts are kept without credentials."""
    if isinstance(error, MoveError):
        return error
    if isinstance(error, FileNotFoundError):  # fsspec says so also of a server that does not answer; then it names the cause
        cause = error.__cause__
        return translated(cause, place) if isinstance(cause, Exception) else OriginGone(f"{place} is not there")
    text = f"{place}: {hide_secrets(' '.join(str(error).split())) or type(error).__name__}"[:500]
    if "not found in known_hosts" in text:
        return LoginRefused(text)
    refusal = _refusal(error)
    if refusal is not None:
        return refusal(text)
    if isinstance(error, TimeoutError) or type(error).__name__ == "FSTimeoutError":
        return Stalled(text)
    if isinstance(error, socket.gaierror | ConnectionRefusedError) or type(error).__name__ in UNREACHABLE:
        return Unreachable(text)
    return ConnectionLost(text)


UNREACHABLE = ("NoValidConnectionsError", "ClientConnectorError")
REFUSALS: dict[str, type[MoveError]] = {
    **dict.fromkeys(("AuthenticationException", "BadHostKeyException", "BadAuthenticationType", "PasswordRequiredException"),
                    LoginRefused)}
"""By name: the libraries are not loaded unless they are used."""
WEB_STATUS: dict[int, type[MoveError]] = {
    401: LoginRefused, 403: Refused, 404: OriginGone, 410: OriginGone, 408: TemporaryError, 429: TemporaryError}
FTP_STATUS: dict[str, type[MoveError]] = {"530": LoginRefused, "550": OriginGone}


def _refusal(error: Exception) -> type[MoveError] | None:
    """The kind of an answer that says no; None where there was no answer."""
    name = type(error).__name__
    if name in REFUSALS:
        return REFUSALS[name]
    if name == "error_perm":  # ftplib's
        return FTP_STATUS.get(str(error)[:3], Refused)
    if name == "ClientResponseError" and error.__cause__ is None:  # aiohttp's; nonsense it calls a 400, with a cause
        status = int(getattr(error, "status", 0))
        return WEB_STATUS.get(status, Denied if 400 <= status < 500 else TemporaryError)
    if isinstance(error, PermissionError):
        return Refused
    return PermanentError if isinstance(error, KeyError | ValueError | IsADirectoryError) else None


LIBRARIES: dict[str, tuple[str, ...]] = {
    "file": (), "tar": (), "zip": (), "ftp": (), "sftp": ("paramiko",), "s3": ("botocore",), "http": ("fsspec", "aiohttp"),
    "https": ("fsspec", "aiohttp")}
"""What each protocol needs; others need fsspec, and what that asks for."""


def missing_libraries(protocols: Iterable[str]) -> list[str]:
    """A sentence for each library that *protocols* need and that is not installed."""
    needed: dict[str, list[str]] = {}
    for protocol in protocols:
        for library in LIBRARIES.get(protocol, ("fsspec",)):
            needed.setdefault(library, []).append(protocol)
    return [f"{', '.join(names)} cannot be read without {library}: {INSTALL}" for library, names in needed.items()
            if importlib.util.find_spec(library) is None]


def known_protocols() -> frozenset[str]:
    """What could be opened, here or by fsspec."""
    try:
        others = importlib.import_module("fsspec.registry").known_implementations
    except ImportError:
        others = {}
    return frozenset(others) | frozenset(CLASSES)
