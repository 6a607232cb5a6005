"""Moves by scp (`scp://user@host:22/path`). Connection parameters: see `parameters`.

As OpenSSH's `scp` since 9.0, it speaks SFTP wherever the server does (then it is the sftp mover with scp's own defaults), and
the old protocol where it does not, or where `scp_protocol = legacy` asks for it (as `scp -O`). In the old protocol bytes go to
`scp -t`, the rest (rename, directories, size) to a shell; both stay open, as starting a program for each file costs more than the
file.

Measured with `benchmarks/movers_ssh.py` on two cores, beside OpenSSH 9.2's `scp` in the same run, medians of three: 512 MiB at
1.5 (1.1 to 1.5) times its speed, 1,000 files of 20 KiB over 16 sessions at 2.0 (1.4 to 2.0) times, 2,042 a second; by the old
protocol 1.35 and 0.3 times `scp -O` (which neither renames nor compares). scp.py over paramiko took 21 files a second, 571 with
TCP_NODELAY, and 0.7 times `scp -O` for a large file.
"""

from __future__ import annotations

import itertools
import os
import posixpath
import shlex
from dataclasses import replace

from trollmoves.errors import (
    ConnectionLost,
    DestinationFull,
    DestinationInvalid,
    MoveError,
    OriginChanged,
    Refused,
    TemporaryError,
)
from trollmoves.movers.bandwidth import Pace
from trollmoves.movers.base import (
    Abilities,
    MissingDirectory,
    Mover,
    Origin,
    Progress,
    Sent,
    Session,
    SessionSettings,
    nothing_written,
)
from trollmoves.movers.parameters import SCP
from trollmoves.movers.sftp import CHECKSUM_WITHIN, SftpSession
from trollmoves.movers.ssh_command import CommandChannel, start_command
from trollmoves.movers.ssh_connections import Connections, Lease
from trollmoves.movers.ssh_login import login_of, number
from trollmoves.uris import Destination

ATTEMPTS = 3
"""To connect, unless `num_ssh_retries` says otherwise."""
CHUNK = 2**18
"""Bytes handed over at a time."""

ERRORS: tuple[tuple[str, type[MoveError]], ...] = (
    ("No such file or directory", MissingDirectory),
    ("No space left", DestinationFull),
    ("quota exceeded", DestinationFull),
    ("Permission denied", Refused),
    ("Operation not permitted", Refused),
    ("Read-only file system", Refused),
    ("Not a directory", Refused),
    ("s a directory", Refused),
    ("File name too long", DestinationInvalid),
)
"""What programs at the other end say in the C locale. Anything else is temporary."""


def translated(path: str, said: bytes) -> MoveError:
    """Our error for what a program at the other end said."""
    text = "".join(character for character in said.decode("utf-8", "replace")[:300] if character.isprintable())
    kind = next((kind for words, kind in ERRORS if words in text), TemporaryError)
    return kind(f"{path}: {text or 'it failed at the other end'}")


class ShellSession(Session):
    """For servers without SFTP: bytes go to `scp -t`, which stays open for the directory it was started in; the rest is done by
    a shell that stays open too."""

    def __init__(self, lease: Lease, settings: SessionSettings, pace: Pace, patience: float):
        self._lease = lease
        self._patience = patience
        self._directory_mode = settings.directory_mode
        self._exact_directory_mode = settings.exact_directory_mode
        self._file_mode = settings.file_mode
        self._pace = pace
        self._shell: CommandChannel | None = None
        self._sink: CommandChannel | None = None
        self._directory = ""
        self._marks = itertools.count(1)

    def abilities(self, declared: Abilities) -> Abilities:
        return replace(declared, resume=False)

    def look(self, destination: Destination) -> None:
        """See that there is a shell. Raises `DestinationInvalid` when there is none."""
        try:
            status, said = self._run("true")
        except ConnectionLost as error:
            if self._lease.connection.lost:
                raise
            raise DestinationInvalid(f"{destination}: the server offers neither sftp nor a shell") from error
        if status:
            raise translated(str(destination), said)

    def put(self, origin: Origin, path: str, progress: Progress, offset: int = 0) -> Sent:
        with nothing_written():
            sink = self._begun(origin, path)
        try:
            self._send(sink, origin, progress)
            self._acknowledged(sink, path)
        except BaseException:
            self._end_sink()
            raise
        progress(origin.size)
        return Sent(origin.size, None, "size")  # the sink has counted the bytes: it acknowledges no less

    def _begun(self, origin: Origin, path: str) -> CommandChannel:
        """A sink that has opened *path*."""
        directory, name = posixpath.split(path)
        if "\n" in name:
            raise DestinationInvalid(f"{path}: the old protocol of scp has no names with line ends")
        sink = self._sink_in(directory)
        try:
            seconds = max(0, origin.mtime_ns // 10**9)
            mode = origin.mode if self._file_mode is None else self._file_mode
            sink.write(b"T%d 0 %d 0\nC%04o %d %s\n" % (seconds, seconds, mode, origin.size, _bytes(name)))
            self._acknowledged(sink, path)
            self._acknowledged(sink, path)
        except BaseException:
            self._end_sink()
            raise
        return sink

    def _sink_in(self, directory: str) -> CommandChannel:
        if self._sink is not None and self._directory == directory and not self._sink.lost:
            return self._sink
        self._end_sink()
        sink = start_command(self._lease, f"env LC_ALL=C scp -t -p -d -- {shlex.quote(directory)}", self._patience)
        try:
            self._acknowledged(sink, directory)
        except BaseException:
            sink.close()
            raise
        self._sink, self._directory = sink, directory
        return sink

    def _end_sink(self) -> None:
        if self._sink is not None:
            self._sink.close()
            self._sink = None

    @staticmethod
    def _acknowledged(sink: CommandChannel, path: str) -> None:
        if sink.read_byte():
            raise translated(path, sink.read_line())

    def _send(self, sink: CommandChannel, origin: Origin, progress: Progress) -> None:
        done = 0
        while done < origin.size:
            data = os.pread(origin.descriptor, min(self._pace.at_once(CHUNK), origin.size - done), done)
            if not data:
                raise OriginChanged(f"{origin.path}: ended after {done} of {origin.size} bytes")
            self._pace.wait_for(len(data))
            done += len(data)
            sink.write(data if done < origin.size else data + b"\0")
            progress(done)
        if not origin.size:
            sink.write(b"\0")

    def _run(self, command: str) -> tuple[int, bytes]:
        """Exit status of a shell command and the last line it printed."""
        if self._shell is None or self._shell.lost:
            self._shell = start_command(self._lease, "env LC_ALL=C sh", self._patience)
        mark = b"done-%d-" % next(self._marks)
        try:
            self._shell.write(_bytes(f"{{ {command}; }} 2>&1 </dev/null; printf '\\n%s%d\\n' {mark.decode()} $?\n"))
            *said, last = self._shell.read_lines(mark)
            return _number(last[len(mark):]), next((line for line in reversed(said) if line), b"")
        except BaseException:
            self._shell.close()
            raise

    def _do(self, command: str, path: str) -> None:
        status, said = self._run(command)
        if status:
            raise translated(path, said)

    def size(self, path: str) -> int | None:
        quoted = shlex.quote(path)
        status, said = self._run(f"if [ -f {quoted} ]; then wc -c < {quoted}; fi")
        if status:
            raise translated(path, said)
        return _number(said.strip()) if said.strip() else None

    def is_directory(self, path: str) -> bool:
        return self._run(f"[ -d {shlex.quote(path)} ]")[0] == 0

    def rename(self, source: str, target: str) -> None:
        first, second = shlex.quote(source), shlex.quote(target)
        self._do(f"if [ -d {second} ]; then echo is a directory; false; else mv -f -- {first} {second}; fi", target)

    def remove(self, path: str) -> None:
        self._do(f"rm -f -- {shlex.quote(path)}", path)

    def make_directories(self, path: str) -> None:
        mode = self._directory_mode
        umask = "" if mode == 0o777 else f"umask {0o777 & ~mode:03o}; "
        exact = "" if self._exact_directory_mode is None else f"-m {self._exact_directory_mode:o} "
        self._do(f"( {umask}mkdir -p {exact}-- {shlex.quote(path)} )", path)

    def sync(self, path: str) -> None:
        self._do(f"sync -- {shlex.quote(path)} || sync", path)

    def checksum(self, path: str) -> str | None:
        return self._lease.sha256(path, CHECKSUM_WITHIN)

    def is_alive(self) -> bool:
        if self._lease.connection.lost:
            return False
        try:
            return self._run("true")[0] == 0
        except MoveError:
            return False

    def close(self) -> None:
        self._end_sink()
        if self._shell is not None:
            self._shell.close()
            self._shell = None
        self._lease.release()


def _number(said: bytes) -> int:
    if not said.isdigit() or len(said) > 19:
        raise ConnectionLost("what the shell at the other end says makes no sense")
    return int(said)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


class ScpMover(Mover):
    """Holds the connections its sessions share."""

    schemes = ("scp",)
    abilities = Abilities(sync=True, resume=True, attributes=True, parallel=32)
    parameters = SCP

    def __init__(self) -> None:
        self._connections = Connections()
        self._numbers = itertools.count(1)

    def open(self, destination: Destination, settings: SessionSettings) -> Session:
        login = login_of(destination, settings, ATTEMPTS)
        patience = number(settings.parameters, "scpclient_timeout_seconds", settings.stall_timeout)
        pace = settings.pace(destination.host)
        if settings.parameters.get("scp_protocol") != "legacy":
            lease = self._connections.lease(login)
            if lease.connection.sftp is not None:
                return SftpSession(lease, lease.connection.sftp, settings, pace, patience)
            lease.release()
        # Each with a connection of its own: a server allows some ten commands on one, and a session needs two.
        lease = self._connections.lease(replace(login, alone=next(self._numbers)), want_sftp=False)
        session = ShellSession(lease, settings, pace, patience)
        try:
            session.look(destination)
        except BaseException:
            session.close()
            raise
        return session
