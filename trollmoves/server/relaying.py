"""Relay: what a heard message speaks of is announced as ours.

A message is in the journal as `seen` before its files are looked at, so that no crash makes us forget it. A worker then sees
whether they are here (and unpacks what is packed); one transaction announces them. A message about another machine's files, or
about those the section must not announce, is none of ours: it is skipped, counted and named in the log.
"""

from __future__ import annotations

import logging
import os
import time
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from trollmoves.bus import Loop
from trollmoves.bus.few_lines import Sparingly
from trollmoves.bus.once import KEPT
from trollmoves.config.settings import ServerSettings
from trollmoves.errors import MalformedMessage, OriginGone
from trollmoves.journal import Journal, Operation
from trollmoves.journal.journal import step_line
from trollmoves.lifecycle import State
from trollmoves.messages import EXTENSION, Message, content_key, decode, identity_of, uris_of
from trollmoves.movers.retrying import GIVE_UP_AFTER, in_words, wait_before
from trollmoves.movers.sessions import Sessions
from trollmoves.patterns import Pattern
from trollmoves.queueing.hearing import Hearing
from trollmoves.server.announcer import Announcer, Numbered
from trollmoves.server.opening import Looked, Opening
from trollmoves.server.requests import announced_path
from trollmoves.server.unpacking import give_up, is_permanent
from trollmoves.watchers.messages import TYPES, Elsewhere, PerhapsElsewhere
from trollmoves.workers import Work, Workers

logger = logging.getLogger(__name__)

LANES = 2
"""Messages of one chain that are looked at, and their files unpacked, at a time; those of the same files in their order."""
MOST_HELD = 1000
"""Messages that are held in memory; the rest wait in the journal."""
FEW_HELD = 200
USUAL = 4 * 1024
"""Bytes of a message up to which it counts as one."""
AT_ONCE = 50
"""Messages of which the journal is asked at a time."""
LONGEST_SENDER = 200
"""Characters of it that are kept."""
MOST_WAITING = 10_000
"""Messages that may wait for another look; beyond it one whose file is not there is given up."""
UNKNOWN_FOR = 120.0
"""Seconds after which a file on a host that no name server knows of is taken for one of another machine."""
NOT_SERVED = (State.SEEN, State.GIVEN_UP, State.COVERED)
"""States in which nobody can have a file."""
MISSING_FOR = 300.0
"""Seconds a file may be missing of which a message speaks: a network file system may show it late."""

Content = tuple[tuple[Any, ...], ...]
"""What tells files from others at their paths: path, inode, size and modification time of each, and where it goes."""


@dataclass(slots=True)
class Item:
    """One message on its way."""

    message: Message
    file: int
    """Its row in the journal."""
    since: float = field(default_factory=time.monotonic)
    """When it was taken up; by a clock that nobody sets."""
    attempt: int = 0

    @property
    def weight(self) -> int:
        """For how many of the usual size it counts."""
        return 1 + len(self.message.raw) // USUAL


class Relaying:
    """Relays for one chain; belongs to the loop."""

    def __init__(self, settings: ServerSettings, pattern: Pattern | None, announcer: Announcer, journal: Journal, loop: Loop,
                 workers: Workers):
        """*pattern* says which files may be announced; none given means every file. Raises `ConfigurationError` when an unpacker
        cannot be loaded."""
        self._chain = settings.name
        self._announcer = announcer
        self._opening = Opening(settings, pattern)
        self._journal = journal
        self._loop = loop
        self._workers = workers
        self.hearing = Hearing("server", journal, self._rows, lambda _: self._take(), self._chain)
        """Hands over what was heard, by way of the journal."""
        before = journal.find_one("meta", (self._counter,))
        self._skipped = 0 if before is None else int(before["value"])
        """Messages that were none of ours."""
        self._held: dict[int, int] = {}
        """Rows of the journal that are under way, and how much each counts for."""
        self._newest = 0
        """Row up to which all that were `seen` are, or were, under way."""
        self._given_up, self._tries, self._skips = Sparingly(logger, logging.ERROR), Sparingly(logger), Sparingly(logger)
        self._waiting = 0
        """Messages that wait for another look."""
        self._more = False
        """There may be more in the journal than are held."""
        self._unwritten: dict[str, dict[Content, tuple[int, str]]] = {}
        """By identity row and key of what is announced for the first time: look-ups do not see it yet."""
        self.stopped = False
        """Nothing more is heard, begun or announced."""

    def stop(self) -> None:
        """Hear, begin and announce nothing more: whoever takes up the journal does."""
        self.stopped = True
        self.hearing.close()

    @property
    def _counter(self) -> str:
        return f"skipped:{self._chain}"

    def take_up(self) -> None:
        """Go on with what the last process, or an earlier chain of this name, left; what they heard last is no news."""
        lately = self._journal.find("heard_lately", (KEPT, self._chain))
        self.hearing.remember(decode(row["message"].encode()) for row in lately)
        self._take()

    def _rows(self, message: Message) -> Iterable[tuple[Any, ...]]:
        """What the journal has of a message before anything is known but itself; nothing of one that speaks of no files."""
        if message.type not in TYPES:
            return
        now = time.time()
        line = step_line(State.SEEN, now, message.sender[:LONGEST_SENDER])
        yield (self._journal.new_file(), self._chain, identity_of(message.fields), "", State.SEEN, now, line, None,
               None, None, None, None, None, None, message.raw.decode(), None, 0, now)

    def _take(self) -> None:
        """Begin with what the journal has, as long as there is room."""
        self._more = not self.stopped
        while self._more and self._holding < MOST_HELD:
            rows = self._journal.find("seen_since", (self._chain, self._newest, AT_ONCE))
            self._more = len(rows) == AT_ONCE
            self._newest = max([self._newest, *(row["id"] for row in rows)])
            items = [item for row in rows if (item := self._item(row)) is not None]
            self._held.update((item.file, item.weight) for item in items)
            self._submit(items)

    @property
    def _holding(self) -> int:
        return sum(self._held.values())

    def _item(self, row: Any) -> Item | None:
        if row["message"] is None:  # a file that was seen when this section watched a directory
            self._journal.write([("step", [give_up(row["id"], "the section listens to messages now")])])
            return None
        return Item(decode(row["message"].encode()), row["id"])

    def _submit(self, items: Sequence[Item]) -> None:
        self._workers.submit([Work(("listen", self._chain, self._lane(item)), 1, partial(self._look, item.message),
                                   partial(self._looked, item)) for item in items])

    def _lane(self, item: Item) -> int:
        return zlib.crc32(identity_of(item.message.fields).encode("utf-8", "replace")) % LANES

    def _look(self, message: Message, _: Sessions) -> Looked | None:
        """In a worker."""
        return None if self.stopped else self._opening.look(message)

    # It was looked at.

    def _looked(self, item: Item, outcome: Any) -> None:
        if self.stopped or outcome is None:
            return
        item.attempt += 1
        try:
            if isinstance(outcome, Exception):
                self._failed(item, outcome)
            else:
                self._announce(item, outcome)
        except (MalformedMessage, UnicodeEncodeError) as error:
            self._give_up(item, f"cannot be announced: {error}")

    def _announce(self, item: Item, looked: Looked) -> None:
        for text in looked.alarms:
            self._journal.alarm(self._chain, text)
        first, topic = looked.members[0].arrival, self._announcer.topic
        told = {name: value for name, value in looked.data.items() if name != EXTENSION}
        data = {**self._announcer.info, **told, "request_address": self._announcer.address}
        identity, content, now = identity_of(data), _content(looked), time.time()
        size = sum(piece.arrival.size for piece in looked.members)
        rows = self._journal.find("files_of", (identity, self._chain))
        file, key = self._known(rows, identity, content, size) or (0, self._new_key(rows, identity, content, item.file))
        announcement = self._announcer.compose(file or item.file, looked.kind, data, key, size, first.mtime_ns)
        records: list[Operation] = [("add_announcement", [announcement.row(topic, now)])]
        if file:
            line = step_line(State.COVERED, now, detail="the very same was announced before")
            once_more = step_line(State.ANNOUNCED, now, detail="once more, as another message says")
            records += [("step", [(State.COVERED, now, 0, line, item.file)]),
                        ("announced_once_more", [{"now": now, "line": once_more, "id": file}])]
            self._journal.write(records, self._tell_again, item, announcement)
            return
        path, line = announced_path(uris_of(data)), step_line(State.ANNOUNCED, now)
        row = (item.file, self._chain, identity, key, State.ANNOUNCED, now, line, None, size, path, first.device, first.inode,
               first.mtime_ns, None, None, None, 0, now)
        self._unwritten.setdefault(identity, {})[content] = item.file, key
        heard = (now, identity, key, size, path, first.device, first.inode, first.mtime_ns, line, item.file)
        self._journal.write([("announce_heard", [heard]), *records, *looked.records(item.file)], self._tell, item,
                            identity, content, (announcement, row))

    def _known(self, rows: Sequence[Any], identity: str, content: Content, size: int) -> tuple[int, str] | None:
        """Row and key of the very same files; row 0 where nobody can have them by that row any more. Several messages may speak
        of them, as of what was replaced before we heard of it; consumers would ask for them under one number or another, and
        those of one group would all publish them. What is where we removed a file is another one, also if it got its inode."""
        unwritten = self._unwritten.get(identity, {}).get(content)
        if unwritten:
            return unwritten
        same = [row for row in rows if row["size"] == size and row["key"] and '"removed (' not in row["steps"]
                and self._content_of(row) == content]
        served = (row for row in same if row["state"] not in NOT_SERVED and row["steps"])
        return next(((row["id"], row["key"]) for row in served), (0, same[0]["key"]) if same else None)

    def _content_of(self, row: Any) -> Content:
        members = self._journal.find("members_of", (row["id"],))
        return tuple((one["path"], one["inode"], one["size"], one["mtime_ns"], one["relative"] if members else None)
                     for one in members or [row])

    def _new_key(self, rows: Sequence[Any], identity: str, content: Content, file: int) -> str:
        """The key of files that are announced for the first time. Those that only look like others before them, of the same sizes
        and times, get one of their own: consumers would take them for what they have."""
        paths, _, sizes, times, _ = zip(*content, strict=True)
        topic, names = self._announcer.topic, tuple(map(os.fsdecode, paths))
        key = content_key(topic, names, sizes, times)
        known = {row["key"] for row in rows}.union(key for _, key in self._unwritten.get(identity, {}).values())
        return content_key(topic, names, sizes, (*times, file)) if key in known else key

    def _tell(self, item: Item, identity: str, content: Content, announced: Any) -> None:
        unwritten = self._unwritten[identity]
        del unwritten[content]
        if not unwritten:
            del self._unwritten[identity]
        self._announcer.tell([announced])
        self._done(item)

    def _tell_again(self, item: Item, announcement: Numbered) -> None:
        self._announcer.tell_again(announcement)
        self._done(item)

    def _done(self, item: Item) -> None:
        self._held.pop(item.file, None)
        if self._more and self._holding <= FEW_HELD:
            self._take()

    def _failed(self, item: Item, error: Exception) -> None:
        waited = time.monotonic() - item.since
        if isinstance(error, Elsewhere | MalformedMessage) or (isinstance(error, PerhapsElsewhere) and waited > UNKNOWN_FOR):
            self._skip(item, error)
        elif isinstance(error, OriginGone) and waited < MISSING_FOR:
            self._try_again(item, str(error))
        elif is_permanent(error) or waited > GIVE_UP_AFTER:
            self._give_up(item, str(error))
            if not hasattr(error, "code"):
                logger.error("[%s] this should not happen", self._chain, exc_info=error)
        else:
            self._try_again(item, str(error))

    def _skip(self, item: Item, error: Exception) -> None:
        self._skipped += 1
        self._skips.say("[%s] a message of %s is not announced: %s (%d so far)", self._chain, item.message.sender, error,
                        self._skipped)
        self._journal.write([("remove_file", [(item.file,)]), ("put_meta", [(self._counter, str(self._skipped))])],
                            self._done, item)

    def _give_up(self, item: Item, detail: str) -> None:
        self._given_up.say("[%s] a message of %s is not announced: %s", self._chain, item.message.sender, detail[:500])
        self._journal.write([("step", [give_up(item.file, detail[:500])])], self._done, item)

    def _try_again(self, item: Item, detail: str) -> None:
        if self._waiting >= MOST_WAITING:
            self._give_up(item, f"{detail}, and too many other messages wait for their files")
            return
        wait = wait_before(item.attempt)
        self._tries.say("[%s] %s (again %s)", self._chain, detail, in_words(wait))
        line = step_line(State.FAILED, time.time(), "", item.attempt, detail[:500])
        self._waiting += item.weight
        self._journal.write([("note", [{"line": line, "id": item.file}])], self._done, item)  # it makes room for others
        self._loop.after(wait, lambda: self._again(item))

    def _again(self, item: Item) -> None:
        if not self.stopped:
            self._waiting -= item.weight
            self._held[item.file] = item.weight
            self._submit([item])


def _content(looked: Looked) -> Content:
    return tuple((os.fsencode(file.path), file.inode, file.size, file.mtime_ns, relative) for file, relative, _ in looked.members)
