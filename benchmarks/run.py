"""All benchmarks: `python benchmarks/run.py [NAME ...]`; without a name, all of them. See README.md in this folder.

Every figure is of whole processes, peers run beside ours in the same call, and the median of several runs is shown.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.network import (  # noqa: E402
    Arrivals,
    Lsyncd,
    Network,
    quantile,
    rsync,
    wait_for_files,
    write_files,
)

Row = tuple[str, str, str]
"""What was measured, the figures, the bar."""
OTHER_FILE_SYSTEM = "/dev/shm"  # a file system other than the scratch directory's
GIB = 2**30
NO_LSYNCD = "not measured: it is not installed (apt-get install lsyncd)"


def median(values: list[float]) -> float:
    return statistics.median(values)


def spread(values: list[float]) -> str:
    return f"{median(values):.0f} ({min(values):.0f}-{max(values):.0f})"


def _burst(count: int, options: str, runs: int, through: Callable[[Network, int], float]) -> tuple[list[float], list[float]]:
    """Files per second of ours and of rsync, pair by pair."""
    ours, theirs = [], []
    for _ in range(runs):
        with Network(server_options=options) as network:
            ours.append(through(network, count))
            time.sleep(1.0)
            theirs.append(count / rsync(network.source))
    return ours, theirs


def _burst_row(name: str, count: int, options: str, bar: float, runs: int) -> Row:
    """Files that are complete when the time begins, as rsync's are, and files that are written meanwhile."""
    texts = []
    for how, through in (("", _through), ("written meanwhile: ", _through_while_written)):
        ours, theirs = _burst(count, options, runs, through)
        ratio = median([a / b for a, b in zip(ours, theirs, strict=True)])
        texts.append(f"{how}ours {spread(ours)} files/s, rsync {spread(theirs)}, ratio {ratio:.2f}")
    return name, "; ".join(texts), f">= {bar}"


def burst(runs: int) -> list[Row]:
    """2,000 files of 10 KiB, same disk."""
    return [_burst_row("burst of 2,000 x 10 KiB", 2000, "", 0.5, runs)]


def burst10k(runs: int) -> list[Row]:
    """10,000 files of 10 KiB, same disk."""
    return [_burst_row("burst of 10,000 x 10 KiB", 10_000, "", 0.6, runs)]


def delete(runs: int) -> list[Row]:
    """2,000 files with delete = true: delivered files are fsynced."""
    return [_burst_row("burst of 2,000, delete = true", 2000, "delete = true\nremove_delay = 600", 0.25, runs)]


def peers(runs: int) -> list[Row]:
    """The same burst through all, in turn (fewer files for upstream: it needs 0.1 s for each)."""
    rates: dict[str, list[float]] = {"ours": [], "rsync": [], "lsyncd": []}
    for _ in range(runs):
        ours, theirs = _burst(2000, "", 1, _through)
        rates["ours"] += ours
        rates["rsync"] += theirs
        if Lsyncd.is_installed():
            with Lsyncd() as lsyncd:
                rates["lsyncd"].append(_through(lsyncd, 2000))
    with Network("upstream") as network:
        rates["upstream 0.19.0 (100 files)"] = [_through(network, 100)]
    text = ", ".join(f"{name} {spread(found) if found else NO_LSYNCD}" for name, found in rates.items())
    return [("burst of 2,000 x 10 KiB, files/s side by side", text, "")]


def _through(network: Network | Lsyncd, count: int) -> float:
    """Files per second from the first one being moved into the source to the last one being there."""
    beside = network.directory / "beside"
    beside.mkdir()
    names = write_files(beside, count)
    moves = [(f"{beside}/{name}", f"{network.source}/{name}") for name in names]
    time.sleep(1.0)
    began = time.monotonic()
    for here, there in moves:
        os.rename(here, there)
    return count / (wait_for_files(network.destination, names, 300.0) - began)


def _through_while_written(network: Network, count: int) -> float:
    """The same from the first one being written: who writes them takes a fifth of the processors' time."""
    began = time.monotonic()
    names = write_files(network.source, count)
    return count / (wait_for_files(network.destination, names, 300.0) - began)


def _trickle(network: Network | Lsyncd, count: int, interval: float) -> list[float]:
    """Milliseconds from closing a file to its being complete at the destination."""
    arrivals = Arrivals(network.destination)
    closed: dict[str, float] = {}
    content = os.urandom(10 * 1024)
    for number in range(count):
        name = f"trickle{number:05d}.dat"
        with open(network.source / name, "wb") as file:
            file.write(content)
        closed[name] = time.monotonic()
        time.sleep(interval)
    deadline = time.monotonic() + 60.0
    while len(arrivals.times) < count and time.monotonic() < deadline:
        time.sleep(0.05)
    return [(arrivals.times[name] - when) * 1000 for name, when in closed.items() if name in arrivals.times]


def latency(runs: int) -> list[Row]:
    """One file every 300 ms, ours, upstream's and lsyncd's in turn."""
    found: dict[str, list[float]] = {"ours": [], "upstream": [], "lsyncd": []}
    for _ in range(runs):
        for kind in ("ours", "upstream"):
            with Network(kind) as network:
                found[kind] += _trickle(network, 40, 0.3)
        if Lsyncd.is_installed():
            with Lsyncd() as lsyncd:
                found["lsyncd"] += _trickle(lsyncd, 40, 0.3)
    text = "; ".join(f"{kind} p50 {quantile(times, 0.5):.1f} ms, p95 {quantile(times, 0.95):.1f} ms" if times
                     else f"{kind} {NO_LSYNCD}" for kind, times in found.items())
    return [("one file every 300 ms", text, "p50 <= 4 ms and below upstream's, p95 <= 10 ms")]


def beside(runs: int) -> list[Row]:
    """Small files while 1 GiB moves to another file system."""
    medians = []
    for _ in range(runs):
        target = Path(tempfile.mkdtemp(dir=OTHER_FILE_SYSTEM))
        with Network(destination=target) as network:
            _make_large(network.source / ".large")
            os.rename(network.source / ".large", network.source / "large.dat")
            medians.append(quantile(_trickle(network, 30, 0.03), 0.5))
    return [("small files while 1 GiB moves", f"p50 {median(medians):.1f} ms", "p50 <= 15 ms")]


def _make_large(path: Path, size: int = GIB) -> None:
    block = os.urandom(2**20)
    with open(path, "wb") as file:
        for _ in range(size // len(block)):
            file.write(block)


def large(runs: int) -> list[Row]:
    """1 GiB between two file systems, both ways, ours and cp."""
    rows = []
    for way, end in (("from memory to the disk", "source"), ("from the disk to memory", "destination")):
        ours, theirs = [], []
        for _ in range(runs):
            with Network(**{end: Path(tempfile.mkdtemp(dir=OTHER_FILE_SYSTEM))}) as network:
                copy = network.destination / ".copy"
                _make_large(network.source / ".large")
                began = time.monotonic()
                subprocess.run(["cp", str(network.source / ".large"), str(copy)], check=True)
                theirs.append(time.monotonic() - began)
                copy.unlink()
                began = time.monotonic()
                os.rename(network.source / ".large", network.source / "large.dat")
                ours.append(wait_for_files(network.destination, ["large.dat"], 60.0) - began)
        ratio = median([a / b for a, b in zip(ours, theirs, strict=True)])
        text = f"ours {median(ours):.2f} s, cp {median(theirs):.2f} s, ratio {ratio:.2f}"
        rows.append((f"1 GiB {way}", text, "<= 0.6"))
    return rows


def backlog(runs: int) -> list[Row]:
    """100,000 files that are there at the start."""
    count = 100_000
    network = Network(start_client=False)
    names = write_files(network.source, count, 1024)
    with network:
        network.start("client")
        began = _wait_until_announced(network, 1)
        announced = _wait_until_announced(network, count) - began
        done = wait_for_files(network.destination, names, 600.0) - began
        server, client = network.figures("server"), network.figures("client")
    text = (f"announced {count / announced:.0f}/s, {count} delivered in {done:.0f} s, "
            f"peak RSS server {server['peak']:.0f} MiB, client {client['peak']:.0f} MiB")
    return [("100,000 files waiting", text, ">= 5,000/s, all delivered, <= 96 MiB each")]


def _wait_until_announced(network: Network, count: int) -> float:
    from trollmoves.journal import Reader
    deadline = time.monotonic() + 300.0
    while time.monotonic() < deadline:
        path = network.directory / "server.journal"
        if path.exists():
            try:
                with Reader(path) as reader:
                    if int(reader.find_one("newest_position", ())[0] or 0) >= count:
                        return time.monotonic()
            except Exception:  # it is just being made
                time.sleep(0.1)
        time.sleep(0.02)
    raise TimeoutError(f"{count} files were not announced")


def stall(runs: int) -> list[Row]:
    """20,000 announcements while the client is stopped for 4 s."""
    count = 20_000
    with Network() as network:
        network.signal("client", signal.SIGSTOP)
        began = time.monotonic()
        names = write_files(network.source, count, 100)
        time.sleep(max(0.0, 4.0 - (time.monotonic() - began)))
        network.signal("client", signal.SIGCONT)
        resumed = time.monotonic()
        done = wait_for_files(network.destination, names, 300.0) - resumed
        client = network.figures("client")
    return [("20,000 announcements, client stopped for 4 s", f"all arrived, {done:.1f} s after it went on, "
             f"client peak RSS {client['peak']:.0f} MiB", "all arrive")]


def idle(runs: int) -> list[Row]:
    """What the processes cost when nothing happens."""
    with Network() as network:
        time.sleep(12.0)  # threads that were needed for the first files end
        before = {program: network.figures(program)["cpu"] for program in network.processes}
        time.sleep(20.0)
        rows = []
        for program, cpu in before.items():
            found = network.figures(program)
            rows.append((f"idle {program}", f"{(found['cpu'] - cpu) / 20 * 100:.2f} % CPU, {found['rss']:.0f} MiB, "
                         f"{found['threads']:.0f} threads", "<= 0.2 %, <= 64 MiB, <= 12 threads"))
    return rows


BENCHMARKS: dict[str, Callable[[int], list[Row]]] = {
    "burst": burst, "burst10k": burst10k, "delete": delete, "peers": peers, "latency": latency, "beside": beside, "large": large,
    "backlog": backlog, "stall": stall, "idle": idle,
}


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure the server and the client, with peers beside them.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="which (default: all)")
    parser.add_argument("--runs", type=int, default=3, help="runs of each, of which the median is shown (default: 3)")
    parser.add_argument("--json", type=Path, help="write the rows to this file, too")
    options = parser.parse_args()
    unknown = [name for name in options.names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"there is no benchmark {', '.join(unknown)}; there are: {', '.join(BENCHMARKS)}")
    if shutil.which("rsync") is None:
        parser.error("rsync is not installed: apt-get install rsync (and lsyncd, to have it beside ours)")
    rows: list[Row] = []
    for name in options.names or BENCHMARKS:
        for row in BENCHMARKS[name](options.runs):
            rows.append(row)
            print(f"| {row[0]} | {row[1]} | {row[2]} |", flush=True)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2))
    return 0

if __name__ == "__main__":
    sys.exit(main())
