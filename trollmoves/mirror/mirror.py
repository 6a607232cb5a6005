"""The mirror program: a server whose chains have their files from other servers."""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from trollmoves.config.reading import read_mirror_config
from trollmoves.mirror.chain import Chain
from trollmoves.server.server import RunningChain, Server
from trollmoves.server.topics import Topics

NAME = "move_it_mirror"
UNHEARD = 1000
"""Announcements, the last ones before a stop, that are published again after it: a process that is killed may have journaled
and not published them, and upstream clients cannot ask for them."""


class Mirror(Server):
    """Runs the sections of one configuration file."""

    program = "mirror"

    def __init__(self, config_file: Path, journal: Path, port: int):
        super().__init__(config_file, journal, port, name=NAME, read_config=read_mirror_config)
        self._client = f"{socket.gethostname()}/{journal.stem}"
        self._mirror = mirror_name(journal)
        self.topics = Topics(self.journal)

    def new_chain(self, settings: Any) -> RunningChain:
        address = self.address_of(settings)
        assert address is not None and self.topics is not None  # no section without a request port
        self.begin_orders_anew(settings.name)
        return Chain(settings, f"{settings.name}@{self._client}", self._mirror, address, self.journal, self.loop, self.envelope,
                     self.stream, self.recent, self.topics, self.workers)

    def dismissed(self, files: Collection[int]) -> None:
        for chain in self._chains.values():
            if isinstance(chain, Chain):
                chain.dismissed(files)

    def driven_again(self) -> None:
        super().driven_again()
        for chain in self._chains.values():
            if isinstance(chain, Chain):
                chain.driven_again()

    def ask_again(self, chain: str, newer_than: float, topics: list[str]) -> bool:
        meant = [running for name, running in self._chains.items() if chain in ("", name) and isinstance(running, Chain)]
        return any([running.order_past(newer_than, topics) for running in meant])

    def carry_on(self, order: int, chain: str, said: Mapping[str, Any], end: Callable[[], Any]) -> None:
        running = self._chains.get(chain)
        if isinstance(running, Chain):
            running.ask_again(said, end)
        elif chain not in self.wanted:  # or it waits for its port
            end()

    def first_unasked(self) -> int:
        row = self.journal.find_one("newest_but", (UNHEARD,))
        return max(super().first_unasked(), row[0] if row else 0)


def mirror_name(journal: Path) -> str:
    """What announcements say they have passed through: the same after a restart, also with a new journal, and another one for
    every mirror anywhere. It tells nothing of this machine."""
    machine = ""
    with suppress(OSError):
        machine = Path("/etc/machine-id").read_text(encoding="ascii", errors="replace").strip()
    text = "\n".join((machine, socket.gethostname(), os.path.realpath(journal)))
    return "m:" + hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]
