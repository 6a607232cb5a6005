"""A real OpenSSH server with keys of its own, run by whoever runs the tests."""

from __future__ import annotations

import getpass
import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from tests.support.ports import free_port
from tests.support.servers import HOST, Server, new_folder, run_tool
from tests.support.unavailable import need_program

CONFIGURATION = """\
ListenAddress {host}
Port {port}
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/authorized_keys
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin yes
MaxStartups 200
MaxSessions 100
UseDNS no
PrintMotd no
LogLevel VERBOSE
"""
SUBSYSTEM = "Subsystem sftp internal-sftp"


class SshServer(Server):
    """Log in as `user` with `client_key`; `known_hosts` has the host key. Paths are those of this machine; use those in `root`.

    *options* are further lines of sshd_config; the first of two equal keywords counts, and these come first.
    """

    def __init__(self, folder: Path, options: Sequence[str] = ()):
        sshd = need_program("sshd", "openssh-server")
        need_program("ssh-keygen", "openssh-client")
        self.folder, self.root = new_folder(folder), new_folder(folder / "files")
        self.port, self.user = free_port(), getpass.getuser()
        self.client_key, self.known_hosts = folder / "client_key", folder / "known_hosts"
        _make_key(self.client_key)
        (folder / "authorized_keys").write_bytes(self.client_key.with_suffix(".pub").read_bytes())
        self.change_host_key()
        self.trust_host_key()
        text = CONFIGURATION.format(host=HOST, port=self.port, folder=folder)
        subsystem = [] if any(option.startswith("Subsystem") for option in options) else [SUBSYSTEM]  # two would be an error
        (folder / "sshd_config").write_text("\n".join([*options, *subsystem, text]))
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where sshd jails its half that has not logged in yet
        self._serve([sshd, "-D", "-e", "-f", folder / "sshd_config"], folder)

    def change_host_key(self) -> None:
        """A new host key, which `known_hosts` does not know; counts from the next (re)start on."""
        (self.folder / "host_key").unlink(missing_ok=True)
        _make_key(self.folder / "host_key")

    def kill_all(self) -> None:
        """SIGKILL to the server and to what serves its connections, which are in sessions of their own."""
        serving = _below(self.program.pid)
        self.program.kill()
        for process in serving:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)

    def trust_host_key(self) -> None:
        """Write the present host key to `known_hosts`."""
        words = (self.folder / "host_key.pub").read_text().split()[:2]
        self.known_hosts.write_text(f"[{HOST}]:{self.port} {' '.join(words)}\n")


def _below(process: int) -> list[int]:
    """The children of *process*, and theirs."""
    with suppress(OSError):
        children = [int(word) for word in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
        return [*children, *(further for child in children for further in _below(child))]
    return []


def _make_key(path: Path) -> None:
    run_tool("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", path)
