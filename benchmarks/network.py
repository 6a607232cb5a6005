"""Whole networks for benchmarks: a server and a client process of ours, or of upstream's, over a scratch directory."""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import inotify_simple

ROOT = Path(__file__).resolve().parents[1]
UPSTREAM = ROOT / ".cache" / "upstream-benchmark"
READY_WITHIN = 30.0
TICKS = os.sysconf("SC_CLK_TCK")


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def upstream_python() -> str:
    """The interpreter of an environment with upstream trollmoves 0.19.0; made on first use, from the package index."""
    python = Path(os.environ.get("TROLLMOVES_UPSTREAM_VENV", UPSTREAM)) / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(UPSTREAM)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", "trollmoves==0.19.0", "paramiko", "scp"], check=True)
    return str(python)


class Network:
    """A server that watches `source` and a client that has its files put into `destination`."""

    def __init__(self, kind: str = "ours", *, scratch: str | None = None, source: Path | None = None,
                 destination: Path | None = None, server_options: str = "", start_client: bool = True):
        """*kind* is `ours` or `upstream`. *source* or *destination* may lie on another file system; they are removed, too."""
        self.kind = kind
        self.directory = scratch_directory(scratch)
        self.source = source or self.directory / "source"
        self.destination = destination or self.directory / "destination"
        self.source.mkdir(exist_ok=True)
        self.destination.mkdir(exist_ok=True)
        self._ports = free_ports(3)
        self._options = server_options
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._start_client = start_client

    def __enter__(self) -> Network:
        publish, request, own = self._ports
        (self.directory / "server.ini").write_text(
            f"[bench]\norigin = {self.source}/{{name}}.dat\nrequest_port = {request}\nrequest_address = 127.0.0.1\n"
            f"topic = /bench\n{self._options}\n")
        (self.directory / "client.ini").write_text(
            f"[bench]\nproviders = 127.0.0.1:{publish}\ndestination = file://{self.destination}/\ntopic = /bench\n"
            f"publish_port = {own}\nnameservers = False\n")
        self.start("server")
        if self._start_client:
            self.start("client")
            self.wait_until_ready()
        return self

    def start(self, program: str) -> None:
        publish = self._ports[0]
        port = ["-p", str(publish)] if program == "server" else []
        if self.kind == "ours":
            command = [sys.executable, "-m", f"trollmoves.cli.{program}", "--journal", str(self.directory / f"{program}.journal"),
                       *port, str(self.directory / f"{program}.ini")]
        else:
            python = upstream_python()
            command = [python, str(Path(python).parent / f"move_it_{program}.py"), *port, str(self.directory / f"{program}.ini")]
        log = (self.directory / f"{program}.log").open("ab")
        self.processes[program] = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=ROOT)
        log.close()

    def wait_until_ready(self) -> None:
        """Send files until one arrives: then everything is connected. They are removed again."""
        deadline = time.monotonic() + READY_WITHIN
        for number in range(1000):
            name = f"ready{number:03d}.dat"
            (self.source / name).write_bytes(b"ready")
            for _ in range(10):
                time.sleep(0.1)
                if (self.destination / name).exists():
                    time.sleep(1.5)
                    return self._clear()
            if time.monotonic() > deadline:
                raise TimeoutError(f"not ready, see {self.directory}")

    def _clear(self) -> None:
        for directory in (self.source, self.destination):
            for path in directory.glob("ready*.dat"):
                path.unlink(missing_ok=True)

    def figures(self, program: str) -> dict[str, float]:
        """CPU seconds, resident MiB now and at most, and threads of a process."""
        pid = self.processes[program].pid
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        return {"cpu": (int(fields[11]) + int(fields[12])) / TICKS, "rss": int(lines["VmRSS"].split()[0]) / 1024,
                "peak": int(lines["VmHWM"].split()[0]) / 1024, "threads": int(lines["Threads"])}

    def signal(self, program: str, number: signal.Signals) -> None:
        self.processes[program].send_signal(number)

    def __exit__(self, *_: object) -> None:
        for process in self.processes.values():
            process.send_signal(signal.SIGCONT)
            process.terminate()
        for process in self.processes.values():
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for directory in (self.source, self.destination):
            if directory.parent != self.directory:
                shutil.rmtree(directory, ignore_errors=True)
        discard(self.directory)


class Lsyncd:
    """lsyncd with rsync between two directories, from Debian's package (`apt-get install lsyncd`)."""

    def __init__(self) -> None:
        self.directory = scratch_directory()
        self.source, self.destination = self.directory / "source", self.directory / "destination"
        self.source.mkdir()
        self.destination.mkdir()

    @staticmethod
    def is_installed() -> bool:
        return shutil.which("lsyncd") is not None

    def __enter__(self) -> Lsyncd:
        config = self.directory / "lsyncd.lua"
        config.write_text(f'settings {{ nodaemon = true }}\nsync {{ default.rsync, source = "{self.source}/", '
                          f'target = "{self.destination}/", delay = 0 }}\n')
        self._process = subprocess.Popen(["lsyncd", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(2.0)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()
        discard(self.directory)


def scratch_directory(place: str | None = None) -> Path:
    place = place or os.environ.get("BENCHMARK_SCRATCH") or "/var/tmp"  # benchmarks need a disk
    return Path(tempfile.mkdtemp(prefix="trollmoves-benchmark-", dir=place))


def discard(directory: Path) -> None:
    """Remove *directory* when all is over. ext4 does not hand out freed inodes again for some minutes but searches past them:
    behind a run whose files were removed, making a file took 0.5 ms in place of 0.014, for us and for every peer."""
    if not os.environ.get("BENCHMARK_KEEP"):
        atexit.register(shutil.rmtree, directory, ignore_errors=True)


def wait_for_files(directory: Path, names: Sequence[str], timeout: float) -> float:
    """Monotonic time at which all *names* were there. Raises `TimeoutError` with the first one that did not come.

    Each is looked for until it is there, and then never again: reading the whole directory again and again took a tenth of the
    processors' time from what is measured.
    """
    deadline = time.monotonic() + timeout
    for path in [f"{directory}/{name}" for name in names]:
        while not os.path.exists(path):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{path} did not come within {timeout} s")
            time.sleep(0.002)
    return time.monotonic()


class Arrivals(threading.Thread):
    """Notes when each file is complete under its final name."""

    def __init__(self, directory: Path):
        super().__init__(daemon=True)
        self.times: dict[str, float] = {}
        self._inotify = inotify_simple.INotify()
        flags = inotify_simple.flags
        self._inotify.add_watch(str(directory), flags.MOVED_TO | flags.CLOSE_WRITE | flags.CREATE)
        self.start()

    def run(self) -> None:
        while True:
            events = self._inotify.read()
            now = time.monotonic()
            for event in events:
                if not event.name.startswith("."):
                    self.times[event.name] = now


def rsync(source: Path) -> float:
    """Seconds that `rsync -a` takes for the files of *source*, to the same disk."""
    target = tempfile.mkdtemp(dir=source.parent)
    began = time.monotonic()
    subprocess.run(["rsync", "-a", f"{source}/", f"{target}/"], check=True)
    return time.monotonic() - began


def write_files(directory: Path, count: int, size: int = 10 * 1024) -> list[str]:
    """Write *count* files of *size* bytes; their names."""
    content = os.urandom(size)
    names = [f"file{number:06d}.dat" for number in range(count)]
    for path in [f"{directory}/{name}" for name in names]:
        with open(path, "wb", buffering=0) as file:
            file.write(content)
    return names


def quantile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
