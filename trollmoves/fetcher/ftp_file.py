"""A file on an FTP server, read over one connection of its own: the movers' connection, whose replies have an end.

Nothing is listed: a server says the size of the file itself (SIZE), and sends it in one piece (RETR), so that it is one file from
its first byte to its last, whatever replaces it meanwhile. Certificates are verified as the movers verify them.
"""

from __future__ import annotations

import codecs
import ftplib  # noqa: S402
import io
import os
import socket
import ssl
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, cast

from trollmoves.errors import ConnectionLost, DestinationInvalid, LoginRefused
from trollmoves.fetcher.places import Place
from trollmoves.movers.base import SessionSettings
from trollmoves.movers.credentials import Login
from trollmoves.movers.ftp import ANONYMOUS, tls_context
from trollmoves.movers.ftp_connection import Connection
from trollmoves.movers.ftp_replies import REFUSALS, size_in_reply

OPTIONS = ("host", "port", "username", "password", "acct", "encoding", "tls", "tls_ca_file", "tls_cert_file", "tls_key_file",
           "tls_key_password", "tls_minimum_version", "tls_verify")
"""What is read of the arguments that fsspec takes, and what it has no name for."""
SEEN_THROUGH = 2**20
"""Bytes that are read over to get further ahead in a file; what is farther away is asked for anew."""


class FtpFile(io.RawIOBase):
    """Connects when it is made. Raises a `MoveError`, ftplib's errors, `OSError` and `EOFError`."""

    def __init__(self, place: Place, arguments: Mapping[str, Any], addresses: Iterable[str], settings: SessionSettings):
        self._ftp = _logged_in(place, arguments, tuple(addresses), settings)
        self._path = "/" + place.path.lstrip("/")
        self._data: socket.socket | None = None
        self._at = self._wanted = 0
        try:
            self.size = self._told_size()
        except BaseException:
            self._ftp.drop()
            raise
        self._end = self.size or None  # whether an empty file is there is seen by asking for it

    def _told_size(self) -> int | None:
        """What the server says; None where it does not. Whether there is such a file is seen when it is read."""
        try:
            return size_in_reply(self._ftp.sendcmd(f"SIZE {self._path}"))
        except REFUSALS:
            return None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self.size is not None

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if self.size is None:
            raise io.UnsupportedOperation("the server does not tell sizes, so nothing in the middle of its files can be read")
        self._wanted = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._wanted, os.SEEK_END: self.size}[whence]
        return self._wanted

    def tell(self) -> int:
        return self._wanted

    def readinto(self, buffer: Any) -> int:
        if self._data is not None and not 0 <= self._wanted - self._at <= SEEN_THROUGH:
            self._break_off()
        if self._data is None:
            if self._end is not None and self._wanted >= self._end:
                return 0
            self._begin()
        while self._at < self._wanted:
            if not self._received(memoryview(bytearray(min(self._wanted - self._at, 2**16)))):
                return 0
        count = self._received(memoryview(buffer))
        self._wanted = self._at
        return count

    def _begin(self) -> None:
        self._data = self._ftp.ntransfercmd(f"RETR {self._path}", self._wanted or None)[0]
        if isinstance(self._data, ssl.SSLSocket):
            self._data.suppress_ragged_eofs = False  # type: ignore[attr-defined]  # somebody on the way may have cut it
        self._at = self._wanted

    def _received(self, space: memoryview) -> int:
        """How many bytes came; none at the end, when the server has said that this was all."""
        assert self._data is not None
        try:
            count = self._data.recv_into(space)
        except ssl.SSLEOFError:  # so do many servers: then the size has to tell
            if self.size is None:
                raise ConnectionLost("the connection was cut, and the server does not tell sizes") from None
            count = 0
        except OSError as error:
            raise self._ftp.reason_of(error) from error
        self._at += count
        if not count:
            self._end = self._at
            self._close_data()
            self._ftp.voidresp()
        return count

    def _break_off(self) -> None:
        self._close_data()
        with suppress(*REFUSALS):  # the server's word on the end of it
            self._ftp.getresp()

    def _close_data(self) -> None:
        """Close it and wait for what the server says then."""
        assert self._data is not None
        self._data.close()
        self._data = None
        self._ftp.wait_for_reply(self._ftp.stall_timeout)

    def close(self) -> None:
        if not self.closed:
            if self._data is not None:
                self._data.close()
                self._ftp.drop()
            else:
                self._ftp.leave()
        super().close()


def ftp_stream(place: Place, arguments: Mapping[str, Any], addresses: Iterable[str],
               settings: SessionSettings) -> tuple[io.BufferedReader, int | None]:
    """The file at *place*, at one of *addresses*, and its size where the server tells it."""
    raw = FtpFile(place, arguments, addresses, settings)
    return io.BufferedReader(cast(Any, raw), 2**18), raw.size


def _logged_in(place: Place, arguments: Mapping[str, Any], addresses: tuple[str, ...], settings: SessionSettings) -> Connection:
    secure = _security(arguments.get("tls"))
    context = tls_context(arguments, str(place)) if secure else None
    user = str(arguments.get("username") or ANONYMOUS.user)
    password = str(arguments.get("password") or (ANONYMOUS.password if user == ANONYMOUS.user else ""))
    host, port = str(arguments.get("host")), int(arguments.get("port") or ftplib.FTP_PORT)
    connection = Connection(settings.connect_timeout, settings.stall_timeout, context, _encoding(arguments))
    try:
        connection.reach(host, port, addresses[0], implicit=secure == "implicit")
        connection.log_in(Login(user, password, str(arguments.get("acct") or "")))
        connection.protect()
        connection.voidcmd("TYPE I")
        connection.settle()
    except ssl.SSLCertVerificationError as error:
        connection.drop()
        raise LoginRefused(f"{place}: its certificate is not accepted ({error.verify_message}): if it is the right one, name in "
                           "tls_ca_file of filesystem_options who has signed it") from error
    except BaseException as error:
        connection.drop()
        if isinstance(error, OSError) and addresses[1:]:
            return _logged_in(place, arguments, addresses[1:], settings)
        raise
    return connection


def _security(given: Any) -> str:
    """How the connection is secured, as fsspec takes it: true for AUTH TLS, a version of TLS for TLS from the first byte on."""
    if isinstance(given, str) and given.lower() not in ("", "true", "false", "yes", "no", "on", "off", "1", "0"):
        return "implicit"
    return "explicit" if str(given).lower() in ("true", "yes", "on", "1") else ""


def _encoding(arguments: Mapping[str, Any]) -> str:
    try:
        return codecs.lookup(str(arguments.get("encoding") or "utf-8")).name
    except LookupError:
        raise DestinationInvalid(f"{arguments.get('encoding')!r} is no encoding") from None
