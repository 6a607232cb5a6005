"""A name server for a test, and a `/etc/resolv.conf` that names it: in namespaces of its own, where port 53 is free.

The part of the test that needs them runs in another process, see `inside`.
"""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType

from tests.support.programs import CHECKOUT, clean_environment
from tests.support.unavailable import need_program, unavailable

SERVFAIL, NXDOMAIN = 2, 3
IPV4 = 1


class Resolver:
    """Answers for any name with *address*; while `silent` it says nothing, while `failing` that it cannot say. A context."""

    def __init__(self, address: str = "127.0.0.1"):
        self.silent = self.failing = False
        self.asked = 0
        self._address = socket.inet_aton(address)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 53))
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def _serve(self) -> None:
        while True:
            question, peer = self._socket.recvfrom(4096)
            if not question:
                return
            self.asked += 1
            if not self.silent:
                self._socket.sendto(self._answer(question), peer)

    def _answer(self, packet: bytes) -> bytes:
        end = packet.index(0, 12) + 5  # behind the name, its type and its class
        question, kind = packet[12:end], struct.unpack_from("!H", packet, end - 4)[0]
        found = kind == IPV4 and not self.failing
        flags = 0x8180 | (SERVFAIL if self.failing else 0)
        answer = struct.pack("!HHHIH", 0xC00C, IPV4, 1, 0, 4) + self._address if found else b""
        return packet[:2] + struct.pack("!HHHHH", flags, 1, int(found), 0, 0) + question + answer

    def __enter__(self) -> Resolver:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"", ("127.0.0.1", 53))
        self._thread.join(60)
        self._socket.close()


INSIDE = ('ip link set lo up && echo "nameserver 127.0.0.1" > "$1/resolv.conf" && '
          'mount --bind "$1/resolv.conf" /etc/resolv.conf && exec "$0" -c "$2" "$1" "$3"')


def inside(program: str, root: Path, argument: object, seconds: float) -> str:
    """What *program* (Python) prints where this machine's name server is whatever listens at port 53 of 127.0.0.1. It gets the
    words *root* and *argument*, and may take so many *seconds*."""
    if os.geteuid() or not Path("/etc/resolv.conf").exists():
        unavailable("needs root to make namespaces, and an /etc/resolv.conf to replace there")
    need_program("ip", "iproute2")
    run = subprocess.run([need_program("unshare", "util-linux"), "--mount", "--net", "sh", "-c", INSIDE, sys.executable, root,
                          program, str(argument)], text=True, capture_output=True, timeout=seconds, cwd=CHECKOUT,
                         env=clean_environment({"PYTHONPATH": str(CHECKOUT)}))
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout
