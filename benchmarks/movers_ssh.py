"""The ssh movers beside OpenSSH's programs, on one machine, in one run: `python -m benchmarks.movers_ssh`.

Every measurement is a process of its own (ours too), rounds alternate between the two so that both meet the same load, and
medians and ratios are printed. Seconds are from connecting to the last answer (a mover's process has been started and has
imported its libraries by then, as in a running server); processor seconds are those of the whole process with its children.
Files are in memory where the machine has /dev/shm. The server is an OpenSSH sshd of our own on a free port.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.support.ssh_server import SshServer
from tests.support.tcp_proxy import Fault, TcpProxy

CHECKOUT = Path(__file__).resolve().parent.parent
SMALL_COUNT, SMALL_SIZE = 1000, 20 * 1024
DELAYED_COUNT, DELAYED_SIZE = 200, 2 * 1024


@dataclass(frozen=True)
class Run:
    """What one process took."""

    seconds: float
    processor: float


def move_files(scheme: str, port: int, user: str, key: str, known_hosts: str, target: str, origins: Sequence[str], sessions: int,
               legacy: bool = False) -> float:
    """Move *origins* over so many sessions at once; the seconds from connecting to closing."""
    from trollmoves.movers.base import Origin, SessionSettings
    from trollmoves.movers.moving import How, move
    from trollmoves.movers.registry import mover_for
    from trollmoves.uris import parse_destination

    mover = mover_for(scheme)
    parameters = {"ssh_key_filename": key, "known_hosts": known_hosts} | ({"scp_protocol": "legacy"} if legacy else {})
    settings = SessionSettings(parameters=parameters)
    destination = parse_destination(f"{scheme}://{user}@127.0.0.1:{port}{target}/")
    waiting, lock = iter(origins), threading.Lock()

    def work(_: int) -> None:
        with mover.open(destination, settings) as session:
            while True:
                with lock:
                    path = next(waiting, None)
                if path is None:
                    return
                descriptor = os.open(path, os.O_RDONLY)
                try:
                    move(Origin.of(path, descriptor), destination, session, mover.abilities, How(transfer="0123456789abcdef"))
                finally:
                    os.close(descriptor)

    started = time.perf_counter()
    with ThreadPoolExecutor(sessions) as pool:
        list(pool.map(work, range(sessions)))
    return time.perf_counter() - started


class Bench:
    """A server, files to move and a place for them."""

    def __init__(self, folder: Path, server: SshServer, megabytes: int):
        self.folder, self.server = folder, server
        self.known = folder / "known"
        self.known.write_text("[127.0.0.1]:* " + " ".join((server.folder / "host_key.pub").read_text().split()[:2]) + "\n")
        self.large = self._file("large", megabytes * 2**20)
        self.small = [self._file(f"small/{number}", SMALL_SIZE) for number in range(SMALL_COUNT)]
        self.delayed = [self._file(f"delayed/{number}", DELAYED_SIZE) for number in range(DELAYED_COUNT)]
        self.options = ["-q", "-F", "none", "-i", str(server.client_key), "-o", f"UserKnownHostsFile={self.known}",
                        "-o", "BatchMode=yes", "-P", str(server.port)]

    def _file(self, name: str, size: int) -> str:
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        with path.open("wb") as file:
            for start in range(0, size, 2**20):
                file.write(os.urandom(min(2**20, size - start)))
        return str(path)

    def ours(self, scheme: str, origins: Sequence[str], sessions: int, *, legacy: bool = False, port: int = 0) -> Run:
        order = {"scheme": scheme, "port": port or self.server.port, "user": self.server.user, "key": str(self.server.client_key),
                 "known_hosts": str(self.known), "target": str(self._target()), "origins": list(origins), "sessions": sessions,
                 "legacy": legacy}
        run, said = _process([sys.executable, "-m", "benchmarks.movers_ssh", "--client"], json.dumps(order))
        self._check(len(origins))
        return Run(json.loads(said), run.processor)

    def sftp(self, origins: Sequence[str]) -> Run:
        target = self._target()
        lines = [f"put {path} {target}/.{Path(path).name}.part\nrename {target}/.{Path(path).name}.part {target}/{Path(path).name}"
                 for path in origins]
        run, _ = _process(["sftp", *self.options, "-b", "-", f"{self.server.user}@127.0.0.1"], "\n".join(lines) + "\n")
        self._check(len(origins))
        return run

    def scp(self, origins: Sequence[str], *more: str) -> Run:
        run, _ = _process(["scp", *more, *self.options, *origins, f"{self.server.user}@127.0.0.1:{self._target()}/"], "")
        self._check(len(origins))
        return run

    def _target(self) -> Path:
        shutil.rmtree(self.server.root)
        self.server.root.mkdir()
        return self.server.root

    def _check(self, count: int) -> None:
        arrived = os.listdir(self.server.root)
        assert len(arrived) == count and not any(name.startswith(".") for name in arrived), arrived[:5]


def _process(argv: Sequence[str], text: str) -> tuple[Run, str]:
    started = time.perf_counter()
    with tempfile.TemporaryFile("w+") as source, tempfile.TemporaryFile("w+") as output:
        source.write(text)
        source.seek(0)
        process = subprocess.Popen(argv, stdin=source, stdout=output, cwd=CHECKOUT)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0, f"{argv[0]} ended with {process.returncode}"
        output.seek(0)
        return Run(time.perf_counter() - started, usage.ru_utime + usage.ru_stime), output.read()


def compare(title: str, rounds: int, unit: str, amount: float, ours: Callable[[], Run], peer: Callable[[], Run], name: str) -> None:
    """Alternate, then print the medians: *amount* units a second each, their ratio, and the ratio of processor time."""
    pairs = [(ours(), peer()) for _ in range(rounds)]
    mine, theirs = (statistics.median(amount / pair[side].seconds for pair in pairs) for side in (0, 1))
    ratio = statistics.median(pair[1].seconds / pair[0].seconds for pair in pairs)
    processor = statistics.median(pair[0].processor / pair[1].processor for pair in pairs)
    print(f"{title:34} ours {mine:7.0f} {unit}   {name} {theirs:7.0f} {unit}   ratio {ratio:5.2f}   "
          f"processor time {processor:5.2f} of {name}'s", flush=True)


def run_all(bench: Bench, rounds: int, megabytes: int, only: str) -> None:
    """All comparisons whose title has *only* in it."""
    proxied = TcpProxy("127.0.0.1", bench.server.port, upward=Fault(delay=0.01), downward=Fault(delay=0.01))
    with proxied as proxy:
        table = [
            (f"sftp, {megabytes} MiB", "MiB/s", megabytes, lambda: bench.ours("sftp", [bench.large], 1),
             lambda: bench.sftp([bench.large]), "sftp"),
            ("sftp, 1,000 x 20 KiB", "files/s", SMALL_COUNT, lambda: bench.ours("sftp", bench.small, 16),
             lambda: bench.sftp(bench.small), "sftp"),
            ("sftp, 200 x 2 KiB, 20 ms round trip", "files/s", DELAYED_COUNT,
             lambda: bench.ours("sftp", bench.delayed, 16, port=proxy.port),
             lambda: bench.ours("sftp", bench.delayed, 1, port=proxy.port), "one by one"),
            (f"scp, {megabytes} MiB", "MiB/s", megabytes, lambda: bench.ours("scp", [bench.large], 1),
             lambda: bench.scp([bench.large]), "scp"),
            ("scp, 1,000 x 20 KiB", "files/s", SMALL_COUNT, lambda: bench.ours("scp", bench.small, 16),
             lambda: bench.scp(bench.small), "scp"),
            (f"scp, old protocol, {megabytes} MiB", "MiB/s", megabytes, lambda: bench.ours("scp", [bench.large], 1, legacy=True),
             lambda: bench.scp([bench.large], "-O"), "scp -O"),
            ("scp, old protocol, 1,000 x 20 KiB", "files/s", SMALL_COUNT, lambda: bench.ours("scp", bench.small, 16, legacy=True),
             lambda: bench.scp(bench.small, "-O"), "scp -O"),
        ]
        for title, unit, amount, ours, peer, name in itertools.compress(table, (only in row[0] for row in table)):
            compare(title, rounds, unit, amount, ours, peer, name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--megabytes", type=int, default=512, help="size of the large file")
    parser.add_argument("--only", default="", help="a part of a title")
    parser.add_argument("--client", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.client:
        import trollmoves.movers.scp  # noqa: F401
        print(move_files(**json.load(sys.stdin)))
        return
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108
    with tempfile.TemporaryDirectory(dir=memory, prefix="trollmoves-ssh-") as folder, SshServer(Path(folder) / "sshd") as server:
        run_all(Bench(Path(folder), server, arguments.megabytes), arguments.rounds, arguments.megabytes, arguments.only)


if __name__ == "__main__":
    main()
