"""Uploads to S3: this package's mover beside boto3, and beside s3fs and obstore where they are installed.

    python benchmarks/movers_s3.py                  # OpenStack Swift's S3 door, as the tests start it
    python benchmarks/movers_s3.py --server moto --rounds 5

200 files of 20 kB one after the other over one session, and one file of 200 MiB. The rounds of all peers alternate, so that
other load on the machine meets all alike; the medians are printed with their ratio to boto3's `upload_file` (above 1: faster)
and the client's CPU seconds.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import boto3  # noqa: E402

from tests.support.s3_server import MotoServer, S3Server, SwiftServer  # noqa: E402
from trollmoves.movers.base import Origin, SessionSettings  # noqa: E402
from trollmoves.movers.moving import How, move  # noqa: E402
from trollmoves.movers.s3 import S3Mover  # noqa: E402
from trollmoves.uris import parse_destination  # noqa: E402

BUCKET = "benchmark"
Upload = Callable[[Path, str], object]
SERVERS = {"swift": SwiftServer, "moto": MotoServer}


def ours(server: S3Server) -> Upload:
    """The mover, as a server's worker uses it."""
    settings = SessionSettings(parameters={"key": server.access_key, "secret": server.secret_key, "endpoint_url": server.url,
                                           "client_kwargs": {"region_name": server.region}})
    session, how = S3Mover().open(parse_destination(f"s3://{BUCKET}/"), settings), How("0123456789abcdef")

    def upload(path: Path, key: str) -> None:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            receipt = move(Origin.of(str(path), descriptor), parse_destination(f"s3://{BUCKET}/{key}"), session,
                           S3Mover.abilities, how)
        finally:
            os.close(descriptor)
        assert receipt.verified == "sum"

    return upload


def by_boto3(server: S3Server) -> Upload:
    """boto3 as its users have it."""
    client = boto3.client("s3", endpoint_url=server.url, aws_access_key_id=server.access_key,
                          aws_secret_access_key=server.secret_key, region_name=server.region)
    return lambda path, key: client.upload_file(str(path), BUCKET, key)


def by_s3fs(server: S3Server) -> Upload:
    """s3fs, which upstream uses."""
    import s3fs

    files: Any = s3fs.S3FileSystem(key=server.access_key, secret=server.secret_key, endpoint_url=server.url,
                                   client_kwargs={"region_name": server.region})
    return lambda path, key: files.put_file(str(path), f"{BUCKET}/{key}")


def by_obstore(server: S3Server) -> Upload:
    """obstore, a client written in Rust."""
    import obstore
    from obstore.store import S3Store

    store = S3Store(BUCKET, endpoint=server.url, access_key_id=server.access_key, secret_access_key=server.secret_key,
                    region=server.region, client_options={"allow_http": True}, virtual_hosted_style_request=False)
    return lambda path, key: obstore.put(store, key, path, chunk_size=8 * 2**20, max_concurrency=4)


PEERS: dict[str, Callable[[S3Server], Upload]] = {"boto3": by_boto3, "ours": ours, "s3fs": by_s3fs, "obstore": by_obstore}


def cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def measured(upload: Upload, files: Sequence[Path], prefix: str) -> tuple[float, float]:
    """Seconds of wall clock and of CPU for all *files*."""
    wall, cpu = time.perf_counter(), cpu_seconds()
    for path in files:
        upload(path, f"{prefix}/{path.name}")
    return time.perf_counter() - wall, cpu_seconds() - cpu


def compare(peers: dict[str, Upload], what: str, files: Sequence[Path], rounds: int) -> None:
    """Run all peers in turns and print their medians."""
    results: dict[str, list[tuple[float, float]]] = {name: [] for name in peers}
    for number in range(rounds):
        for name, upload in peers.items():
            results[name].append(measured(upload, files, f"{name}/{number}"))
    walls = {name: statistics.median(wall for wall, _ in result) for name, result in results.items()}
    for name, result in results.items():
        cpu = statistics.median(cpu for _, cpu in result)
        ratio = walls["boto3"] / walls[name]
        print(f"{what:>10}  {name:<8} {walls[name]:7.2f} s  {ratio:5.2f} of boto3  CPU {cpu:5.2f} s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", choices=sorted(SERVERS), default="swift")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="*", choices=sorted(PEERS), help="peers beside boto3")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, SERVERS[arguments.server](Path(folder) / "server") as server:
        server.make_bucket(BUCKET)
        chosen = [name for name in PEERS if name == "boto3" or name in (arguments.only or PEERS)]
        peers = {name: PEERS[name](server) for name in chosen if name == "ours" or importlib.util.find_spec(name)}
        small = [Path(folder) / f"{number}.dat" for number in range(200)]
        for path in small:
            path.write_bytes(os.urandom(20_000))
        large = Path(folder) / "large.dat"
        large.write_bytes(os.urandom(200 * 2**20))
        for name, upload in peers.items():
            measured(upload, small[:5], f"{name}/first")
        compare(peers, "200 small", small, arguments.rounds)
        compare(peers, "200 MiB", [large], arguments.rounds)


if __name__ == "__main__":
    main()
