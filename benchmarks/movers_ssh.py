"""How fast sftp and scp move files, next to OpenSSH's programs, on an sshd of this machine: `python benchmarks/movers_ssh.py`.

Every measurement is a process of its own (ours too); rounds alternate between the two so that both meet the same load; medians
and ratios are printed, and the exit status says whether the bars were met. Ours are the seconds and processor seconds from
connecting to closing: its process has been started and has imported its libraries by then, as in a running server (some 0.6
processor seconds more otherwise). Files are in memory where the machine has /dev/shm. Ours does what a server does: a temporary
name, time and mode kept, the size compared, a rename; OpenSSH's programs put, and rename where the title says so.
"""

from __future__ import annotations

import argparse
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

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.support.ssh_server import SshServer  # noqa: E402
from tests.support.tcp_proxy import Fault, TcpProxy  # noqa: E402

PROCESSOR_BAR = 1.5
"""Times OpenSSH's processor seconds for a large file by sftp."""
SMALL_COUNT, SMALL_SIZE = 1000, 20 * 1024
DELAYED_COUNT, DELAYED_SIZE = 200, 2 * 1024


@dataclass(frozen=True)
class Run:
    """What one process took."""

    seconds: float
    processor: float


def move_files(scheme: str, port: int, user: str, key: str, known_hosts: str, target: str, origins: Sequence[str], sessions: int,
               legacy: bool = False) -> tuple[float, float]:
    """Move *origins* over so many sessions at once; seconds and processor seconds from connecting to closing."""
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

    started, used = time.perf_counter(), time.process_time()
    with ThreadPoolExecutor(sessions) as pool:
        list(pool.map(work, range(sessions)))
    return time.perf_counter() - started, time.process_time() - used


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
        _, said = _process([sys.executable, __file__, "--client"], json.dumps(order))
        self._check(len(origins))
        return Run(*json.loads(said))

    def sftp(self, origins: Sequence[str]) -> Run:
        target = self._target()
        lines = []
        for path in origins:
            temporary, final = f"{target}/.{Path(path).name}.part", f"{target}/{Path(path).name}"
            lines.append(f"put {path} {temporary}\nrename {temporary} {final}")
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
        process = subprocess.Popen(argv, stdin=source, stdout=output, cwd=ROOT)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0, f"{argv[0]} ended with {process.returncode}"
        output.seek(0)
        return Run(time.perf_counter() - started, usage.ru_utime + usage.ru_stime), output.read()


@dataclass(frozen=True)
class Comparison:
    """Ours beside a peer."""

    title: str
    unit: str
    amount: float
    """Units a run moves."""
    ours: Callable[[], Run]
    peer: Callable[[], Run]
    name: str
    """Of the peer."""
    ratio: float = 0.0
    """The bar: at least so many times the peer's speed."""
    rate: float = 0.0
    """Another bar: at least so many units a second."""
    processor: float = 1e9
    """Another: at most so many times the peer's processor seconds."""

    def run(self, rounds: int) -> bool:
        """Alternate and print the medians; whether all bars were met."""
        pairs = [(self.ours(), self.peer()) for _ in range(rounds)]
        rate, theirs = (statistics.median(self.amount / pair[side].seconds for pair in pairs) for side in (0, 1))
        ratio = statistics.median(pair[1].seconds / pair[0].seconds for pair in pairs)
        processor = statistics.median(pair[0].processor / pair[1].processor for pair in pairs)
        met = ratio >= self.ratio and rate >= self.rate and processor <= self.processor
        print(f"{self.title:36} ours {rate:6.0f} {self.unit:8} {self.name:10} {theirs:6.0f}   ratio {ratio:5.2f}   "
              f"processor seconds {processor:5.2f} times   {'met' if met else 'MISSED'}", flush=True)
        return met


def comparisons(bench: Bench, megabytes: int, delayed_port: int) -> list[Comparison]:
    """All there are."""
    large, small, delayed = [bench.large], bench.small, bench.delayed
    return [
        Comparison(f"sftp, {megabytes} MiB", "MiB/s", megabytes, lambda: bench.ours("sftp", large, 1),
                   lambda: bench.sftp(large), "sftp", ratio=1.0, processor=PROCESSOR_BAR),
        Comparison("sftp, 1,000 x 20 KiB, put + rename", "files/s", SMALL_COUNT, lambda: bench.ours("sftp", small, 16),
                   lambda: bench.sftp(small), "sftp", ratio=1.0),
        Comparison("sftp, 200 x 2 KiB, 20 ms round trip", "files/s", DELAYED_COUNT,
                   lambda: bench.ours("sftp", delayed, 32, port=delayed_port),
                   lambda: bench.ours("sftp", delayed, 1, port=delayed_port), "one by one", ratio=8.0),
        Comparison(f"scp, {megabytes} MiB", "MiB/s", megabytes, lambda: bench.ours("scp", large, 1),
                   lambda: bench.scp(large), "scp", ratio=0.8),
        Comparison("scp, 1,000 x 20 KiB", "files/s", SMALL_COUNT, lambda: bench.ours("scp", small, 16),
                   lambda: bench.scp(small), "scp", rate=500),
        Comparison(f"scp, old protocol, {megabytes} MiB", "MiB/s", megabytes, lambda: bench.ours("scp", large, 1, legacy=True),
                   lambda: bench.scp(large, "-O"), "scp -O", ratio=0.8),
        Comparison("scp, old protocol, 1,000 x 20 KiB", "files/s", SMALL_COUNT, lambda: bench.ours("scp", small, 8, legacy=True),
                   lambda: bench.scp(small, "-O"), "scp -O"),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--megabytes", type=int, default=512, help="size of the large file")
    parser.add_argument("--only", default="", help="a part of a title")
    parser.add_argument("--client", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.client:
        import trollmoves.movers.scp  # noqa: F401
        print(json.dumps(move_files(**json.load(sys.stdin))))
        return 0
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    delay = Fault(delay=0.01)
    with tempfile.TemporaryDirectory(dir=memory, prefix="trollmoves-ssh-") as folder, \
            SshServer(Path(folder) / "sshd") as server, TcpProxy("127.0.0.1", server.port, upward=delay, downward=delay) as proxy:
        bench = Bench(Path(folder), server, arguments.megabytes)
        table = comparisons(bench, arguments.megabytes, proxy.port)
        results = [comparison.run(arguments.rounds) for comparison in table if arguments.only in comparison.title]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
