"""trollmoves demo: a real server and a real client on this machine, some files, and a look at what happens to each."""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import secrets
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import orjson

from trollmoves.cli.common import run_program, whole_number
from trollmoves.cli.watching import Display, new_display
from trollmoves.errors import TrollmovesError
from trollmoves.journal import Reader

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
EXAMPLE_DIRECTORY = "/tmp/trollmoves-example"  # noqa: S108 - the one the example configurations name
PROGRAMS = ("server", "client")
EXAMPLE_PORTS = ("9010", "9011", "9094")
FILE_SIZE = 10 * 1024
ONE_BY_ONE = 10
PATIENCE = 60.0
"""Seconds the demo waits for anything."""
LAST_STEPS = 5.0
"""Seconds it waits for the acknowledgements once every file is published."""
FINISHED = ("published", "covered")


@dataclass(slots=True)
class Network:
    """The scratch directory, the configurations in it, and the two processes."""

    directory: Path
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def outgoing(self) -> Path:
        return self.directory / "outgoing"

    @property
    def incoming(self) -> Path:
        return self.directory / "incoming"

    def journal(self, program: str) -> Path:
        return self.directory / f"{program}.journal"

    def log(self, program: str) -> Path:
        return self.directory / f"{program}.log"

    def start(self, program: str, *options: str) -> None:
        """Start one of our programs with its configuration, and wait until its journal is there."""
        command = [sys.executable, "-m", f"trollmoves.cli.{program}", "--journal", str(self.journal(program)), *options,
                   str(self.directory / f"{program}.ini")]
        with self.log(program).open("wb") as log:
            self.processes.append(subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL))
        self._wait_for(program, "watches" if program == "server" else "listens to")

    def _wait_for(self, program: str, text: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while text not in self.log(program).read_text(errors="replace"):
            if self.processes[-1].poll() is not None or time.monotonic() > deadline:
                raise TrollmovesError(f"the {program} did not start:\n{self.log(program).read_text(errors='replace')}")
            time.sleep(0.05)

    def check(self) -> None:
        """Raise `TrollmovesError` when a program ended by itself."""
        for program, process in zip(PROGRAMS, self.processes, strict=True):
            if process.poll() is not None:
                end = "\n".join(self.log(program).read_text(errors="replace").splitlines()[-5:])
                raise TrollmovesError(f"the {program} ended with status {process.returncode}; see {self.log(program)}:\n{end}")

    def stop(self) -> None:
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(15)
            process.kill()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="trollmoves demo", description="Run a server and a client on this machine, send files "
                                     "through, and show what happens to them.")
    parser.add_argument("--files", type=whole_number(1, 1_000_000, "a number of files from 1"), default=1000, metavar="N",
                        help="files in the burst (default: 1000)")
    parser.add_argument("--keep", action="store_true", help="leave the network running, and say how to use it")
    parser.add_argument("--directory", type=Path,
                        help="where to put everything (default: a new directory below the temporary one)")
    options = parser.parse_args(arguments)
    return run_program("trollmoves demo", lambda: _run(options))


def _run(options: argparse.Namespace) -> int:
    if not EXAMPLES.is_dir():
        raise TrollmovesError("the demo uses the configurations in examples/ of a checkout, and this is an installed package: "
                              "run bin/demo in a clone of the repository")
    directory = options.directory or Path(tempfile.mkdtemp(prefix="trollmoves-demo-"))
    network = Network(directory.resolve())
    port = _write_configurations(network)
    kept = False
    try:
        network.start("server", "-p", str(port))
        network.start("client")
        lost = _show(network, options.files)
        kept = options.keep and not lost
        if kept:
            print(_how_to_use(network))
        return 1 if lost else 0
    finally:
        if not kept:
            network.stop()


def _write_configurations(network: Network) -> int:
    """The example configurations, with this demo's directory and ports; returns the port of the announcements."""
    if network.directory.exists() and any(network.directory.iterdir()):
        raise TrollmovesError(f"{network.directory} is not empty: name a new directory, so that no files of yours are sent")
    network.outgoing.mkdir(parents=True)
    network.incoming.mkdir()
    ports = dict(zip(EXAMPLE_PORTS, _free_ports(len(EXAMPLE_PORTS)), strict=True))
    for program in PROGRAMS:
        text = (EXAMPLES / f"{program}.ini").read_text(encoding="utf-8").replace(EXAMPLE_DIRECTORY, str(network.directory))
        for old, new in ports.items():
            text = text.replace(old, str(new))
        (network.directory / f"{program}.ini").write_text(text, encoding="utf-8")
    return ports[EXAMPLE_PORTS[0]]


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def _show(network: Network, burst: int) -> int:
    """Send files and watch them; returns how many were lost."""
    print(f"A server watches {network.outgoing}, a client asks it for files and has them put into {network.incoming}.")
    written: dict[str, str] = {}
    with Reader(network.journal("server")) as server, Reader(network.journal("client")) as client, new_display() as display:
        total = ONE_BY_ONE + burst
        for number in range(ONE_BY_ONE):
            _write(network, number, written)
            _watch(network, server, client, display, total, until=number + 1, seconds=0.3)
        began = time.monotonic()
        for number in range(ONE_BY_ONE, total):
            _write(network, number, written)
        _watch(network, server, client, display, total, until=total, seconds=PATIENCE)
        took = time.monotonic() - began
        _watch_last_steps(network, server, client, display, total)
        latencies = _latencies(network, client)
    return _summary(network, written, burst / took, latencies)


def _write(network: Network, number: int, written: dict[str, str]) -> None:
    name = f"demo_{datetime.now(UTC):%Y%m%d%H%M%S}_{number:05d}.dat"
    content = secrets.token_bytes(FILE_SIZE)
    (network.outgoing / name).write_bytes(content)
    written[name] = hashlib.sha256(content).hexdigest()


def _watch(network: Network, server: Reader, client: Reader, display: Display, total: int, *, until: int, seconds: float) -> None:
    """Show the counts for at least a moment, until so many files are published or the time is over."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        counts = reached(server, client)
        display.show(counts, total)
        if counts["published"] >= until and seconds > 1:
            return
        network.check()
        time.sleep(0.05)


def _watch_last_steps(network: Network, server: Reader, client: Reader, display: Display, total: int) -> None:
    """The client confirms in bunches, so the server's last acknowledgements come a moment after the last publication."""
    deadline = time.monotonic() + LAST_STEPS
    while time.monotonic() < deadline:
        counts = reached(server, client)
        display.show(counts, total)
        if all(count >= total for count in counts.values()):
            return
        network.check()
        time.sleep(0.05)


def reached(server: Reader, client: Reader) -> dict[str, int]:
    """How many files have come at least as far as each step."""
    at_server = {row["state"]: row["count"] for row in server.find("counts")}
    at_client = {row["state"]: row["count"] for row in client.find("counts")}
    everywhere, asked = sum(at_server.values()), sum(at_client.values()) - at_client.get("announced", 0)
    moved = sum(at_server.get(state, 0) for state in ("moved", "acknowledged"))
    return {"announced": everywhere, "requested": asked, "moved": moved, "acknowledged": at_server.get("acknowledged", 0),
            "published": sum(at_client.get(state, 0) for state in FINISHED)}


def _latencies(network: Network, client: Reader) -> list[float]:
    """Seconds from the last byte written at the origin to the publication, sorted."""
    found = []
    for row in client.find("files_in_state", ("example", "published")):
        published = orjson.loads(row["steps"].splitlines()[-1])[1]
        with contextlib.suppress(FileNotFoundError):
            found.append(published - os.stat(network.outgoing / row["identity"]).st_mtime)
    return sorted(found)


def _summary(network: Network, written: dict[str, str], rate: float, latencies: list[float]) -> int:
    arrived = {path.name: path for path in _files_below(network.incoming)}
    good = sum(name in arrived and hashlib.sha256(arrived[name].read_bytes()).hexdigest() == checksum
               for name, checksum in written.items())
    single = statistics.median(latencies[:ONE_BY_ONE]) * 1000 if latencies else float("nan")
    p50, p95 = (_quantile(latencies, share) * 1000 for share in (0.5, 0.95))
    lost = len(written) - good
    print(f"""
  files      {len(written)}  ({ONE_BY_ONE} one by one, then {len(written) - ONE_BY_ONE} at once)
  rate       {rate:.0f} files/s in the burst, the writing of the files included
  latency    one by one {single:.1f} ms; all: p50 {p50:.1f} ms, p95 {p95:.1f} ms  (written to published)
  verified   {good} of {len(written)} by sha256
  lost       {lost}

  logs       {network.log('server')}
             {network.log('client')}
  journals   {network.journal('server')}
             {network.journal('client')}
""")
    return lost


def _files_below(directory: Path) -> Iterator[Path]:
    for base, _, names in os.walk(directory):
        for name in names:
            yield Path(base) / name


def _quantile(values: Sequence[float], share: float) -> float:
    return values[min(len(values) - 1, int(share * len(values)))] if values else float("nan")


def _how_to_use(network: Network) -> str:
    own = Path(sys.executable).with_name("trollmoves")
    program = shutil.which("trollmoves") or (str(own) if own.is_file() else f"{sys.executable} -m trollmoves.cli.umbrella")
    journals = f"--journal {network.journal('server')} --journal {network.journal('client')}"
    numbers = " ".join(str(process.pid) for process in network.processes)
    return f"""The network goes on running. Try:

  echo hello > {network.outgoing}/mine_20260101120000_00001.dat; sleep 1; cat {network.incoming}/mine/*
  {program} trace mine_20260101120000_00001.dat {journals}
  {program} status {journals}
  kill {numbers}        # ends it
"""


if __name__ == "__main__":
    sys.exit(main())
