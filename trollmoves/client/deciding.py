"""Decide, without doing: is an announcement news, whom to ask next, when to try again, what a peer's notice means.

Nothing here reads a clock, a socket or a journal; what is needed comes in, what to do goes out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple

from trollmoves.lifecycle import State
from trollmoves.messages import EXTENSION, Announcement, Message, uris_of

FINISHED = frozenset((State.PUBLISHING, State.PUBLISHED, State.COVERED))
WAITING = frozenset((State.ANNOUNCED, State.FAILED))
EXPIRES_AFTER = 24 * 3600.0
"""Seconds after which a file that could not be had is given up."""
MENDABLE_WAIT = 10.0
"""Seconds between two tries of something only an operator can mend, at least."""
MENDABLE = frozenset(("denied", "dest_auth", "internal"))
"""Refusals that end when somebody corrects a configuration: tried again, more and more slowly."""
CANCELLED = "cancelled"
"""What a provider says of a request that an operator cancelled."""
OF_A_HOST = frozenset(("dest_unreachable", "dest_full", "stalled"))
"""What a provider says when not the file but the host where it shall go is the trouble."""
OF_MANY = OF_A_HOST | MENDABLE
"""What it says, as a rule, of all files that shall go there."""
PROBED_WAIT = 60.0
"""Seconds between two tries, at most, where the provider probes the host and answers at once while it does not work."""
PEER_PATIENCE = 60.0
"""Seconds a hot spare gives the peer that asked, at least: an upstream primary waits as long as `transfer_req_timeout`."""


OF_A_PLACE = frozenset(("uri", "request_address", "destination", "dataset", "collection", EXTENSION))
"""Fields of an announcement that differ from one provider to another."""
NOTHING: Mapping[str, Any] = {}


class Verdict(Enum):
    """What an announcement is to us."""

    NEW = "take it"
    SOURCE = "another provider of what we are about to get"
    TELL = "we have it: tell the provider, so that it can remove its copy"
    DOUBTFUL = "perhaps a copy of what we have had: take it if it is none, which its provider finds out"
    IGNORE = "the same announcement again"
    OLD = "older than what is known"


class Known(NamedTuple):
    """What the journal knows under the same identity."""

    state: State
    key: str
    size: int | None
    provider: str
    """`request_address` of the provider that was asked (last)."""
    epoch: str = ""
    offset: int = 0
    """Epoch and position of its announcement there; nothing of upstream's."""
    place: tuple[str, ...] = ()
    """Subject and uris of its announcement; the subject alone of what was not looked up on its own."""
    mtime: float | None = None
    """When it was written (epoch seconds), as announced."""
    fields: Mapping[str, Any] = NOTHING
    """What its announcement says."""
    doubtful: bool = False
    """It is perhaps a copy, which is being written: the journal tells later."""

    @property
    def subject(self) -> str:
        """Under which it was announced; empty where that is not known."""
        return self.place[0] if self.place else ""

    @classmethod
    def of(cls, state: State, announcement: Announcement) -> Known:
        """What is known of a file that came to *state* as it was announced."""
        return cls(state, announcement.key, announcement.size, announcement.address, announcement.epoch, announcement.offset,
                   place_of(announcement.message), mtime_of(announcement.message), announcement.message.fields)


def place_of(message: Message) -> tuple[str, ...]:
    """What tells files of one name apart that one provider announces: the subject, and where it is. (Several of its sections may
    announce the same file.)"""
    return message.subject, *uris_of(message.fields)


def about_of(fields: Mapping[str, Any]) -> dict[str, str]:
    """What the fields of an announcement say of the file itself, and not of where it is."""
    return {name: str(value) for name, value in fields.items() if name not in OF_A_PLACE}


def mtime_of(message: Message) -> float | None:
    """When what is announced was written (epoch seconds); None when it is not told."""
    said = message.extension.get("mtime")
    return said if isinstance(said, float) else None


def is_written_later(one: Message, other: Message) -> bool:
    """Whether what *one* announces was written after what *other* does, as far as both tell."""
    this, that = mtime_of(one), mtime_of(other)
    return this is not None and that is not None and this > that


def judge(known: Known | None, announcement: Announcement) -> Verdict:
    """Compare an announcement with what is known of its identity."""
    if known is None or known.state == State.GIVEN_UP or not is_same_content(
            known, announcement.key, announcement.address, announcement.size):
        return Verdict.NEW
    again = known.provider == announcement.address
    if again and announcement.epoch and known.epoch == announcement.epoch and known.offset < announcement.offset \
            and not known.key and (announcement.key or known.subject not in ("", announcement.message.subject)):
        return Verdict.DOUBTFUL  # a mirror had it of upstream, and has it of somebody else as well
    if known.state in FINISHED:  # a provider whose journal is new does not know that we have it
        if again and announcement.epoch and known.epoch == announcement.epoch:
            return Verdict.IGNORE
        return Verdict.DOUBTFUL if may_differ(known.key, announcement.key) else Verdict.TELL
    return Verdict.IGNORE if again else Verdict.SOURCE


def is_overtaken(versions: Iterable[Known], announcement: Announcement) -> bool:
    """Whether an announcement came before by another way: the same content, of the same journal, announced no earlier; whatever
    address its owner had then. Or just before, by another section with the same subject.

    What was missed is asked for while new announcements come in, so that old ones may be heard after newer ones.
    """
    known_here = [known for known in versions if known.epoch == announcement.epoch and known.state != State.GIVEN_UP]
    last = max(announced_before(known_here, announcement), key=lambda known: known.offset, default=None)
    return any(known.key == announcement.key and (known.offset >= announcement.offset or (
        known is last and known.provider != announcement.address)) for known in known_here)


def is_replaced(versions: Iterable[Known], announcement: Announcement) -> bool:
    """Whether other content was announced later in the same place, so that this one cannot be had any more."""
    place = place_of(announcement.message)
    return any(known.place == place and known.key != announcement.key and known.epoch == announcement.epoch
               and known.offset > announcement.offset for known in versions)


def earlier_copy(versions: Mapping[int, Known], newest: int, announcement: Announcement) -> int | None:
    """The row of content that *newest* has taken the place of, when it is this that another provider announces, late; else None.

    A mirror is heard after the server it mirrors, of content that was replaced, too. What is taken for new is fetched over the
    newer one. Who announced the newest, or the same once before, has it again. Of equal size it is a copy of what was written
    at about the same time.
    """
    now, written = versions.get(newest), mtime_of(announcement.message)
    if not announcement.key or now is None or announcement.epoch == now.epoch:
        return None
    same = [row for row, known in versions.items() if known.key == announcement.key]
    if any(announcement.epoch == versions[row].epoch or announcement.address == versions[row].provider for row in same):
        return None
    if same or written is None:
        return max(same, default=None)
    apart = {row: abs(known.mtime - written) for row, known in versions.items()
             if known.mtime is not None and announcement.epoch != known.epoch and announcement.address != known.provider}
    nearest = min(apart, key=lambda row: (apart[row], -row), default=newest)
    return nearest if nearest != newest and versions[nearest].size == announcement.size else None


def of_its_kind(versions: Mapping[int, Known], newest: int, announcement: Announcement) -> Mapping[int, Known]:
    """Those of *versions* that are of the same file as *announcement*: files of one name in several directories are several
    files, which their metadata tell apart. All, where nobody who said of any what is said of this one said anything else, and who
    announced the *newest* never said it."""
    about = about_of(announcement.message.fields)
    alike = {row: known for row, known in versions.items() if about_of(known.fields) == about}
    others = {known.epoch for row, known in versions.items() if row not in alike}
    return alike if newest in alike or any(known.epoch in others for known in alike.values()) else versions


def is_same_content(known: Known, key: str, provider: str, size: int | None) -> bool:
    """Whether what *provider* has under that *key* is what is *known*.

    Equal keys are equal content. One provider that gives a new key has a new file; another provider's file of the same name and
    size is taken for a copy. Where nothing is told of the content, the name decides.
    """
    if not known.key or not key or known.key == key:
        return True
    return bool(provider) and known.provider != provider and known.size == size


def may_differ(key: str, other: str) -> bool:
    """Whether what two providers announce under one name may be other content, though it is as large."""
    return bool(key and other and key != other)


def is_successor(versions: Iterable[Known], announcement: Announcement) -> bool:
    """Whether its provider announced other content in the same place before, which is known: then this is no copy."""
    return any(may_differ(known.key, announcement.key) and not looks_alike(known, announcement)
               for known in announced_before(versions, announcement))


def announced_before(versions: Iterable[Known], announcement: Announcement) -> list[Known]:
    """What its provider announced in the same place before."""
    place = place_of(announcement.message)
    return [known for known in versions
            if known.epoch == announcement.epoch and known.offset < announcement.offset and known.place == place]


def looks_alike(known: Known, announcement: Announcement) -> bool:
    """Whether what is announced has the size of what is *known*, and was written when that was: it may be other content that was
    given its time, or the same file, sent again or on a file system whose inode numbers do not last."""
    return known.mtime is not None and (known.size, known.mtime) == (announcement.size, mtime_of(announcement.message))


def is_moved_on(known: Known, announcement: Announcement) -> bool:
    """Whether what seems to be a copy of another provider is new content: of one that has another address now, as the epoch of
    its journal tells."""
    return bool(known.key and announcement.key and known.key != announcement.key and announcement.epoch
                and known.epoch == announcement.epoch and known.place == place_of(announcement.message))


class Notice(Enum):
    """What a peer client said of a file."""

    ASKED = "push"
    HAS = "ack"


def read_notice(message: Message) -> Notice | None:
    """The notice of a peer client, None when *message* is an announcement."""
    if message.type == "push":
        return Notice.ASKED
    if message.type == "ack":
        return Notice.HAS
    if message.type in ("file", "dataset", "collection") and "request_address" not in message.fields:
        return Notice.HAS
    return None


@dataclass(frozen=True, slots=True)
class Covered:
    """A peer has it: nothing to do any more."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Do nothing before *seconds* are over."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask this provider now."""

    provider: str


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Nothing more can be done; an operator has to know."""


def after_notice(notice: Notice, state: State, delay: float, *, patience: float = PEER_PATIENCE,
                 shared: bool = False) -> Covered | Wait | None:
    """What a peer's notice means for a file in *state*; *delay* is our `processing_delay` (0 for a primary), *patience* what we
    give the peer at least. With a *shared* lease the provider knows how the peer is doing, and is asked soon."""
    if notice is Notice.HAS and (state in WAITING or state is State.GIVEN_UP):
        return Covered()
    if not delay or state not in WAITING:
        return None
    return Wait(delay) if shared else Wait(max(patience, 3 * delay))


def after_failure(*, code: str, permanent: bool, untried: list[str], age: float, backoff: float, hopeful: bool = False,
                  retry_after: float | None = None, lifetime: float = EXPIRES_AFTER) -> Ask | Wait | GiveUp:
    """What to do when a provider could not deliver.

    *untried* are providers not asked in this round, *age* the seconds since the file was first heard of, *lifetime* those for
    which it is worth trying, *backoff* the seconds that would be waited for this number of attempts. *hopeful*: one of those that
    were asked may be able to deliver it later.
    """
    if code == CANCELLED:
        return GiveUp()
    if untried:
        return Ask(untried[0])
    if age > lifetime:
        return GiveUp()
    if permanent:
        return Wait(max(backoff, MENDABLE_WAIT)) if hopeful or code in MENDABLE else GiveUp()
    if retry_after and code in OF_A_HOST:
        backoff = min(backoff, PROBED_WAIT)
    return Wait(max(backoff, retry_after or 0.0))
