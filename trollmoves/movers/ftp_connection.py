"""One FTP control connection: ftplib's protocol code, with what safe and fast uploads need on top.

- TCP_NODELAY on control and data sockets: without it ftps moved 22 small files a second, with it 400 to 600.
- Data connections offer the TLS session of the control connection (proftpd and vsftpd refuse others by default).
- Data connections go to the host of the control connection, whatever address the server's PASV answer names.
- A reply has an end: in time, and in size. Passwords are taken out of what a server says before anybody sees it.
- A command holds no control characters, so that no file name can smuggle in another command.
- An upload ends with the server's confirmation; while sent bytes still drain to a slow server, waiting for it is not stalling.
"""

# ruff: noqa: S321 - whether the connection is encrypted is the choice of who writes ftp or ftps
from __future__ import annotations

import contextlib
import fcntl
import ftplib  # noqa: S402
import re
import select
import socket
import ssl
import struct
import sys
import time

from trollmoves.errors import DestinationInvalid
from trollmoves.movers.credentials import Login

LONGEST_REPLY = 2**16
"""Bytes of one reply, all its lines together."""
PATIENCE = 5.0
"""Seconds to wait for the server's word on why a data connection broke."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_TIOCOUTQ = 0x5411


class Connection(ftplib.FTP):
    """Not yet connected when made; raises ftplib's errors, `OSError`, `EOFError` and, for a bad name, `DestinationInvalid`."""

    def __init__(self, connect_timeout: float, stall_timeout: float, context: ssl.SSLContext | None = None,
                 encoding: str = "utf-8"):
        super().__init__(timeout=connect_timeout, encoding=encoding)
        self._context = context
        self._stall_timeout = stall_timeout
        self._session: ssl.SSLSession | None = None
        self._asked = False
        self._buffer = bytearray()
        self._room = 0
        self._secrets: list[str] = []
        self._ends = 0.0
        self._log_in_until: float | None = time.monotonic() + connect_timeout

    def reach(self, host: str, port: int) -> None:
        """Connect, read the welcome and, with a TLS context, secure the connection."""
        self.host, self.port = host, port
        self.sock = socket.create_connection((host, port), self.timeout)
        self.af = self.sock.family
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self.welcome = self.getresp()
        if self._context is not None:
            self._secure(self._context)

    def _secure(self, context: ssl.SSLContext) -> None:
        self.voidcmd("AUTH TLS")
        if self._buffer:
            raise ftplib.error_proto("unencrypted bytes follow the reply to AUTH TLS")
        control = self._control()
        control.settimeout(self._seconds_left())
        self.sock = context.wrap_socket(control, server_hostname=self.host)

    def log_in(self, login: Login) -> None:
        """Log in; from then on replies may take as long as a transfer may stall."""
        self._secrets = [secret for secret in (login.password, login.account) if secret]
        reply = self.sendcmd(f"USER {login.user}")
        if reply[0] == "3":
            reply = self.sendcmd(f"PASS {login.password}")
        if reply[0] == "3":
            reply = self.sendcmd(f"ACCT {login.account}")
        if reply[0] != "2":
            raise ftplib.error_perm(self._scrubbed(reply))

    def protect(self) -> None:
        """Have data connections encrypted too, where the control connection is."""
        if self._context is not None:
            self.voidcmd("PBSZ 0")
            self.voidcmd("PROT P")

    def settle(self) -> None:
        """The connection is ready for use: the time limit of logging in no longer holds."""
        self._log_in_until = None

    def putline(self, line: str) -> None:
        if _CONTROL.search(line):
            raise DestinationInvalid("a path (or login) for an FTP server cannot hold control characters")
        try:
            data = line.encode(self.encoding, "surrogateescape")
        except UnicodeEncodeError as error:
            raise DestinationInvalid(f"a name cannot be written in {self.encoding}, the encoding of the server: "
                                     f"{ascii(line[error.start:error.end])}") from None
        control = self._control()
        if self._buffer:
            raise ftplib.error_proto(f"the server said something unasked: {self._scrubbed(self.getline())}")
        self._ends = self._limit()
        control.settimeout(self._seconds_left())
        control.sendall(data + b"\r\n")

    def _control(self) -> socket.socket:
        if self.sock is None:
            raise EOFError
        return self.sock

    def patiently(self, command: str, seconds: float) -> str:
        """As `sendcmd`, for a command that takes the server some time: its reply may come *seconds* later than others."""
        self.putcmd(command)
        self.wait_for_reply(self._stall_timeout + seconds)
        return self.getresp()

    def getresp(self) -> str:
        self._ends, self._room = self._limit(), LONGEST_REPLY
        reply = self.getmultiline()
        self.lastresp = reply[:3]
        if reply[:1] in ("1", "2", "3"):
            return reply
        kind = {"4": ftplib.error_temp, "5": ftplib.error_perm}.get(reply[:1], ftplib.error_proto)
        raise kind(self._scrubbed(reply))

    def getline(self) -> str:
        while (end := self._buffer.find(b"\n")) < 0:
            self._fill(self._seconds_left())
        line = bytes(self._buffer[:end])
        del self._buffer[:end + 1]
        return line.rstrip(b"\r").decode(self.encoding, "replace")

    def _fill(self, seconds: float) -> None:
        control = self._control()
        control.settimeout(seconds)
        data = control.recv(8192)
        if not data:
            raise EOFError
        self._room -= len(data)
        if self._room < 0:
            raise ftplib.error_proto("the server's reply does not end")
        self._buffer += data

    def _limit(self) -> float:
        """When the next reply has to be there: the time to log in is one for all its replies."""
        return time.monotonic() + self._stall_timeout if self._log_in_until is None else self._log_in_until

    def _seconds_left(self) -> float:
        left = self._ends - time.monotonic()
        if left <= 0:
            raise TimeoutError("no reply in time")
        return left

    def _scrubbed(self, reply: str) -> str:
        for secret in self._secrets:
            reply = reply.replace(secret, "***")
        return reply

    def ntransfercmd(self, cmd: str, rest: int | str | None = None) -> tuple[socket.socket, int | None]:
        data, size = super().ntransfercmd(cmd, rest)
        try:
            data.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._context is not None:
                data = self._encrypted(data, self._context)
            data.settimeout(self._stall_timeout)
        except OSError as error:
            data.close()
            raise self.reason_of(error) from error
        return data, size

    def _encrypted(self, data: socket.socket, context: ssl.SSLContext) -> socket.socket:
        """*data* with TLS, continuing the session of the control connection where the server takes part in that.

        Asking Python for a session, and offering one, costs a good part of what a resumption saves: so once each, at most.
        """
        if not self._asked and isinstance(self.sock, ssl.SSLSocket):
            self._session = self.sock.session
        encrypted = context.wrap_socket(data, server_hostname=self.host, session=self._session)
        if not self._asked and not encrypted.session_reused:
            self._session = None
        self._asked = True
        return encrypted

    def upload(self, command: str, rest: int | None = None) -> Upload:
        """Begin an upload: `STOR` or `APPE` with its path, from byte *rest* on."""
        return Upload(self, self.transfercmd(command, rest), self._stall_timeout)

    def wait_for_reply(self, seconds: float) -> None:
        """Return when there is something to read. Raises `TimeoutError` after *seconds*, `EOFError` when the server hung up."""
        if not self._buffer:
            self._room = LONGEST_REPLY
            self._fill(seconds)

    def reason_of(self, error: OSError) -> Exception:
        """The server's own word on why a data connection failed with *error*, else *error*."""
        late = isinstance(error, TimeoutError)
        try:
            self.wait_for_reply(0.0 if late else min(PATIENCE, self._stall_timeout))
            self.getresp()
        except ftplib.Error as reply:
            return reply
        except (OSError, EOFError):
            return error
        return error

    def leave(self) -> None:
        """Say goodbye and close; never raises."""
        with contextlib.suppress(OSError, EOFError, ftplib.Error, DestinationInvalid):
            self._log_in_until = time.monotonic() + 1.0
            self.sendcmd("QUIT")
        self.drop()

    def drop(self) -> None:
        """Close without a word; never raises."""
        with contextlib.suppress(OSError):
            self.close()


class Upload:
    """A data connection, from the server's go-ahead to its confirmation."""

    def __init__(self, control: Connection, data: socket.socket, stall_timeout: float):
        self._control = control
        self._data = data
        self._stall_timeout = stall_timeout
        self._answered = False

    def send(self, chunk: memoryview) -> int:
        """Hand over a first part of *chunk*; returns its length. Raises the server's reason where it gives one."""
        try:
            return self._data.send(chunk)
        except OSError as error:
            self._answered = True
            self._data.close()
            raise self._control.reason_of(error) from error

    def complete(self) -> None:
        """Say that this was all and return when the server confirms it. The socket stays open until then: closing one on which
        something unread has come (the server's TLS tickets) would reset it, and with it bytes that are on their way."""
        self._answered = True
        try:
            self._end_stream()
            self._wait_while_it_drains()
            self._control.voidresp()
        finally:
            self._data.close()

    def _end_stream(self) -> None:
        """A broken data connection is no error yet: what the server replies decides."""
        try:
            if isinstance(self._data, ssl.SSLSocket):
                _say_goodbye(self._data, self._stall_timeout)
            self._data.shutdown(socket.SHUT_WR)
        except TimeoutError:
            raise
        except OSError:
            return

    def _wait_while_it_drains(self) -> None:
        unsent, since = _unsent(self._data), time.monotonic()
        while True:
            try:
                self._control.wait_for_reply(min(1.0, self._stall_timeout))
                return
            except TimeoutError:
                now = _unsent(self._data)
                if now != unsent:
                    unsent, since = now, time.monotonic()
                elif time.monotonic() - since >= self._stall_timeout:
                    raise

    def abandon(self) -> bool:
        """Break the upload off; returns whether the control connection can still be used. Fine after a failure of its own."""
        if self._answered:
            return True
        self._answered = True
        with contextlib.suppress(OSError):
            self._data.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._data.close()
        try:
            self._control.wait_for_reply(min(PATIENCE, self._stall_timeout))
            self._control.getresp()
        except (ftplib.error_temp, ftplib.error_perm):
            return True
        except (OSError, EOFError, ftplib.Error):
            return False
        return True


def _say_goodbye(data: ssl.SSLSocket, seconds: float) -> None:
    """Send TLS's end-of-stream without waiting for the other side's, which many servers never send."""
    data.settimeout(0)
    ends = time.monotonic() + seconds
    while True:
        try:
            data.unwrap()
        except ssl.SSLWantReadError:
            return
        except ssl.SSLWantWriteError:
            if not select.select([], [data], [], max(0.0, ends - time.monotonic()))[1]:
                raise TimeoutError("no byte went out in time") from None
            continue
        return


def _unsent(data: socket.socket) -> int:
    """Bytes the other side has not acknowledged yet; always 0 where the system cannot tell."""
    if sys.platform != "linux":
        return 0
    try:
        return int(struct.unpack("i", fcntl.ioctl(data.fileno(), _TIOCOUTQ, b"\0\0\0\0"))[0])
    except OSError:
        return 0
