"""Two networks and a machine at the edge between them: namespaces where root allows them, loopback addresses otherwise."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
from dataclasses import dataclass
from types import TracebackType

_NUMBERS = itertools.count()


@dataclass(frozen=True)
class Side:
    """Where a program runs."""

    prefix: tuple[str, ...] = ()
    """Words before its command."""
    address: str = "127.0.0.1"
    """Its own."""


LOOPBACK = Side()


class Edge:
    """A machine `left`, a machine `right` that cannot reach it, and one between that reaches both: `middle_left` and
    `middle_right` are its two addresses."""

    def __init__(self) -> None:
        self.separate = _namespaces_work()
        """Whether they really are two networks."""
        name = f"tm{os.getpid()}x{next(_NUMBERS)}"
        self._names = [f"{name}{side}" for side in "lmr"]
        if self.separate:
            left, middle, right = (("ip", "netns", "exec", name) for name in self._names)
            self.left, self.right = Side(left, "10.231.1.2"), Side(right, "10.231.2.2")
            self.middle_left, self.middle_right = Side(middle, "10.231.1.1"), Side(middle, "10.231.2.1")
        else:
            self.left, self.right = Side(address="127.0.0.2"), Side(address="127.0.0.3")
            self.middle_left = self.middle_right = Side(address="127.0.0.4")

    def __enter__(self) -> Edge:
        if self.separate:
            for name in self._names:
                _ip("netns", "add", name)
                _ip("-n", name, "link", "set", "lo", "up")
            self._connect(0, self.left, self.middle_left)
            self._connect(2, self.right, self.middle_right)
        return self

    def _connect(self, number: int, outer: Side, inner: Side) -> None:
        """A cable between an outer machine and the middle one."""
        here, middle = self._names[number], self._names[1]
        ends = f"{here}o"[-15:], f"{here}i"[-15:]
        _ip("link", "add", ends[0], "netns", here, "type", "veth", "peer", "name", ends[1], "netns", middle)
        for name, end, side in ((here, ends[0], outer), (middle, ends[1], inner)):
            _ip("-n", name, "address", "add", f"{side.address}/24", "dev", end)
            _ip("-n", name, "link", "set", end, "up")

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for name in self._names if self.separate else ():
            subprocess.run(["ip", "netns", "delete", name], capture_output=True, timeout=20)


def _namespaces_work() -> bool:
    """Whether we may make them."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        return False
    name = f"tm{os.getpid()}probe"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, timeout=20).returncode == 0
    if made:
        entered = subprocess.run(["ip", "netns", "exec", name, "true"], capture_output=True, timeout=20).returncode == 0
        subprocess.run(["ip", "netns", "delete", name], capture_output=True, timeout=20)
        return entered
    return False


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, timeout=20)
    assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr}"
