"""trollmoves demo: a real server and a real client on this machine, some files, and a look at what happens to each."""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import secrets
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from shlex import quote

from trollmoves.bus.listening import overheard
from trollmoves.cli import demo_chain
from trollmoves.cli.common import run_program, whole_number
from trollmoves.cli.demo_network import PATIENCE, Member, Network, end_by_signals, files_below, umbrella
from trollmoves.cli.starting import keep_own_files
from trollmoves.cli.watching import Display, new_display
from trollmoves.journal import Reader
from trollmoves.journal.reader import steps_in
from trollmoves.messages import Message

SERVER = Member("server", "trollmoves.cli.server", "server.ini", "watches", ("-p", "9010"))
CLIENT = Member("client", "trollmoves.cli.client", "client.ini", "listens to")
PUBLISH_PORT = "9011"
EXAMPLE_PORTS = ("9010", PUBLISH_PORT, "9094")
FILE_SIZE = 10 * 1024
ONE_BY_ONE = 10
BURST, END_TO_END = 1000, 100
LAST_STEPS = 5.0
"""Seconds it waits for the acknowledgements once every file is published."""
FINISHED = ("published", "covered")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="trollmoves demo", description="Run a server and a client on this machine, send files "
                                     "through, and show what happens to them.")
    parser.add_argument("--end-to-end", action="store_true",
                        help="a whole network: server, mirror, client, dispatcher (by sftp), fetcher and remove_it")
    parser.add_argument("--files", type=whole_number(1, 1_000_000, "a number of files from 1"), metavar="N",
                        help=f"files in the burst (default: {BURST}), or in all with --end-to-end (default: {END_TO_END})")
    parser.add_argument("--keep", action="store_true", help="leave the network running, and say how to use it")
    parser.add_argument("--directory", type=Path,
                        help="where to put everything (default: a new directory below the temporary one)")
    options = parser.parse_args(arguments)
    end_by_signals()
    keep_own_files()
    return run_program("trollmoves demo", lambda: _run(options))


def _run(options: argparse.Namespace) -> int:
    directory = options.directory or Path(tempfile.mkdtemp(prefix="trollmoves-demo-"))
    if options.end_to_end:
        return demo_chain.run(directory, options.files or END_TO_END, keep=options.keep)
    network = Network(directory.resolve(), (SERVER, CLIENT), EXAMPLE_PORTS)
    network.prepare("outgoing", "incoming")
    kept = False
    try:
        network.start(SERVER)
        network.start(CLIENT)
        lost = _show(network, options.files or BURST)
        kept = options.keep and not lost
        if kept:
            print(_how_to_use(network))
        return 1 if lost else 0
    finally:
        if not kept:
            network.stop()


def _show(network: Network, burst: int) -> int:
    """Send files and watch them; returns how many were lost."""
    outgoing, incoming = network.directory / "outgoing", network.directory / "incoming"
    print(f"A server watches {outgoing}, a client asks it for files and has them put into {incoming}.")
    port = int(network.ports[PUBLISH_PORT])
    with (Reader(network.journal("server")) as server, Reader(network.journal("client")) as client, new_display() as display,
          overheard("127.0.0.1", port) as heard):
        show = Show(network, server, client, display, heard, ONE_BY_ONE + burst)
        for number in range(ONE_BY_ONE):
            show.write(number)
            show.watch(0.3)
        began = time.monotonic()
        for number in range(ONE_BY_ONE, show.total):
            show.write(number)
        show.watch(PATIENCE, "published")
        took = time.monotonic() - began
        show.watch(LAST_STEPS)  # the client confirms in bunches: the last acknowledgements come a moment later
        latencies = _latencies(network, client)
    return _summary(network, show, burst / took, latencies)


@dataclass(slots=True)
class Show:
    """Files on their way, and who looks at them."""

    network: Network
    server: Reader
    client: Reader
    display: Display
    hear: Callable[[], list[Message]]
    total: int
    written: dict[str, str] = field(default_factory=dict)
    """Checksums by name."""
    heard: set[str] = field(default_factory=set)
    """What a listener was told of by the client."""

    def write(self, number: int) -> None:
        name = f"demo_{datetime.now(UTC):%Y%m%d%H%M%S}_{number:05d}.dat"
        content = secrets.token_bytes(FILE_SIZE)
        (self.network.directory / "outgoing" / name).write_bytes(content)
        self.written[name] = hashlib.sha256(content).hexdigest()

    def watch(self, seconds: float, step: str = "") -> None:
        """Show the counts so long, at most until all files have come as far as *step* (or all steps)."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            counts = reached(self.server, self.client)
            self.display.show(counts, self.total)
            self.heard.update(str(message.fields.get("uid")) for message in self.hear() if message.type == "file")
            if all(count >= self.total for name, count in counts.items() if step in (name, "")):
                return
            self.network.check()
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
    """Seconds from the last byte written at the origin to the publication, in the order of writing."""
    found = {}
    for row in client.find("files_in_state", ("example", "published")):
        published = steps_in(row["steps"])[-1][1]
        with contextlib.suppress(FileNotFoundError):
            written = os.stat(network.directory / "outgoing" / row["identity"]).st_mtime
            found[written, row["identity"]] = published - written
    return [found[key] for key in sorted(found)]


def _summary(network: Network, show: Show, rate: float, latencies: list[float]) -> int:
    written = show.written
    arrived = {path.name: path for path in files_below(network.directory / "incoming")}
    good = sum(name in arrived and hashlib.sha256(arrived[name].read_bytes()).hexdigest() == checksum
               for name, checksum in written.items())
    single = statistics.median(latencies[:ONE_BY_ONE]) * 1000 if latencies else float("nan")
    p50, p95 = (_quantile(sorted(latencies), share) * 1000 for share in (0.5, 0.95))
    lost = len(written) - good
    print(f"""
  files      {len(written)}  ({ONE_BY_ONE} one by one, then {len(written) - ONE_BY_ONE} at once)
  rate       {rate:.0f} files/s in the burst, the writing of the files included
  latency    one by one {single:.1f} ms; all: p50 {p50:.1f} ms, p95 {p95:.1f} ms  (written to published)
  verified   {good} of {len(written)} by sha256
  published  {len(show.heard & set(written))} of {len(written)}, as heard by a listener
  lost       {lost}

  logs       {network.log('server')}
             {network.log('client')}
  journals   {network.journal('server')}
             {network.journal('client')}
""")
    return lost


def _quantile(values: Sequence[float], share: float) -> float:
    return values[min(len(values) - 1, int(share * len(values)))] if values else float("nan")


def _how_to_use(network: Network) -> str:
    journals = " ".join(f"--journal {quote(str(network.journal(name)))}" for name in ("server", "client"))
    numbers = " ".join(str(process.pid) for process in network.processes.values())
    return f"""The network goes on running. Try:

  cd {quote(str(network.directory))}
  echo hello > outgoing/mine_20260101120000_00001.dat; sleep 1; cat incoming/mine/*
  {umbrella()} trace mine_20260101120000_00001.dat {journals}
  {umbrella()} status {journals}
  kill {numbers}        # ends it
"""


if __name__ == "__main__":
    sys.exit(main())
