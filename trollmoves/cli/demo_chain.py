"""`trollmoves demo --end-to-end`: a whole network on this machine, server -> mirror -> client -> dispatcher (by sftp) -> fetcher,
and `remove_it` behind it, with the configurations of `examples/end_to_end`.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from shlex import quote

from trollmoves.bus.listening import overheard
from trollmoves.cli.demo_network import EXAMPLE_DIRECTORY, PATIENCE, Member, Network, files_below, umbrella
from trollmoves.cli.watching import Display, new_display
from trollmoves.messages import Message

FOLDER = "end_to_end/"
SFTP = Member("sftp", "trollmoves.cli.demo_sftp", "", "listens on port", ("9206", f"{EXAMPLE_DIRECTORY}/keys"), journaled=False)
SERVER = Member("server", "trollmoves.cli.server", FOLDER + "server.ini", "watches", ("-p", "9200"))
MIRROR = Member("mirror", "trollmoves.cli.mirror", FOLDER + "mirror.ini", "mirrors", ("-p", "9202"))
CLIENT = Member("client", "trollmoves.cli.client", FOLDER + "client.ini", "listens to")
DISPATCHER = Member("dispatcher", "trollmoves.cli.dispatcher", FOLDER + "dispatcher.yaml", "listening to",
                    ("-p", "9205", "-n", "false", "--"))
FETCHER = Member("fetcher", "trollmoves.cli.fetcher", FOLDER + "fetcher.yaml", "listens to")
CLEANER = Member("remove_it", "trollmoves.cli.clean", FOLDER + "remove_it.ini", "", journaled=False)
RUNNING = (SFTP, SERVER, MIRROR, CLIENT, DISPATCHER, FETCHER)
PORTS = tuple(str(port) for port in range(9200, 9208))
PLACES = ("service", "archive", "user")
FILE_SIZE = 10 * 1024
AT_ONCE = 10


@dataclass(slots=True)
class Show:
    """Files on their way through the whole network, and who looks at them."""

    network: Network
    display: Display
    total: int
    hear: dict[str, Callable[[], list[Message]]]
    """By step: what was published since the last look."""
    heard: dict[str, set[str]] = field(default_factory=dict)
    written: dict[str, str] = field(default_factory=dict)
    """Checksums by name."""

    def write(self) -> None:
        """One file, complete before it gets its name."""
        name = f"demo_{datetime.now(UTC):%Y%m%d%H%M%S}_{len(self.written):05d}.dat"
        content = secrets.token_bytes(FILE_SIZE)
        staged = self.network.directory / "staged"
        staged.write_bytes(content)
        staged.rename(self.network.directory / "centre" / name)
        self.written[name] = hashlib.sha256(content).hexdigest()

    def counts(self) -> dict[str, int]:
        """How many files have come how far."""
        for step, hear in self.hear.items():
            uids = {str(message.fields.get("uid")) for message in hear() if message.type == "file"}
            self.heard[step] = self.heard.get(step, set()) | uids
        at = {place: len(self.arrived(place)) for place in PLACES}
        return {"announced": len(self.heard["announced"]), "mirrored": len(self.heard["mirrored"]),
                "delivered": len(self.heard["delivered"]), "archived": at["archive"], "fetched": at["user"]}

    def arrived(self, place: str) -> dict[str, Path]:
        return {path.name: path for path in files_below(self.network.directory / place)}

    def watch(self, seconds: float) -> bool:
        """Show the counts so long, at most until every file has come through."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            counts = self.counts()
            self.display.show(counts, self.total)
            if all(count >= self.total for count in counts.values()):
                return True
            self.network.check()
            time.sleep(0.1)
        return False

    def good(self, place: str) -> int:
        """How many files are there as they were written."""
        found = self.arrived(place)
        return sum(name in found and hashlib.sha256(found[name].read_bytes()).hexdigest() == checksum
                   for name, checksum in self.written.items())


def run(directory: Path, files: int, *, keep: bool) -> int:
    """Show it; the exit status is 1 when a file did not come through."""
    network = Network(directory.resolve(), (*RUNNING, CLEANER), PORTS)
    network.prepare("centre", "edge", *PLACES)
    kept = False
    try:
        for member in RUNNING:
            network.start(member)
        lost = _show(network, files)
        kept = keep and not lost
        if kept:
            print(_how_to_use(network))
        return 1 if lost else 0
    finally:
        if not kept:
            network.stop()


def _show(network: Network, files: int) -> int:
    print(f"A whole network in {network.directory}: what is written to centre/ is announced by a server, fetched by a\n"
          "mirror (edge/), delivered to a client (service/), sent to archive/ by a dispatcher over sftp, and fetched to user/.")
    with new_display() as display, ExitStack() as stack:
        ears = {step: stack.enter_context(overheard("127.0.0.1", int(network.ports[port])))
                for step, port in (("announced", "9200"), ("mirrored", "9202"), ("delivered", "9204"))}
        show = Show(network, display, files, ears)
        show.watch(1.0)
        began = time.monotonic()
        while len(show.written) < files:
            for _ in range(min(AT_ONCE, files - len(show.written))):
                show.write()
            show.watch(0.2)
        show.watch(PATIENCE)
        took = time.monotonic() - began
    return _summary(show, took)


def _summary(show: Show, took: float) -> int:
    network, total = show.network, len(show.written)
    good = {place: show.good(place) for place in ("archive", "user")}
    cleaned = _clear(show)
    lost = total - min(good.values())
    print(f"""
  files      {total}, through the whole network in {took:.1f} s
  verified   {good['archive']} in archive/ and {good['user']} in user/ by sha256
  removed    {cleaned} from service/ by remove_it, {total - len(show.arrived('edge'))} from edge/ by the mirror
  lost       {lost}

  logs       {network.directory}/*.log
  journals   {network.directory}/*.journal
""")
    return lost


def _clear(show: Show) -> int:
    """Let remove_it clear the service's directory, and the mirror its own; returns how many files are gone from the first."""
    deadline = time.monotonic() + PATIENCE / 2
    while time.monotonic() < deadline and (show.arrived("service") or show.arrived("edge")):
        clean(show.network)
        time.sleep(0.5)
    return len(show.written) - len(show.arrived("service"))


def clean(network: Network) -> None:
    """Run remove_it once. It asks the journals of this network what still waits."""
    environment = {**os.environ, "STATE_DIRECTORY": str(network.directory)}
    with network.log(CLEANER.name).open("ab") as log:
        subprocess.run([sys.executable, "-m", CLEANER.module, str(network.config(CLEANER))], stdout=log, stderr=log,
                       stdin=subprocess.DEVNULL, env=environment, timeout=PATIENCE, check=True)


def _how_to_use(network: Network) -> str:
    journals = " ".join(f"--journal {quote(str(journal))}" for journal in network.journals() if journal.is_file())
    numbers = " ".join(str(process.pid) for process in network.processes.values())
    return f"""The network goes on running. Try:

  cd {quote(str(network.directory))}
  echo hello > centre/mine_20260101120000_00001.dat; sleep 2; cat user/mine/*
  {umbrella()} trace mine_20260101120000_00001.dat {journals}
  {umbrella()} status {journals}
  kill {numbers}        # ends it
"""
