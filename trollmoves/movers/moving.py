"""The careful part of every move, written once: temporary name, put, compare, make it last, rename, receipt.

A file is never visible under its final name before it is whole and compared. Whatever goes wrong, the temporary file is removed
(or kept for a resume where that was asked for and the mover can), and the final name is as it was before. With `inplace` there is
no temporary name: a part is removed, and what was there before it only if the mover began to write.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import posixpath
import time
from collections.abc import Callable, Generator
from typing import NamedTuple

from trollmoves import crashing
from trollmoves.errors import (
    ConnectionLost,
    DestinationInvalid,
    MoveError,
    OriginChanged,
    Stalled,
    Unreachable,
    VerificationFailed,
)
from trollmoves.movers.bandwidth import waited_here
from trollmoves.movers.base import Abilities, MissingDirectory, Origin, Progress, Receipt, Sent, Session, nothing_written
from trollmoves.movers.checksums import checksum_of
from trollmoves.uris import Destination

logger = logging.getLogger(__name__)

RESUME_FROM = 8 * 2**20
"""Bytes; a partial file below this is sent again rather than resumed."""

LONGEST_TEMPORARY = 143
"""Bytes. Encrypted directories (eCryptfs, the shared folders of some storage servers) take no longer names: where there is room
for the final name, the temporary one must not be what fails."""

RESUMABLE = (Unreachable, ConnectionLost, Stalled)
"""After these errors a partial file is worth keeping."""

Steps = Generator[str, None, Receipt]
"""A move that stops wherever a file or directory must survive a power loss (`Session.sync`) before it goes on, and says which."""


class How(NamedTuple):
    """How one move shall be done."""

    transfer: str
    """At least 16 hexadecimal digits that stay the same when this move is tried again; part of the temporary name."""
    sync: bool = False
    """Make the delivered file survive a power loss before the receipt is given."""
    checksum: str = "auto"
    """`auto`: where it costs little; `always`: compare checksums or fail; `never`."""
    overwrite: str = "identical"
    """`identical`: an equal file at the destination is left as it is; `replace`: always sent; `never`: a different file at the
    destination is an error."""
    temporary_prefix: str | None = None
    """Upstream's `tmp_prefix`: temporary names begin with this and end with the final name (empty or None: use our own)."""
    inplace: bool = False
    """Write to the final name, for servers that cannot rename. Asked for by the user, never chosen."""
    resume: bool = False
    """An earlier attempt may have left a partial file; go on behind it where the mover can."""
    min_rate: int | None = None
    """Bytes a second: an attempt that takes longer than its bytes would at this rate, and `patience` besides, is ended. None: it
    may take as long as it likes while bytes move. The time that our own limit of the bandwidth takes does not count."""
    patience: float = 60.0
    """Seconds."""


def ignore(done: int) -> None:
    """A progress function for those who do not care."""


def hurried(progress: Progress, size: int, how: How, clock: Callable[[], float] = time.monotonic) -> Progress:
    """*progress*, raising `Stalled` when *size* bytes take longer than *how* grants them."""
    rate = how.min_rate
    if rate is None:
        return progress
    began, sent_before = clock() - waited_here(), list[int]()

    def watched(done: int) -> None:
        progress(done)
        if not sent_before:
            sent_before.append(done)  # what a resumed attempt finds there
        took = clock() - waited_here() - began
        if done < size and took > how.patience + (size - sent_before[0]) / rate:
            raise Stalled(f"{done} of {size} bytes in {took:.0f} s: that is slower than min_rate = {rate} bytes per second")
    return watched


def final_place(name: str, destination: Destination, session: Session) -> Destination:
    """The exact place of a file: a destination that ends in `/`, or is an existing directory, gets the *name* of the origin."""
    if destination.path.endswith("/") or not destination.path:
        return destination.for_name(name)
    if session.is_directory(destination.path):
        return destination.with_path(f"{destination.path}/{name}")
    return destination


def temporary_name(path: str, transfer: str, prefix: str | None = None) -> str:
    """A name in the same directory that no other transfer uses and that the same transfer finds again; hidden, or as the user's
    *prefix* makes it. Upstream's is the prefix and the name, which two that send a file of that name there write to at a time:
    one shows what the other has not finished, or goes on behind it."""
    directory, slash, name = path.rpartition("/")
    before, behind = (f"{prefix}{transfer[:16]}.part.", "") if prefix else (".", f".{transfer[:16]}.part")
    if len((before + name + behind).encode("utf-8", "surrogateescape")) > LONGEST_TEMPORARY:
        name = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:32]
    return directory + slash + before + name + behind


def move(origin: Origin, destination: Destination, session: Session, abilities: Abilities, how: How,
         progress: Progress = ignore) -> Receipt:
    """Deliver *origin* to *destination* (a place for the file, or a directory) and say what was verified.

    Raises a `MoveError` that names the destination; then nothing new is visible under the final name.
    """
    steps = moving(origin, destination, session, abilities, how, progress)
    try:
        path = next(steps)
        while True:
            try:
                session.sync(path)
            except BaseException as error:
                path = steps.throw(error)
            else:
                path = next(steps)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]


def moving(origin: Origin, destination: Destination, session: Session, abilities: Abilities, how: How,
           progress: Progress = ignore) -> Steps:
    """As `move`, for those who make several moves at a time last together."""
    try:
        return (yield from _moved(origin, destination, session, abilities, how, progress))
    except MoveError as error:
        say_where(error, destination)
        raise


def say_where(error: MoveError, destination: Destination) -> None:
    """Put *destination* before the text of *error*, unless it names it already."""
    where = f"{destination.scheme}://{destination.host}" if destination.host else destination.path
    if where not in str(error):
        error.args = (f"{destination.exact}: {error}", *error.args[1:])


def _moved(origin: Origin, destination: Destination, session: Session, abilities: Abilities, how: How,
           progress: Progress) -> Steps:
    started = time.monotonic()
    abilities = session.abilities(abilities)
    place = final_place(origin.name, destination, session)
    direct, temporary = _is_direct(abilities, how), temporary_name(place.path, how.transfer, how.temporary_prefix)
    if direct:
        how = how._replace(resume=False)  # what has the final name is an older file as well as a part of this one
    if how.resume:
        session.put_back(temporary, place.path)
    is_free = place.is_local and not _is_other(origin, place.path)
    present = None if is_free else _already_there(origin, place.path, session, abilities, how)
    if present is not None and not (place.is_local and _may_be_origin(origin, place.path, how)):
        yield from _make_last(place.path, abilities, how)  # whoever put it there may have died before
        return Receipt(place.exact, origin.size, present, "sum", seconds=time.monotonic() - started, copied=False)
    if not (direct or abilities.rename):
        raise DestinationInvalid(f"{place} cannot rename files: set inplace to write to the final name")
    if direct:
        temporary = place.path
    try:
        sent = _put_verified(origin, temporary, session, abilities, how, progress)
        if direct:
            yield from _make_last(place.path, abilities, how)
        else:
            yield from _put_in_place(temporary, place.path, session, abilities, how)
    except BaseException as error:
        if not direct or not (abilities.atomic_put or getattr(error, "nothing_written", False)):
            _clean_up(temporary, origin, session, abilities, how, error)
        raise
    return Receipt(place.exact, sent.size, sent.checksum, sent.verified, seconds=time.monotonic() - started)


def remove_unfinished(name: str, destination: Destination, session: Session, abilities: Abilities, how: How) -> None:
    """Remove what an attempt at this move has left that was killed: its origin, called *name*, is there no more, so that no other
    attempt will finish it. Raises as the session does."""
    if not _is_direct(session.abilities(abilities), how):
        path = final_place(name, destination, session).path
        temporary = temporary_name(path, how.transfer, how.temporary_prefix)
        session.put_back(temporary, path)
        session.remove(temporary)


def _is_direct(abilities: Abilities, how: How) -> bool:
    """Whether the final name is written to."""
    return how.inplace or (abilities.atomic_put and not abilities.rename)


def _is_other(origin: Origin, path: str) -> bool:
    """Whether something is at the local *path*. No file is moved onto itself: it would be gone once its origin is removed."""
    try:
        there = os.stat(path)
    except OSError:
        return False
    if os.path.samestat(there, os.fstat(origin.descriptor)) and (there.st_nlink == 1 or _is_same_name(path, origin.path)):
        raise DestinationInvalid(f"{path} is the file that was to be moved")
    return True


def _may_be_origin(origin: Origin, path: str, how: How) -> bool:
    """Whether what is at the local *path* may be the origin itself, seen through another mount of a network file system: then
    that it is identical proves no delivery. Written anew it is safe: the origin is another file then, and not removed."""
    try:
        there, here = os.stat(path), os.fstat(origin.descriptor)
    except OSError:
        return False
    same = (there.st_ino, there.st_size, there.st_mtime_ns) == (here.st_ino, here.st_size, here.st_mtime_ns)
    if same and there.st_dev != here.st_dev and how.overwrite == "never":
        raise DestinationInvalid(f"{path} may be the file that was to be moved, and overwrite = never")
    return same and there.st_dev != here.st_dev


def _is_same_name(path: str, other: str) -> bool:
    """Whether two paths of one file are one name of it: by links, or because a directory is mounted in two places. Another name
    (a hard link) stays when one of them is removed."""
    path, other = os.path.realpath(path), os.path.realpath(other)
    (above, name), (other_above, other_name) = os.path.split(path), os.path.split(other)
    try:
        return name == other_name and os.path.samestat(os.stat(above), os.stat(other_above))
    except OSError:
        return True


def _already_there(origin: Origin, path: str, session: Session, abilities: Abilities, how: How) -> str | None:
    """The checksum when an identical file is at the final place. Equal sizes alone prove nothing: products of fixed size are
    issued again under the same name."""
    if how.overwrite == "replace" or (not abilities.checksum and how.overwrite != "never"):
        return None
    if not abilities.size:
        raise DestinationInvalid(f"{path}: overwrite = never, but the destination cannot say whether a file is there")
    size = session.size(path)
    if size is None:
        return None
    if size == origin.size and abilities.checksum:
        expected = checksum_of(origin.descriptor)
        if session.checksum(path) == expected:
            return expected
    if how.overwrite == "never":
        raise DestinationInvalid(f"{path} exists with other content and overwrite = never")
    return None


def _put_verified(origin: Origin, path: str, session: Session, abilities: Abilities, how: How, progress: Progress) -> Sent:
    offset = _resume_offset(origin, path, session, abilities, how)
    progress = hurried(progress, origin.size, how)
    try:
        sent = session.put(origin, path, progress, offset)
    except MissingDirectory:
        with nothing_written():
            session.make_directories(posixpath.dirname(path))
        sent = session.put(origin, path, progress)
    return _verified(sent, origin, path, session, session.abilities(abilities), how)


def _resume_offset(origin: Origin, path: str, session: Session, abilities: Abilities, how: How) -> int:
    if not _may_resume(origin, abilities, how):
        return 0
    present = session.size(path) or 0
    return present if RESUME_FROM <= present <= origin.size else 0


def _may_resume(origin: Origin, abilities: Abilities, how: How) -> bool:
    return how.resume and abilities.resume and origin.size >= RESUME_FROM


def _verified(sent: Sent, origin: Origin, path: str, session: Session, abilities: Abilities, how: How) -> Sent:
    now = os.fstat(origin.descriptor)
    if (now.st_size, now.st_mtime_ns) != (origin.size, origin.mtime_ns):
        raise OriginChanged(f"{origin.path}: was written to while it was moved")
    if sent.size != origin.size:
        raise VerificationFailed(f"{path}: {sent.size} bytes went out, the file has {origin.size}")
    if sent.verified == "sum" or (sent.verified == "size" and how.checksum != "always"):
        return sent
    if how.checksum == "always":
        return _compare_checksums(sent, origin, path, session)
    if not abilities.size:
        return sent
    arrived = session.size(path)
    if arrived != origin.size:
        raise VerificationFailed(f"{path}: {arrived} bytes arrived of {origin.size}")
    return sent._replace(verified="size")


def _compare_checksums(sent: Sent, origin: Origin, path: str, session: Session) -> Sent:
    theirs = session.checksum(path)
    if theirs is None:
        raise DestinationInvalid(f"{path}: checksum = always, but the destination cannot compute checksums")
    ours = sent.checksum or checksum_of(origin.descriptor)
    if theirs != ours:
        raise VerificationFailed(f"{path}: checksum {theirs} arrived, {ours} was sent")
    return sent._replace(checksum=ours, verified="sum")


def _make_last(path: str, abilities: Abilities, how: How) -> Generator[str, None, None]:
    if how.sync and abilities.sync:
        yield path
        yield posixpath.dirname(path)


def _put_in_place(temporary: str, path: str, session: Session, abilities: Abilities, how: How) -> Generator[str, None, None]:
    if how.sync and abilities.sync:
        yield temporary
    crashing.point("server.put")
    session.rename(temporary, path)
    crashing.point("server.renamed")
    if how.sync and abilities.sync:
        yield posixpath.dirname(path)


def _clean_up(temporary: str, origin: Origin, session: Session, abilities: Abilities, how: How, error: BaseException) -> None:
    """Remove what a failed attempt left, without hiding the first error."""
    if isinstance(error, RESUMABLE) and _may_resume(origin, abilities, how):
        return
    with contextlib.suppress(MoveError, OSError):
        session.remove(temporary)
