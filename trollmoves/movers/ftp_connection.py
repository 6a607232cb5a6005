"""One FTP control connection: ftplib's protocol code, with what safe and fast uploads need on top.

- TCP_NODELAY on control and data sockets: without it ftps moved 22 small files a second, with it 400 to 600.
- Data connections offer the TLS session of the control connection (proftpd and vsftpd refuse others by default).
- Data connections go to the host of the control connection, whatever address the server's PASV answer names.
- A reply has an end: in time, and in size. Passwords are taken out of what a server says before anybody sees it.
- A command holds no control characters, so that no file name can smuggle in another command.
"""
# ruff: noqa: S321 - whether the connection is encrypted is the choice of who writes ftp or ftps

from __future__ import annotations

import contextlib
import ftplib  # noqa: S402
import socket
import ssl
import time
from typing import Any

from trollmoves.errors import DestinationInvalid
from trollmoves.movers.credentials import Login, scrubbed
from trollmoves.uris import CONTROL

LONGEST_REPLY = 2**16
"""Bytes of one reply, all its lines together."""
PATIENCE = 5.0
"""Seconds to wait for the server's word on why a data connection broke."""


class NotContinued(Exception):
    """The server does not continue TLS sessions: each data connection would begin with a full handshake."""


class Connection(ftplib.FTP):
    """Not yet connected when made; raises ftplib's errors, `OSError`, `EOFError` and, for a bad name, `DestinationInvalid`."""

    def __init__(self, connect_timeout: float, stall_timeout: float, context: ssl.SSLContext | None = None,
                 encoding: str = "utf-8"):
        super().__init__(timeout=connect_timeout, encoding=encoding)
        self.stall_timeout = stall_timeout
        self._connect_timeout = connect_timeout
        self._context = context
        self._session: ssl.SSLSession | None = None
        self._session_asked = False
        self._buffer = b""
        self._room = LONGEST_REPLY
        self._secrets: list[str] = []
        self._settled = False
        self._ends = time.monotonic() + connect_timeout
        self._peer: tuple[Any, ...] = ()

    def reach(self, host: str, port: int, address: str = "", *, implicit: bool = False) -> None:
        """Connect (to *address*, if it was decided on), read the welcome and, with a TLS context, secure the connection: by
        AUTH TLS, or, where that is *implicit*, before a word is said."""
        self.host, self.port = host, port
        self.sock = socket.create_connection((address or host, port), self._connect_timeout)
        self.af = self.sock.family
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._peer = self.sock.getpeername()
        if self._context is not None and implicit:
            self._encrypt(self._context)
        self.welcome = self.getresp()
        if self._context is not None and not implicit:
            self._secure(self._context)

    def _secure(self, context: ssl.SSLContext) -> None:
        self.voidcmd("AUTH TLS")
        if self._buffer:
            raise ftplib.error_proto("unencrypted bytes follow the reply to AUTH TLS")
        self._encrypt(context)

    def _encrypt(self, context: ssl.SSLContext) -> None:
        self.sock = context.wrap_socket(self._control(self._seconds_left()), server_hostname=self.host)

    def log_in(self, login: Login, if_continued: bool = False) -> None:
        """Say who we are. Raises `ftplib.error_perm` when that is not enough, and with *if_continued* `NotContinued`, before the
        password is sent, when data connections could not continue the TLS session."""
        self._secrets = [secret for secret in (login.password, login.account) if secret]
        reply = self.sendcmd(f"USER {login.user}")
        if if_continued and not self._continues():
            raise NotContinued
        if reply[0] == "3":
            reply = self.sendcmd(f"PASS {login.password}")
        if reply[0] == "3":
            reply = self.sendcmd(f"ACCT {login.account}")
        if reply[0] != "2":
            raise ftplib.error_perm(self._scrubbed(reply))

    def _continues(self) -> bool:
        """Whether the server gave us something to continue the TLS session with; under TLS 1.3 it comes with the first reply."""
        if not isinstance(self.sock, ssl.SSLSocket) or self.sock.session is None:
            return False
        return self.sock.session.has_ticket or self.sock.version() != "TLSv1.3"

    def protect(self) -> None:
        """Have data connections encrypted too, where the control connection is."""
        if self._context is not None:
            self.voidcmd("PBSZ 0")
            self.voidcmd("PROT P")

    def settle(self) -> None:
        """The connection is ready for use: from now on a reply may take as long as a transfer may stall."""
        self._settled = True

    def sendcmd(self, cmd: str) -> str:
        self.putline(cmd)
        return self.getresp()

    def voidcmd(self, cmd: str) -> str:
        self.putline(cmd)
        return self.voidresp()

    def putline(self, line: str) -> None:
        if CONTROL.search(line):
            raise DestinationInvalid("a path (or login) for an FTP server cannot hold control characters")
        try:
            data = line.encode(self.encoding, "surrogateescape")
        except UnicodeEncodeError as error:
            raise DestinationInvalid(f"a name cannot be written in {self.encoding}, the encoding of the server: "
                                     f"{ascii(line[error.start:error.end])}") from None
        if self._buffer:
            raise ftplib.error_proto(f"the server said something unasked: {self._scrubbed(self.getline())}")
        self._control(self._start_clock()).sendall(data + b"\r\n")

    def getresp(self) -> str:
        if not self._buffer:
            self._fill(self._seconds_left())
        data = self._buffer
        if data.find(b"\n") == len(data) - 1 and data[3:4] != b"-":  # one whole line, as nearly always
            self._buffer = b""
            reply = data.rstrip(b"\r\n").decode(self.encoding, "replace")
        else:
            reply = self.getmultiline()
        self.lastresp = reply[:3]
        if reply[:1] in ("1", "2", "3"):
            return reply
        kind = {"4": ftplib.error_temp, "5": ftplib.error_perm}.get(reply[:1], ftplib.error_proto)
        raise kind(self._scrubbed(reply))

    def getline(self) -> str:
        while b"\n" not in self._buffer:
            self._fill(self._seconds_left())
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line.rstrip(b"\r").decode(self.encoding, "replace")

    def _fill(self, seconds: float) -> None:
        data = self._control(seconds).recv(8192)
        if not data:
            raise EOFError
        self._room -= len(data)
        if self._room < 0:
            raise ftplib.error_proto("the server's reply does not end")
        self._buffer += data

    def _control(self, seconds: float) -> socket.socket:
        """The control connection, set to wait for some *seconds*. Setting it is a system call, so about right is right enough."""
        if self.sock is None:
            raise EOFError
        present = self.sock.gettimeout()
        if present is None or not 0.9 * seconds <= present <= 1.1 * seconds:
            self.sock.settimeout(seconds)
        return self.sock

    def _start_clock(self) -> float:
        """The seconds that the next reply may take, counted from here; all replies up to `settle` share one time."""
        self._room = LONGEST_REPLY
        if not self._settled:
            return self._seconds_left()
        self._ends = time.monotonic() + self.stall_timeout
        return self.stall_timeout

    def _seconds_left(self) -> float:
        left = self._ends - time.monotonic()
        if left <= 0:
            raise TimeoutError("no reply in time")
        return left

    def voidresp(self) -> str:
        reply = self.getresp()
        if reply[0] != "2":
            raise ftplib.error_reply(self._scrubbed(reply))
        return reply

    def _scrubbed(self, reply: str) -> str:
        return reply[:3] + scrubbed(reply[3:], self._secrets)

    def patiently(self, command: str, seconds: float) -> str:
        """As `sendcmd`, for a command that takes the server some time: its reply may come *seconds* later than others."""
        self.putline(command)
        self._ends += seconds
        return self.getresp()

    def wait_for_reply(self, seconds: float) -> None:
        """Return when there is something to read. Raises `TimeoutError` after *seconds*, `EOFError` when the server hung up."""
        if not self._buffer:
            self._fill(seconds)
        self._start_clock()

    def reason_of(self, error: OSError) -> Exception:
        """The server's own word on why a data connection failed with *error*, else *error*."""
        late = isinstance(error, TimeoutError)
        try:
            self.wait_for_reply(0.0 if late else min(PATIENCE, self.stall_timeout))
            self.getresp()
        except ftplib.Error as reply:
            return reply
        except (OSError, EOFError):
            return error
        return error

    def ntransfercmd(self, cmd: str, rest: int | str | None = None) -> tuple[socket.socket, int | None]:
        """A data connection for *cmd*, and None: sizes matter for downloads only."""
        data = self._connected_data()
        try:
            if rest is not None:
                self.sendcmd(f"REST {rest}")
            reply = self.sendcmd(cmd)
            if reply[0] == "2":  # some servers say so before they say 150
                reply = self.getresp()
            if reply[0] != "1":
                raise ftplib.error_reply(self._scrubbed(reply))
            return self._encrypted(data), None
        except BaseException:
            data.close()
            raise

    def _connected_data(self) -> socket.socket:
        port = self._passive_port()
        data = socket.socket(self.af, socket.SOCK_STREAM)
        try:
            data.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            data.settimeout(self._connect_timeout)
            data.connect((self._peer[0], port, *self._peer[2:]))
            data.settimeout(self.stall_timeout)
        except BaseException:
            data.close()
            raise
        return data

    def _passive_port(self) -> int:
        try:
            port = int(self.makepasv()[1])
        except ValueError:
            port = 0
        except ftplib.Error as error:
            error.args = (self._scrubbed(str(error)),)
            raise
        if not 0 < port < 65536:
            raise ftplib.error_proto("the server names no port for data")
        return port

    def _encrypted(self, data: socket.socket) -> socket.socket:
        """*data*, with TLS where the control connection has it, continuing its session where the server takes part in that.

        Asking Python for a session, and offering one, costs a good part of what a resumption saves: so once each, at most.
        """
        if self._context is None:
            return data
        if not self._session_asked and isinstance(self.sock, ssl.SSLSocket):
            self._session = self.sock.session
        try:
            encrypted = self._context.wrap_socket(data, server_hostname=self.host, session=self._session)
        except OSError as error:
            raise self.reason_of(error) from error
        if not self._session_asked and not encrypted.session_reused:
            self._session = None
        self._session_asked = True
        return encrypted

    def leave(self) -> None:
        """Say goodbye and close; never raises."""
        with contextlib.suppress(OSError, EOFError, ftplib.Error, DestinationInvalid):
            self._settled, self._ends = False, time.monotonic() + 1.0
            self.sendcmd("QUIT")
        self.drop()

    def drop(self) -> None:
        """Close without a word; never raises."""
        with contextlib.suppress(OSError):
            self.close()
