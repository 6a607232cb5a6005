"""Ssh connections that many sessions share: one thread with an event loop, one connection for each login.

A connection is opened by the first session that needs it and closed when the last one closes; the thread ends with the last
connection. Sessions may belong to any threads. After a fork the child starts with none.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import shlex
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import asyncssh

from trollmoves.errors import ConnectionLost, LoginRefused, MoveError, Unreachable
from trollmoves.exposed import exposed
from trollmoves.movers.credentials import scrubbed
from trollmoves.movers.sftp_channel import SftpChannel
from trollmoves.movers.sftp_protocol import ProtocolBroken
from trollmoves.movers.ssh_login import SshLogin
from trollmoves.movers.ssh_transport import Connector
from trollmoves.uris import CONTROL

logger = logging.getLogger(__name__)

Value = TypeVar("Value")

BETWEEN_ATTEMPTS = 2.0
"""Seconds."""
LONGEST_OUTPUT = 2**16
"""Bytes of a command's output; one that says more is ended, and counts as one that cannot be run."""
CIPHERS = "^aes128-gcm@openssh.com,aes256-gcm@openssh.com"
"""These first: half the processor time of the others."""

ERRORS: tuple[tuple[type[Exception], type[MoveError], str], ...] = (
    (asyncssh.PermissionDenied, LoginRefused, "login refused"),
    (asyncssh.KeyExchangeFailed, LoginRefused, "no common algorithms"),
    (asyncssh.IllegalUserName, LoginRefused, "user name not accepted"),
    (ValueError, LoginRefused, "private key cannot be used"),
    (asyncssh.Error, Unreachable, "connection failed"),
    (TimeoutError, Unreachable, "no answer in time"),
    (OSError, Unreachable, "cannot connect"),
)
"""The first that fits. What the library says is added."""
CAUGHT: tuple[type[Exception], ...] = (*(kind for kind, _, _ in ERRORS), ProtocolBroken, ConnectionLost)


@dataclass(slots=True)
class SharedConnection:
    """A connection and the SFTP channel on it, if the server has one."""

    ssh: Any
    """asyncssh's connection; used in the loop's thread only."""
    sftp: SftpChannel | None

    @property
    def lost(self) -> bool:
        return bool(self.ssh.is_closed()) or (self.sftp is not None and self.sftp.lost)


@dataclass(slots=True, eq=False)
class _Entry:
    """Who uses a connection that is open or being opened; belongs to the loop's thread."""

    opening: asyncio.Task[SharedConnection]
    users: int = 0

    @property
    def usable(self) -> bool:
        return not self.opening.done() or (self.opening.exception() is None and not self.opening.result().lost)


class Lease:
    """The right to use a connection until `release`."""

    def __init__(self, connections: Connections, login: SshLogin, entry: _Entry, connection: SharedConnection, loop: _LoopThread):
        self._connections, self._login, self._entry = connections, login, entry
        self.connection = connection
        self.loop = loop
        self._lock = threading.Lock()
        self._held = True

    def run(self, command: str, seconds: float) -> tuple[int | None, bytes]:
        """Exit status and output of a command there. Raises `ConnectionLost` when it has not ended after *seconds*."""
        return self.loop.run(_ran(self.connection.ssh, command), seconds)

    def sha256(self, path: str, seconds: float) -> str | None:
        """`sha256:<hex>` as the other side's `sha256sum` has it; None when there is none or it may not be run."""
        status, output = self.run(f"sha256sum -- {shlex.quote(path)}", seconds)
        match = re.match(rb"\\?([0-9a-f]{64}) ", output)
        return f"sha256:{match[1].decode()}" if status == 0 and match else None

    def release(self) -> None:
        """May be called twice and from any thread; never raises."""
        with self._lock:
            held, self._held = self._held, False
        if held:
            self._connections.leave(self._login, self._entry, self.loop)


class Connections:
    """All connections of one mover."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: _LoopThread | None = None
        self._leases = 0
        self._process = os.getpid()
        self._entries: dict[SshLogin, _Entry] = {}

    def lease(self, login: SshLogin, want_sftp: bool = True) -> Lease:
        """Share the connection of *login*, opening it if there is none. Raises `Unreachable`, `LoginRefused`."""
        loop = self._enter()
        try:
            entry, connection = loop.run(self._join(login, want_sftp), login.attempts * (login.timeout + BETWEEN_ATTEMPTS) + 10)
        except BaseException:
            self._exit(loop)
            raise
        return Lease(self, login, entry, connection, loop)

    def leave(self, login: SshLogin, entry: _Entry, loop: _LoopThread) -> None:
        """Give a lease back."""
        if self._process != os.getpid():
            return
        with suppress(MoveError):
            loop.run(self._part(login, entry), 10)
        self._exit(loop)

    def _enter(self) -> _LoopThread:
        with self._lock:
            if self._process != os.getpid():
                self._process, self._loop, self._leases, self._entries = os.getpid(), None, 0, {}
            if self._loop is None:
                self._loop = _LoopThread()
            self._leases += 1
            return self._loop

    def _exit(self, loop: _LoopThread) -> None:
        with self._lock:
            self._leases -= 1
            ended = self._leases == 0
            if ended:
                self._loop, self._entries = None, {}
        if ended:
            loop.stop()

    async def _join(self, login: SshLogin, want_sftp: bool) -> tuple[_Entry, SharedConnection]:
        entry = self._entries.get(login)
        if entry is None or not entry.usable:
            entry = _Entry(asyncio.create_task(connect(login, want_sftp)))
            self._entries[login] = entry
        entry.users += 1
        try:
            return entry, await asyncio.shield(entry.opening)
        except BaseException:
            await self._part(login, entry)
            raise

    async def _part(self, login: SshLogin, entry: _Entry) -> None:
        entry.users -= 1
        if entry.users:
            return
        if self._entries.get(login) is entry:
            del self._entries[login]
        if not entry.opening.done():
            entry.opening.cancel()
        elif not entry.opening.cancelled() and entry.opening.exception() is None:
            await _closed(entry.opening.result())


async def _closed(connection: SharedConnection) -> None:
    connection.ssh.close()
    try:
        await asyncio.wait_for(connection.ssh.wait_closed(), 2)
    except TimeoutError:
        connection.ssh.abort()


class _LoopThread:
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="ssh connections", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_forever()
            for task in asyncio.all_tasks(self.loop):
                task.cancel()
            self.loop.run_until_complete(asyncio.sleep(0))
            with suppress(RuntimeError):  # from Python 3.12 on nothing that needs a thread can be done while the interpreter ends
                self.loop.run_until_complete(self.loop.shutdown_default_executor())
        finally:
            self.loop.close()

    def run(self, work: Coroutine[Any, Any, Value], seconds: float) -> Value:
        """The result of *work*. Raises `ConnectionLost` when it has not ended after *seconds*."""
        future: Future[Value] = asyncio.run_coroutine_threadsafe(work, self.loop)
        try:
            return future.result(seconds)
        except TimeoutError as error:
            if future.done() and not future.cancelled():
                raise
            future.cancel()
            raise ConnectionLost(f"not done in {seconds:g} seconds") from error

    def stop(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        if threading.current_thread() is not self._thread:
            self._thread.join(10)


async def connect(login: SshLogin, want_sftp: bool) -> SharedConnection:
    """Connect and log in, in as many attempts as *login* allows."""
    for attempt in range(1, login.attempts + 1):
        try:
            async with asyncio.timeout(login.timeout):
                return await _connect_once(login, want_sftp)
        except CAUGHT as error:
            translated = translate(error, login, attempt)
            if translated.permanent or attempt == login.attempts:
                raise translated from (error if _scrubbed(str(error), login) == str(error) else None)
        await asyncio.sleep(BETWEEN_ATTEMPTS)
    raise AssertionError("there is at least one attempt")


def translate(error: BaseException, login: SshLogin, attempt: int) -> MoveError:
    """Our error for one of the library's while connecting."""
    if isinstance(error, asyncssh.HostKeyNotVerifiable):
        return LoginRefused(f"{login}: {_why_not_trusted(login)} ({error})")
    for kind, ours, text in ERRORS:
        if isinstance(error, kind):
            said = _scrubbed(str(error), login)
            attempts = f"Failed to ssh connect after {attempt} attempts: " if not ours.permanent and login.attempts > 1 else ""
            return ours(f"{attempts}{login}: {text}" + (f" ({said})" if said else ""))
    return Unreachable(f"{login}: {error}")


def _scrubbed(said: str, login: SshLogin) -> str:
    """What the library says may be what the server said, who may repeat what it was told."""
    return CONTROL.sub(" ", scrubbed(said, [login.password] if login.password else []))


def _why_not_trusted(login: SshLogin) -> str:
    if any(_known_hosts(login).match(login.host, "", login.port)[0]):
        return "the host key has changed, or somebody else answers: if it was meant to change, replace the entry in known_hosts"
    return f"the host key is unknown: once you know it is the right one, add it to {login.known_hosts[0]}"


async def _connect_once(login: SshLogin, want_sftp: bool) -> SharedConnection:
    ssh = await _logged_in(login)
    try:
        return SharedConnection(ssh, await open_sftp(ssh) if want_sftp else None)
    except BaseException:
        ssh.abort()
        raise


async def _logged_in(login: SshLogin) -> Any:
    """With the keys that are named, or else, as upstream, with those that are there anyhow."""
    named = _key_options(login)
    try:
        return await _connected(login, password=login.password, **named)
    except (asyncssh.PermissionDenied, ValueError) as error:
        if not login.keys or not _has_usual_keys():
            raise
        with suppress(asyncssh.PermissionDenied, ValueError):
            ssh = await _connected(login)
            logger.warning("%s: the key named is of no use (%s); another one of this user's was taken", login, error)
            return ssh
        raise


async def _connected(login: SshLogin, **options: Any) -> Any:
    return await asyncssh.connect(
        login.host, login.port, tunnel=Connector(login.connect_to), username=login.user, config=None,
        known_hosts=_known_hosts(login), encryption_algs=CIPHERS, compression_algs=["none"], keepalive_interval=15,
        keepalive_count_max=4, **options)


def _has_usual_keys() -> bool:
    """Whether there may be keys that nobody named: those of the agent and of `~/.ssh`."""
    with suppress(RuntimeError):  # there is no home
        return bool(os.environ.get("SSH_AUTH_SOCK")) or any(Path("~/.ssh").expanduser().glob("id_*"))
    return False


def _key_options(login: SshLogin) -> dict[str, Any]:
    if not login.keys:
        return {"passphrase": login.passphrase} if login.passphrase else {}
    for key in login.keys:
        if not os.access(key, os.R_OK):
            raise LoginRefused(f"{login}: private key {key} cannot be read")
        _refuse_exposed(login, key)
    options: dict[str, Any] = {"client_keys": list(login.keys), "passphrase": login.passphrase,
                               "ignore_encrypted": not login.passphrase}
    public = [f"{key}.pub" for key in login.keys if os.access(f"{key}.pub", os.R_OK)]
    # The agent may hold a key that is encrypted here; it is asked for these keys first. With all of its keys before this one a
    # server may lose its patience.
    return options | ({"agent_identities": public} if public else {"agent_path": None})


def _known_hosts(login: SshLogin) -> Any:
    """Never None, which would mean that any host is trusted."""
    lines: list[str] = []
    for path in login.known_hosts:
        with suppress(FileNotFoundError, PermissionError, NotADirectoryError):
            lines += Path(path).read_text("utf-8", "replace").splitlines()
            _refuse_exposed(login, path)
    try:
        return asyncssh.import_known_hosts("\n".join([*lines, ""]))
    except ValueError as error:
        raise LoginRefused(f"{login}: a known_hosts file cannot be read ({error})") from error


def _refuse_exposed(login: SshLogin, path: str) -> None:
    """Whoever writes a list of known hosts says who is trusted."""
    if danger := exposed(path, os.stat(path)):
        raise LoginRefused(f"{login}: {path} {danger}")


async def _ran(ssh: Any, command: str) -> tuple[int | None, bytes]:
    try:
        async with ssh.create_process(command.encode("utf-8", "surrogateescape"), encoding=None, stdin=asyncssh.DEVNULL,
                                      stderr=asyncssh.DEVNULL) as process:
            output = b""
            while (more := await process.stdout.read(LONGEST_OUTPUT)) and len(output) <= LONGEST_OUTPUT:
                output += more
            if more:
                process.channel.abort()
                return None, b""
            await process.wait_closed()
            return process.exit_status, output
    except asyncssh.ChannelOpenError:
        return None, b""
    except (asyncssh.Error, OSError) as error:
        raise ConnectionLost(f"a command could not be run ({error})") from error


async def open_sftp(ssh: Any) -> SftpChannel | None:
    """An SFTP channel on the connection; None when the server offers none."""
    try:
        _, channel = await ssh.create_session(lambda: SftpChannel(asyncio.get_running_loop()), subsystem="sftp", encoding=None)
        await channel.start()
    except (asyncssh.ChannelOpenError, ProtocolBroken, ConnectionLost):
        if ssh.is_closed():
            raise
        return None
    found: SftpChannel = channel
    return found
