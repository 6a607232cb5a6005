"""Real FTP servers: pure-ftpd (also with TLS) for how it should be, pyftpdlib for how it goes wrong."""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.support.ports import free_port, free_port_range
from tests.support.servers import HOST, UNPACKED, Server, make_certificate, new_folder, run_tool, unpacked_program
from tests.support.unavailable import need_program, unavailable

NOBODY = 65534


class FtpServer(Server):
    """pure-ftpd with one virtual user, jailed in `root`. Needs root, as that server does.

    *tls*: "no", "offered" (explicit AUTH TLS is accepted) or "required" (on both connections). `authority` is the certificate.
    *passive*: how many ports data connections may use, `passive_ports`.
    """

    def __init__(self, folder: Path, tls: str = "no", passive: int = 40):
        command = shutil.which("pure-ftpd", path="/usr/sbin") or unpacked_program("pure-ftpd")
        password_tool = shutil.which("pure-pw") or unpacked_program("pure-pw")
        if not command or not password_tool:
            unavailable("pure-ftpd is not installed (bin/test unpacks it from Debian)")
        if os.getuid() != 0:
            unavailable("pure-ftpd needs root")
        self.folder, self.root = new_folder(folder), new_folder(folder / "files")
        self.port, self.user, self.password = free_port(), "reader", "a secret:word"
        os.chown(self.root, NOBODY, NOBODY)
        self.authority = folder / "certificate.pem"
        self.passive_ports = free_port_range(passive)
        libraries = {"LD_LIBRARY_PATH": os.pathsep.join(map(str, (UNPACKED / "usr" / "lib").glob("*-linux-gnu*")))}
        self._make_user(password_tool, {**os.environ, **libraries})
        ports = f"{self.passive_ports[0]}:{self.passive_ports[-1]}"
        options = ["-S", f"{HOST},{self.port}", "-p", ports, "-l", f"puredb:{folder}/users.pdb", "-E", "-H",
                   "-A", "-g", str(folder / "pid"), "-c", "100", "-C", "100", "-u", "100", "-d"]
        if tls != "no":
            options += ["-Y", {"offered": "1", "required": "3"}[tls], "-2", str(make_certificate(folder).both)]
        self._serve([command, *options], folder, libraries)

    def _make_user(self, tool: str, environment: Mapping[str, str]) -> None:
        # Made by hand: the tool's own hash takes a second or more at every log-in.
        secret = run_tool(need_program("openssl", "openssl"), "passwd", "-6", "-stdin", text=self.password).strip()
        users = self.folder / "users"
        users.write_text(f"{self.user}:{secret}:{NOBODY}:{NOBODY}::{self.root}/./::::::::::::\n")
        run_tool(tool, "mkdb", self.folder / "users.pdb", "-f", users, environment=environment)


@dataclass
class FtpScript:
    """What goes wrong, by command in capitals. May be changed while the server runs."""

    answers: dict[str, list[str]] = field(default_factory=dict)
    """`{"STOR": ["452 Disk full."]}`: the next such commands get these lines instead of being done, one each. The key "226" is
    for what is said after an upload."""
    unknown: set[str] = field(default_factory=set)
    """Commands answered with 502 and not listed by FEAT."""
    cut_upload_after: int | None = None
    """So many bytes of the next upload are taken (4096 more at most), then the data and the control connection are closed."""
    sums: bool = False
    """Offer HASH with SHA-256, which pyftpdlib does not know."""
    passive_address: str | None = None
    """What PASV claims to be our address."""
    commands: list[str] = field(default_factory=list)
    """Every command line that came, without the arguments of PASS."""


class ScriptedFtpServer:
    """pyftpdlib in a thread, on 127.0.0.1, with one user; no root needed. Does what `script` says."""

    host = HOST

    def __init__(self, folder: Path, script: FtpScript | None = None, *, tls: bool = False, port: int = 0,
                 password: str = "a secret:word"):
        from pyftpdlib.ioloop import IOLoop
        from pyftpdlib.servers import FTPServer

        self.root = new_folder(folder / "files")
        self.user, self.password = "reader", password
        self.script = script or FtpScript()
        self.port = port or free_port()
        self.authority = make_certificate(folder).certificate if tls else None
        self._loop = IOLoop()
        self._server: Any = FTPServer((self.host, self.port), self._handler(folder), ioloop=self._loop)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"ftp-{self.port}", daemon=True)

    def _handler(self, folder: Path) -> type[Any]:
        from pyftpdlib.authorizers import DummyAuthorizer

        authorizer = DummyAuthorizer()
        authorizer.add_user(self.user, self.password, str(self.root), perm="elradfmwMT")
        base = _tls_handler(folder) if self.authority else _plain_handler()
        made: type[Any] = _scripted(base, self.script)
        made.authorizer = authorizer
        made.passive_ports = free_port_range(30)
        made.auth_failed_timeout = 0.05
        return made

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._loop.loop(timeout=0.05, blocking=False)
        self._server.close_all()

    def __enter__(self) -> ScriptedFtpServer:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stopping.set()
        self._thread.join(60)


def _plain_handler() -> Any:
    from pyftpdlib.handlers import FTPHandler

    return FTPHandler


def _tls_handler(folder: Path) -> Any:
    from pyftpdlib.handlers import TLS_FTPHandler

    return type("TlsHandler", (TLS_FTPHandler,), {"certfile": str(folder / "both.pem")})


def _hash_command(script: FtpScript) -> dict[str, Any]:
    return {"HASH": {"perm": "r", "auth": True, "arg": True, "help": "Syntax: HASH <SP> path."}} if script.sums else {}


def _scripted(base: Any, script: FtpScript) -> type[Any]:
    """The handler *base* with the failures of *script*."""

    class DataHandler(base.dtp_handler):  # type: ignore[misc]
        ac_in_buffer_size = 4096

        def handle_read_event(self) -> None:
            super().handle_read_event()
            limit = script.cut_upload_after
            if limit is not None and self.get_transmitted_bytes() >= limit:
                script.cut_upload_after = None
                self.cmd_channel.close()

    class Handler(base):  # type: ignore[misc]
        dtp_handler = DataHandler
        masquerade_address = script.passive_address
        proto_cmds = {name: value for name, value in {**base.proto_cmds, **_hash_command(script)}.items()
                      if name not in script.unknown}

        def __init__(self, *arguments: Any, **keywords: Any) -> None:
            super().__init__(*arguments, **keywords)
            self._extra_feats += ["HASH SHA-1*;SHA-256"] if script.sums else []

        def ftp_HASH(self, path: str) -> None:
            content = Path(path).read_bytes()
            self.respond(f"213 SHA-256 0-{len(content)} {hashlib.sha256(content).hexdigest()} {self.fs.fs2ftp(path)}")

        def ftp_OPTS(self, line: str) -> None:
            self.respond("200 SHA-256") if line == "HASH SHA-256" and script.sums else super().ftp_OPTS(line)

        def respond(self, text: str, *arguments: Any, **keywords: Any) -> None:
            planned = script.answers.get("226") if text.startswith("226") else None
            super().respond(planned.pop(0) if planned else text, *arguments, **keywords)

        def process_command(self, command: str, *arguments: Any, **keywords: Any) -> None:
            script.commands.append(" ".join([command, *(map(str, arguments) if command != "PASS" else ())]))
            planned = script.answers.get(command)
            if planned:
                self.respond(planned.pop(0))
            else:
                super().process_command(command, *arguments, **keywords)

    return Handler
