"""Peers: members of a group tell in notices what they ask for and have; by these hot spares see each other's work."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Mapping
from typing import NamedTuple

from trollmoves.client.asking import Asking
from trollmoves.client.deciding import (
    PEER_PATIENCE,
    WAITING,
    Covered,
    Known,
    Notice,
    Wait,
    after_notice,
    is_same_content,
    may_differ,
)
from trollmoves.client.doubting import checksum_told, with_checksum
from trollmoves.client.ledger import Ledger
from trollmoves.config.places import Provider
from trollmoves.lifecycle import State
from trollmoves.messages import Announcement, Message, digest, file_of

PEER_SILENCE = 12.0
"""Seconds without a word of a peer of our kind, whose beats come every five, after which it is taken for dead."""
NOTICES_KEPT = 20_000
LONGEST = 300
"""Characters of what is kept of a notice; an address has no more, and ours no key with more. Anybody who is listened to may say
thousands."""
NOTICES_VALID = 600.0
"""Seconds; a peer's notice that came before the announcement it is about counts for this long."""


class Said(NamedTuple):
    """A peer's notice about a file."""

    peer: Provider
    notice: Notice
    key: str
    """Of the content; empty when the announcer does not tell."""
    provider: str
    """From whom the peer has it, or asks for it."""
    size: int | None
    when: float
    """Monotonic time."""
    shared: bool
    """We share a lease with it: the provider can be asked how it is doing."""
    checksum: str = ""
    """Of what it has; empty when it does not tell."""
    word: str = "has it"
    """What it says, when it does not ask; ours say what they have published."""


class Peers:
    """What the peers of one client chain say, and what is left to them; belongs to the loop."""

    def __init__(self, delay: float, ledger: Ledger, asking: Asking, *, longest_move: float = 0.0):
        """*delay* is `processing_delay`; 0 for a primary. *longest_move* is for how long a peer may wait for one file."""
        self._delay = delay
        self._patience = max(PEER_PATIENCE, longest_move)
        self._ledger = ledger
        self._asking = asking
        self._notices: OrderedDict[bytes, Said] = OrderedDict()
        """By a digest of the identity: what peers said lately."""
        self._known: set[Provider] = set()
        """Those of our kind, who tell every few seconds that they are alive."""
        self._left_to: dict[Provider, dict[int, str]] = {}
        """Files that a peer asks for: with their identities, by peer, the latest ones."""

    def add(self, peer: Provider) -> None:
        """*peer* has told that it is of our kind and group."""
        self._known.add(peer)

    def take_notice(self, peer: Provider, notice: Notice, message: Message) -> None:
        """*peer* asks for a file, or has it."""
        if message.type == "ack" and peer in self._known:
            return  # one of our kind publishes next, and may die before that: its publication counts
        identity = file_of(message)
        shared = notice is Notice.ASKED and self._shares_lease(peer, message)
        said = self._notices[name := digest(identity)] = _said(peer, notice, message, shared)
        self._notices.move_to_end(name)
        if len(self._notices) > NOTICES_KEPT:
            self._notices.popitem(last=False)
        file, known = self._ledger.known(identity)
        if known is None or not is_same_content(known, said.key, said.provider, said.size):
            return
        if may_differ(known.key, said.key) and (known.doubtful or self._ledger.is_in_doubt(file)):
            return
        said = self._as_for(said, known)
        action = self.after(said, known.state)
        self._left_to.get(peer, {}).pop(file, None)
        if action is None:
            return
        now = time.time()
        if isinstance(action, Covered):
            self._ledger.step(file, State.COVERED, None, 0, with_checksum(said.checksum, f"{message.sender} {said.word}"))
            self._ledger.forget(identity, file)
            self._asking.waiting.drop(file)
            self._asking.cancel_overtaken(file, identity)
        else:
            self._ledger.step(file, known.state, now + action.seconds, 0, f"{message.sender} asks for it")
            self.leave_to(said, file, identity)

    def after(self, said: Said, state: State) -> Covered | Wait | None:
        """What a notice means for its file, which is in *state*."""
        return after_notice(said.notice, state, self._delay, patience=self._patience, shared=said.shared)

    def _shares_lease(self, peer: Provider, message: Message) -> bool:
        """Whether the provider of what *peer* asks for gives leases, and gives us the same one: we can ask it how that stands."""
        return (self._delay > 0 and peer in self._known and isinstance(message.extension.get("epoch"), str)
                and self._asking.is_sent_to(message))

    def said_of(self, announcement: Announcement) -> Said | None:
        """What a peer said of it before it was announced to us."""
        said = self._notices.get(digest(announcement.identity))
        if said is None or time.monotonic() - said.when > NOTICES_VALID:
            return None
        known = Known(State.ANNOUNCED, announcement.key, announcement.size, announcement.address)
        return self._as_for(said, known) if is_same_content(known, said.key, said.provider, said.size) else None

    def _as_for(self, said: Said, known: Known) -> Said:
        """What was *said*, for one who knows the file as another provider's, which knows nothing of the lease."""
        alike = said.key == known.key or self._asking.providers.decide_alike(said.provider, known.provider)
        return said._replace(shared=said.shared and alike)

    def leave_to(self, said: Said, file: int, identity: str) -> None:
        """The peer asks for *file*: we wait, unless it falls silent. (Where the name is endless, however that is.)"""
        if not said.shared and said.peer in self._known and len(identity) <= LONGEST:
            files = self._left_to.setdefault(said.peer, {})
            files[file] = identity
            if len(files) > NOTICES_KEPT:  # of what it never got nothing more is heard
                del files[next(iter(files))]

    def check(self, heard: Mapping[Provider, float]) -> None:
        """What was left to a peer of our kind that has fallen silent need not wait any longer. *heard* is when (monotonic) each
        was heard last."""
        for peer in [peer for peer in self._left_to if time.monotonic() - heard.get(peer, 0.0) > PEER_SILENCE]:
            files = self._left_to.pop(peer)
            self._ledger.look_up_identities(files.values())
            for file, identity in files.items():
                found, known = self._ledger.known(identity)
                if found == file and known is not None and known.state in WAITING:
                    self._ledger.step(file, known.state, time.time(), 0, f"{peer} asked for it and has fallen silent")
            self._asking.commit()


def _said(peer: Provider, notice: Notice, message: Message, shared: bool) -> Said:
    fields, extension = message.fields, message.extension
    size = extension.get("size")
    key, provider = str(extension.get("key", "")), str(fields.get("request_address") or fields.get("origin") or "")
    return Said(peer, notice, key[:LONGEST], provider[:LONGEST], size if type(size) is int else None, time.monotonic(), shared,
                checksum_told(message), "has published it" if "publication" in extension else "has it")
