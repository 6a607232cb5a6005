"""How fast ftp and ftps move files, next to the standard library and curl, on a pure-ftpd of this machine (which needs root).

    python benchmarks/movers_ftp.py [--files 1000] [--rounds 5]

Every round runs all contenders one after the other, so that they share what else the machine does; the table shows medians.
Ours does what a server does: a temporary name, the size compared, the time kept, a rename - over one session. The ftplib loops do
put and rename, curl only puts. Files are in memory where the machine has /dev/shm: what is measured is not the disk. The exit
status says whether the bars were met.
"""

from __future__ import annotations

import argparse
import ftplib
import os
import shutil
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.support.ftp_server import FtpServer  # noqa: E402
from trollmoves.movers.base import Origin, SessionSettings  # noqa: E402
from trollmoves.movers.ftp import FtpMover  # noqa: E402
from trollmoves.movers.moving import How, move  # noqa: E402
from trollmoves.uris import parse_destination  # noqa: E402

BARS = {"ftp": 1000, "ftps": 400}
"""Small files a second."""
SMALL, LARGE = 20 * 1024, 256 * 2**20


def ours(server: FtpServer, scheme: str, files: list[Path]) -> float:
    """Seconds for all *files*, logging in not counted."""
    destination = parse_destination(f"{scheme}://{server.user}:{quote(server.password)}@{server.host}:{server.port}/")
    mover, settings = FtpMover(), SessionSettings(parameters={"tls_ca_file": str(server.authority)})
    with mover.open(destination, settings) as session:
        started = time.perf_counter()
        for number, path in enumerate(files):
            descriptor = os.open(path, os.O_RDONLY)
            try:
                receipt = move(Origin.of(str(path), descriptor), destination, session, mover.abilities, How(f"{number:016x}"))
            finally:
                os.close(descriptor)
            assert receipt.verified == "size"
        return time.perf_counter() - started


def by_ftplib(server: FtpServer, scheme: str, files: list[Path]) -> float:
    context = ssl.create_default_context(cafile=str(server.authority))
    ftp = ftplib.FTP_TLS(context=context) if scheme == "ftps" else ftplib.FTP()
    with ftp:
        ftp.connect(server.host, server.port)
        ftp.login(server.user, server.password)
        if isinstance(ftp, ftplib.FTP_TLS):
            ftp.prot_p()
        started = time.perf_counter()
        for path in files:
            with open(path, "rb") as file:
                ftp.storbinary(f"STOR /.{path.name}", file)
            ftp.rename(f"/.{path.name}", f"/{path.name}")
        return time.perf_counter() - started


def by_curl(server: FtpServer, scheme: str, files: list[Path]) -> float:
    """One curl for all files; the time has its start and one log-in in it."""
    secure = ["--ssl-reqd", "--cacert", str(server.authority)] if scheme == "ftps" else []
    started = time.perf_counter()
    subprocess.run(["curl", "-sS", *secure, "-u", f"{server.user}:{server.password}", "-T", "{" + ",".join(map(str, files)) + "}",
                    f"ftp://{server.host}:{server.port}/"], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


Contender = Callable[[FtpServer, str, list[Path]], float]
CONTENDERS: dict[str, Contender] = {"ours": ours, "ftplib": by_ftplib, **({"curl": by_curl} if shutil.which("curl") else {})}
FEW = {("ftps", "ftplib"): 20, ("ftp", "curl"): 20, ("ftps", "curl"): 20}
"""Contenders that move some 20 files a second get one file in so many."""


def measured(server: FtpServer, scheme: str, files: list[Path], rounds: int) -> dict[str, float]:
    """Median seconds of every contender."""
    seconds: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    for turn in range(rounds):
        names = list(CONTENDERS)
        for name in names[turn % len(names):] + names[:turn % len(names)]:
            few = files[:max(1, len(files) // FEW.get((scheme, name), 1))]
            took = CONTENDERS[name](server, scheme, few)
            seconds[name].append(took * len(files) / len(few))
            check_and_clear(server, few)
    return {name: statistics.median(took) for name, took in seconds.items()}


def check_and_clear(server: FtpServer, files: list[Path]) -> None:
    arrived = {path.name: path.stat().st_size for path in server.root.iterdir()}
    assert arrived == {path.name: path.stat().st_size for path in files}, "not all files arrived"
    for name in arrived:
        (server.root / name).unlink()


def scratch_directory() -> str | None:
    """Where BENCHMARK_SCRATCH says, else in memory where the machine has /dev/shm."""
    memory = "/dev/shm"
    return os.environ.get("BENCHMARK_SCRATCH") or (memory if os.access(memory, os.W_OK) else None)


def make_files(directory: Path, count: int, size: int) -> list[Path]:
    directory.mkdir()
    paths = [directory / f"{number:04d}.dat" for number in range(count)]
    for path in paths:
        path.write_bytes(os.urandom(size))
    return paths


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scheme", choices=BARS, action="append", help="only this one")
    options = parser.parse_args()
    met = True
    with tempfile.TemporaryDirectory(prefix="trollmoves-benchmark-", dir=scratch_directory()) as scratch, \
            FtpServer(Path(scratch) / "server", tls="offered") as server:
        small = make_files(Path(scratch) / "small", options.files, SMALL)
        large = make_files(Path(scratch) / "large", 1, LARGE)
        print(f"medians of {options.rounds} rounds; {len(small)} files of {SMALL // 1024} KiB; one of {LARGE // 2**20} MiB")
        for scheme in options.scheme or BARS:
            bar = BARS[scheme]
            rates = {name: len(small) / took for name, took in measured(server, scheme, small, options.rounds).items()}
            speeds = {name: LARGE / took / 1e6 for name, took in measured(server, scheme, large, min(3, options.rounds)).items()}
            for name in CONTENDERS:
                print(f"{scheme:5} {name:8} {rates[name]:8.0f} files/s {speeds[name]:8.0f} MB/s")
            print(f"{scheme:5} bar: {bar} files/s: {'met' if rates['ours'] >= bar else 'MISSED'}")
            met = met and rates["ours"] >= bar
    return 0 if met else 1


if __name__ == "__main__":
    raise SystemExit(main())
