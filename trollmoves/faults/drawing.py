"""A seed becomes a network: how many servers, mirrors and clients, who listens to whom, and with which options.

Drawn is only what the documentation promises something of; what it does not is left out here, and why is said where that is.
"""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator
from dataclasses import dataclass

SUBJECTS = ("/faults/a", "/faults/b")
"""A section of each server announces one of them."""
ENDINGS = {"gzip": ".gz", "tar": ".tar"}
MOVERS = ("file", "file", "ftp")
FAR = "1h"
"""A `delete_after` that no run lasts to: what it removes then was delivered or not, as it promises nothing."""


@dataclass(frozen=True, slots=True)
class DrawnGroup:
    """A client and its hot spares."""

    name: str
    providers: tuple[str, ...]
    subjects: tuple[str, ...]
    spares: int
    mover: str
    options: dict[str, str]


@dataclass(frozen=True, slots=True)
class Draw:
    """A network; equal for equal seeds."""

    seed: int
    servers: tuple[str, ...]
    mirrors: dict[str, tuple[str, ...]]
    """Whom each listens to."""
    groups: tuple[DrawnGroup, ...]
    subjects: tuple[str, ...]
    server_options: dict[str, str]
    mirror_options: dict[str, str]
    delete: str
    changes: dict[str, str]
    """What changes in the configuration of a server or mirror: `name` of its sections, its `port`, or only an `option`."""
    packed: str
    """How files are packed: a key of `ENDINGS`, or empty."""
    unpacks: str
    """Who unpacks them: `server` or `client`."""
    again: float
    """How often a file takes the name of an earlier one."""
    twins: bool
    """Whether it may then have the size and the time of the earlier one, too."""
    dispatcher: bool
    relay: bool
    """Whether a server with `listen` announces again what the first group publishes, for a client of its own."""

    @property
    def ending(self) -> str:
        return ENDINGS.get(self.packed, "")

    def listeners(self, provider: str, subject: str) -> list[str]:
        """Sections of clients and mirrors that ask *provider* for files of *subject*."""
        clients = [group.name for group in self.groups if provider in group.providers and subject in group.subjects]
        return clients + [mirror for mirror, providers in self.mirrors.items() if provider in providers]

    def delete_option(self, server: str, subject: str) -> dict[str, str]:
        """The option `delete` of a server's section."""
        if self.delete != "names":
            return {"delete": self.delete} if self.delete else {}
        return {"delete": " ".join(f"{name}@{socket.gethostname()}" for name in self.listeners(server, subject))}

    def text(self) -> str:
        """What was drawn, in words."""
        return "; ".join(self._words())

    def _words(self) -> Iterator[str]:
        yield f"{', '.join(self.servers)} announce {', '.join(self.subjects)}"
        yield from (f"{mirror} mirrors {', '.join(providers)}" for mirror, providers in self.mirrors.items())
        for group in self.groups:
            yield (f"{group.name} with {group.spares} spares takes {', '.join(group.subjects)} from "
                   f"{', '.join(group.providers)} by {group.mover} ({_pairs(group.options)})")
        yield from (["a dispatcher"] if self.dispatcher else [])
        yield from (["a server with `listen`"] if self.relay else [])
        yield f"delete: {self.delete or 'no'}"
        yield f"servers: {_pairs(self.server_options)}; mirrors: {_pairs(self.mirror_options)}"
        yield from ([f"{self.packed} unpacked by the {self.unpacks}"] if self.packed else [])
        yield f"{self.again:.0%} under an old name{', also of its time' * self.twins}; changes: {_pairs(self.changes)}"


def _pairs(options: dict[str, str]) -> str:
    return ", ".join(f"{name} {text}" for name, text in options.items()) or "usual"


def draw(seed: int) -> Draw:
    """The network of a seed."""
    dice = random.Random(f"{seed} network")  # noqa: S311 - to be played again, not to be kept secret
    servers = tuple(f"server{number}" for number in range(dice.choice((1, 1, 2, 2, 3))))
    mirrors, ends = _draw_mirrors(dice, servers)
    subjects = SUBJECTS[:dice.choice((1, 1, 2))]
    packed, unpacks = dice.choice(("", "", "", "gzip", "tar")), dice.choice(("client", "server"))
    delete = dice.choice(("", "", "true", "true", "names", "first"))
    if len(mirrors) > 1 and len(servers) > 1 and len(ends) > 1:
        delete = ""  # of a file of both servers one may be left where it is: one mirror has nothing to compare it with
    # A client that was served by one of two mirrors only is not known to the other, which waits for those it knows.
    count = 1 if delete and len(mirrors) > 1 else dice.choice((1, 1, 2))
    groups = tuple(_draw_group(dice, f"recv{number}", ends, servers, subjects, packed * (unpacks == "client"))
                   for number in range(count))
    if not any(group.providers == ends for group in groups):
        mirrors = {}
    if (delete == "first" and count + len(mirrors) > 1) or (delete == "names" and len(mirrors) > 1):
        delete = "true"  # `first` promises delivery to one; a mirror that was never asked has nothing to confirm
    # Who listens to the first client only does not hear what a spare of its publishes, new content of a known name among it.
    followed = groups[0].mover == "file" and groups[0].subjects == subjects and not groups[0].spares
    server_options = _draw_server_options(dice, groups, packed * (unpacks == "server"), delete)
    return Draw(seed, servers, mirrors, groups, subjects, server_options,
                _draw_mirror_options(dice, delete), delete, _draw_changes(dice, servers, mirrors, groups), packed, unpacks,
                dice.choice((0.0, 0.0, 0.1, 0.3)), twins=dice.random() < 0.5, dispatcher=followed and dice.random() < 0.3,
                relay=followed and dice.random() < 0.3)


def _draw_mirrors(dice: random.Random, servers: tuple[str, ...]) -> tuple[dict[str, tuple[str, ...]], tuple[str, ...]]:
    """The mirrors, and whom clients listen to."""
    kind = dice.choice(("none", "none", "one", "row", "beside"))
    if kind == "none":
        return {}, servers
    if kind == "one":
        return {"mirror0": servers}, ("mirror0",)
    if kind == "row":
        return {"mirror0": servers, "mirror1": ("mirror0",)}, ("mirror1",)
    return {"mirror0": servers, "mirror1": servers}, ("mirror0", "mirror1")


def _draw_group(dice: random.Random, name: str, ends: tuple[str, ...], servers: tuple[str, ...], subjects: tuple[str, ...],
                packed: str) -> DrawnGroup:
    """Behind a mirror everybody takes everything: who does not is waited for with what it never asks for (docs/mirror.md)."""
    providers = ends if dice.random() < 0.75 else servers
    taken = subjects if dice.random() < 0.7 or ends != servers else (dice.choice(subjects),)
    options = {"req_timeout": dice.choice(("1", "0.5")), "transfer_req_timeout": dice.choice(("10", "2")),
               "in_flight": dice.choice(("1000", "5")), "heartbeat_alarm_scale": dice.choice(("0", "0.2")),
               **({"compression": packed, "delete": dice.choice(("true", "false"))} if packed else {})}
    return DrawnGroup(name, providers, taken, dice.choice((0, 0, 1)), dice.choice(MOVERS), options)


def _draw_server_options(dice: random.Random, groups: tuple[DrawnGroup, ...], packed: str, delete: str) -> dict[str, str]:
    compared = all(group.mover == "file" for group in groups)  # the ftp server computes no checksums
    options = {"checksum": dice.choice(("auto", "always" if compared else "auto")),
               "overwrite": dice.choice(("identical", "replace")),
               "workers": dice.choice(("auto", "2")), "stall_timeout": "10",
               **({"compression": packed} if packed else {})}
    if delete:
        options |= {"remove_delay": dice.choice(("0", "1", "3")), **({"delete_after": FAR} if dice.random() < 0.3 else {})}
    return options


def _draw_mirror_options(dice: random.Random, delete: str) -> dict[str, str]:
    """A copy that goes for its age is fetched again, as long as its server has it."""
    soon = {"delete_after": "5s"} if not delete and dice.random() < 0.3 else {}
    return {"remove_delay": dice.choice(("0", "1", "3")), "delay": dice.choice(("0", "0", "1")), **soon}


def _draw_changes(dice: random.Random, servers: tuple[str, ...], mirrors: dict[str, tuple[str, ...]],
                  groups: tuple[DrawnGroup, ...]) -> dict[str, str]:
    """One kind for each: a section that gets another name and another address together cannot be found again (docs/server.md).
    Addresses of `lease_servers` stay, and the name of a mirror's section: with another one it is another client (mirror.md)."""
    leasing = {provider for group in groups for provider in group.providers if group.spares and len(group.providers) > 1}
    changes = {}
    for name in (*servers, *mirrors):
        kinds = ["option", *(["name"] if name in servers else []), *([] if name in leasing else ["port"])]
        changes[name] = dice.choice(kinds)
    return changes
