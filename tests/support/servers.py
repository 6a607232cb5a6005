"""What the real servers have in common: a program in a folder of its own, a port that answers, a certificate."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.eventually import eventually
from tests.support.programs import CHECKOUT, Program
from tests.support.unavailable import need_program

HOST = "127.0.0.1"
UNPACKED = CHECKOUT / ".cache" / "debian"  # where bin/test unpacks what cannot be installed beside other packages


def answers(port: int, host: str = HOST) -> bool:
    """Whether something accepts connections there."""
    with socket.socket() as candidate:
        candidate.settimeout(2)
        return candidate.connect_ex((host, port)) == 0


def unpacked_program(name: str) -> str | None:
    """The path of a program below UNPACKED."""
    return shutil.which(name, path=os.pathsep.join(str(UNPACKED / "usr" / part) for part in ("sbin", "bin")))


def run_tool(*argv: str | Path, text: str = "", environment: Mapping[str, str] | None = None) -> str:
    """Run a short system program to its end and return what it printed; its failure fails the test."""
    done = subprocess.run([str(word) for word in argv], input=text, capture_output=True, text=True, timeout=60, env=environment)
    assert done.returncode == 0, f"{argv[0]}: {done.stderr or done.stdout}"
    return done.stdout


@dataclass(frozen=True)
class Certificate:
    """A self-made certificate for 127.0.0.1 and localhost; it is its own authority."""

    certificate: Path
    key: Path
    both: Path
    """Key and certificate in one file, as some servers want it."""


def make_certificate(folder: Path) -> Certificate:
    """Made by openssl, valid for a week."""
    openssl = need_program("openssl", "openssl")
    made = Certificate(folder / "certificate.pem", folder / "key.pem", folder / "both.pem")
    run_tool(openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "7", "-subj", "/CN=localhost",
             "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", made.key, "-out", made.certificate)
    made.both.write_text(made.key.read_text() + made.certificate.read_text())
    made.both.chmod(0o600)
    return made


def with_password(key: Path, password: str) -> Path:
    """*key* as it is when it takes *password* to read it."""
    locked = key.with_name("locked.pem")
    run_tool(need_program("openssl", "openssl"), "pkcs8", "-topk8", "-in", key, "-passout", f"pass:{password}", "-out", locked)
    return locked


class Server:
    """One program that serves on `host`:`port` until the end of the `with` block.

    Subclasses prepare files in the constructor and give the command. `program` may be killed, suspended and restarted.
    """

    host = HOST
    port: int
    root: Path
    """The folder whose files are served."""
    program: Program

    def _serve(self, argv: Sequence[str | Path], folder: Path, environment: Mapping[str, str] | None = None) -> None:
        self.program = Program(argv, folder / "log", environment=environment, directory=folder, name=type(self).__name__)

    def start(self) -> Self:
        """Start it and wait until it answers."""
        self.program.start()
        eventually(self._is_up, seconds=40, message=f"{type(self).__name__} answers")
        return self

    def _is_up(self) -> bool:
        if not self.program.running:
            self.program.wait_for("(?!)", seconds=0)  # nothing matches this: it fails with the end of the log
        return answers(self.port)

    def restart(self) -> Self:
        """Kill it and start it again on the same port."""
        self.program.kill()
        return self.start()

    def stop(self) -> None:
        self.program.kill()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()


def new_folder(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    return path
