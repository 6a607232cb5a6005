"""T42: a slow link that loses a third of all packets, in a network namespace of its own (root, iproute2, nftables)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.programs import CHECKOUT, clean_environment
from tests.support.unavailable import need_program, unavailable

RATE = 8_000_000 / 8
"""Bytes per second that the link takes."""

RUN = """
import os, sys, time
from pathlib import Path
from urllib.parse import quote
from tests.faults.network import Network
from tests.support.ftp_server import FtpServer
root, count, size = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
with FtpServer(root / "ftp") as server:
    uri = f"ftp://{server.user}:{quote(server.password, safe='')}@127.0.0.1:{server.port}/"
    with Network(root, destination=server.root, client_options={"destination": uri, "create_target_directory": "false"},
                 server_options={"stall_timeout": "60"}) as network:
        network.begin(1)
        for command in sys.argv[4:]:
            os.system(command)
        began = time.monotonic()
        network.write_many(count, "slow", size)
        network.settle(500)
        print("seconds", time.monotonic() - began)
        network.check()
"""


def over_a_link(root: Path, count: int, size: int, *commands: str) -> float:
    """Seconds until all files are published; *commands* make the link what it is."""
    if os.geteuid():
        unavailable("needs root to make a network namespace")
    for program, package in (("unshare", "util-linux"), ("tc", "iproute2"), ("nft", "nftables")):
        need_program(program, package)
    script = 'ip link set lo up && exec "$0" -c "$@"'
    run = subprocess.run(["unshare", "-n", "sh", "-c", script, sys.executable, RUN, root, str(count), str(size), *commands],
                         text=True, capture_output=True, timeout=600, cwd=CHECKOUT,
                         env=clean_environment({"PYTHONPATH": str(CHECKOUT)}))
    assert run.returncode == 0, run.stdout + run.stderr
    print(run.stdout)
    return float(run.stdout.rsplit("seconds ", 1)[1].split()[0])


SLOW = "tc qdisc add dev lo root tbf rate 8mbit burst 128kb latency 400ms"
LOSSY = ("nft add table inet lossy; nft 'add chain inet lossy in { type filter hook input priority 0; }'; "
         "nft add rule inet lossy in meta l4proto tcp numgen random mod 100 '<' 30 drop")


@pytest.mark.nightly
@pytest.mark.timeout(700)
def test_a_slow_link_is_used_well(tmp_path: Path) -> None:
    seconds = over_a_link(tmp_path, 4, 2_000_000, SLOW)
    assert seconds < 2 * 8_000_000 / RATE, "less than half of what the link takes"


@pytest.mark.nightly
@pytest.mark.timeout(700)
def test_a_link_that_loses_packets_loses_no_file(tmp_path: Path) -> None:
    over_a_link(tmp_path, 5, 20_000, SLOW, LOSSY)
