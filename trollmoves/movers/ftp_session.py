"""A logged-in FTP connection as a session of the mover contract; `ftp.py` says what it promises beyond that."""
# ruff: noqa: S321

from __future__ import annotations

import ftplib  # noqa: S402
import hashlib
import logging
import posixpath
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

from trollmoves.errors import ConnectionLost, LoginRefused, MoveError, Stalled, VerificationFailed
from trollmoves.movers.bandwidth import Pace
from trollmoves.movers.base import (
    ASIDE,
    Abilities,
    MissingDirectory,
    Origin,
    Progress,
    Sent,
    Session,
    SessionSettings,
    nothing_written,
)
from trollmoves.movers.ftp_connection import Connection
from trollmoves.movers.ftp_replies import (
    NO_SUCH_PLACE,
    NOT_UNDERSTOOD,
    REFUSALS,
    checksum_in,
    code_of,
    features_of,
    is_full,
    is_type,
    size_in_facts,
    size_in_reply,
    translated,
)
from trollmoves.movers.ftp_upload import Upload

logger = logging.getLogger(__name__)

SUMMING_SPEED = 50e6
"""Bytes a second that a server is given time for when it computes a checksum."""


class FtpSession(Session):
    """A logged-in control connection."""

    def __init__(self, connection: Connection, settings: SessionSettings, name: str, pace: Pace):
        self._ftp = connection
        self._settings = settings
        self._name = name
        self._pace = pace
        self._lost = False
        self._closed = False
        self._warned = False
        self._hidden = False
        self._sets_modes = True
        self._told: tuple[str, int | None] = "", None
        """The path whose size the server told last, and that size: each time it may tell another one."""
        connection.voidcmd("TYPE I")  # binary, once and for all
        self._features = features_of(connection)

    def abilities(self, declared: Abilities) -> Abilities:
        tells_sizes = not self._hidden and self._tells_sizes
        if (tells_sizes, self._sums) == (declared.size, declared.checksum):
            return declared
        return replace(declared, size=tells_sizes, checksum=self._sums)

    def put(self, origin: Origin, path: str, progress: Progress, offset: int = 0) -> Sent:
        with nothing_written(), self._errors(path):
            upload, start = self._begin(path, offset)
        with self._errors(path):
            checksum = self._sent(upload, origin, start, progress)
            self._keep_time(origin, path)
            self._set_mode(path, self._settings.file_mode)
            return self._compared(origin, path, checksum)

    def _begin(self, path: str, offset: int) -> tuple[Upload, int]:
        """An upload to *path* and the offset it really starts at."""
        resumed = self._resumed(path, offset) if offset else None
        if resumed is not None:
            return resumed, offset
        try:
            return Upload(self._ftp, f"STOR {path}"), 0
        except REFUSALS as error:
            if code_of(error) not in NO_SUCH_PLACE or is_full(error):
                raise
            if not self._has_directory(posixpath.dirname(path)):
                raise MissingDirectory(f"{path}: its directory is not there") from error
        if self._has_file(path):
            self._ftp.voidcmd(f"DELE {path}")  # a server that never overwrites
        # Otherwise somebody may have made the directory just now; if not, the server says again what is wrong.
        return Upload(self._ftp, f"STOR {path}"), 0

    def _resumed(self, path: str, offset: int) -> Upload | None:
        """An upload that goes on at *offset*; None when the server does not let us."""
        if "REST" in self._features:
            with suppress(*REFUSALS):
                return Upload(self._ftp, f"STOR {path}", offset)
            with suppress(*REFUSALS):
                self._ftp.sendcmd("REST 0")  # or the next upload might start at the offset
        with suppress(*REFUSALS):
            if self._size(path) == offset:
                return Upload(self._ftp, f"APPE {path}")
        return None

    def _sent(self, upload: Upload, origin: Origin, start: int, progress: Progress) -> str | None:
        """Send the bytes of *origin* from *start* on; returns the checksum of all of them where it can be compared."""
        digest = hashlib.sha256() if self._sums else None
        try:
            upload.send_file(origin, start, progress, self._pace, digest)
        except BaseException:
            self._lost = not upload.abandon()
            raise
        upload.complete()
        progress(origin.size)
        return None if digest is None else f"sha256:{digest.hexdigest()}"

    @property
    def _sums(self) -> bool:
        """Whether checksums are compared: the server can compute them and the section does not forbid it."""
        return ("HASH" in self._features or "XSHA256" in self._features) and self._settings.checksum != "never"

    @property
    def _tells_sizes(self) -> bool:
        return "SIZE" in self._features or "MLST" in self._features

    def _keep_time(self, origin: Origin, path: str) -> None:
        if "MFMT" not in self._features:
            return
        try:
            stamp = time.strftime("%Y%m%d%H%M%S", time.gmtime(origin.mtime_ns // 10**9))
            self._ftp.sendcmd(f"MFMT {stamp} {path}")
        except (ftplib.error_perm, ftplib.error_temp, ValueError, OverflowError) as error:
            self._features.discard("MFMT")
            logger.warning("%s: modification times are not kept: %s", self._name, error)

    def _compared(self, origin: Origin, path: str, checksum: str | None) -> Sent:
        """Ask the server for what it can tell, best first; a server that hides what it has taken is no failure."""
        theirs = self._checksum(path, origin.size) if checksum is not None else None
        if theirs is not None:
            if theirs != checksum:
                raise VerificationFailed(f"{path}: checksum {theirs} arrived, {checksum} was sent")
            return Sent(origin.size, checksum, "sum")
        arrived = self._size(path)
        self._hidden = arrived is None
        if arrived not in (None, origin.size):
            raise VerificationFailed(f"{path}: {arrived} bytes arrived of {origin.size}")
        return Sent(origin.size, checksum, "none" if arrived is None else "size")

    def size(self, path: str) -> int | None:
        with self._errors(path):
            return self._size(path)

    def _size(self, path: str) -> int | None:
        size = self._told_size(path)
        self._told = path, size
        return size

    def _told_size(self, path: str) -> int | None:
        if "SIZE" in self._features:
            try:
                reply = self._ftp.sendcmd(f"SIZE {path}")
            except ftplib.error_perm as error:
                if code_of(error) not in NOT_UNDERSTOOD:
                    return None
                self._features.discard("SIZE")
            else:
                return size_in_reply(reply)
        return size_in_facts(self._facts(path))

    def _facts(self, path: str) -> str:
        """The line of MLST on *path*; empty when there is nothing or the server does not know MLST."""
        if "MLST" not in self._features:
            return ""
        try:
            lines = self._ftp.sendcmd(f"MLST {path}").split("\n")
        except ftplib.error_perm as error:
            if code_of(error) in NOT_UNDERSTOOD:
                self._features.discard("MLST")
            return ""
        return lines[1] if len(lines) > 1 else ""

    def is_directory(self, path: str) -> bool:
        with self._errors(path):
            return self._has_directory(path)

    def _has_directory(self, path: str) -> bool:
        if "MLST" in self._features:
            facts = self._facts(path)
            if "MLST" in self._features and (not facts or is_type(facts, "file", "dir", "cdir", "pdir")):
                return bool(facts) and not is_type(facts, "file")
        try:
            self._ftp.voidcmd(f"CWD {path}")
        except ftplib.error_perm:
            return False
        return True

    def _has_file(self, path: str) -> bool:
        if self._tells_sizes:
            return self._size(path) is not None
        try:
            return self._ftp.sendcmd(f"RNFR {path}").startswith("3")
        except REFUSALS:
            return False

    def checksum(self, path: str) -> str | None:
        """The server gets the time that the size takes which it told before, and which whoever asks found to be right."""
        path_told, size = self._told
        with self._errors(path):
            return self._checksum(path, size or 0 if path_told == path else 0)

    def _checksum(self, path: str, size: int) -> str | None:
        for command in ("HASH", "XSHA256"):
            if command not in self._features:
                continue
            try:
                reply = self._ftp.patiently(f"{command} {path}", size / SUMMING_SPEED)
            except REFUSALS as error:
                logger.warning("%s: no checksum of %s: %s", self._name, path, error)
                continue
            return checksum_in(reply)
        return None

    def rename(self, source: str, target: str) -> None:
        with self._errors(target):
            self._pick(source)
            try:
                self._ftp.voidcmd(f"RNTO {target}")
                return
            except REFUSALS:
                if not (self._has_file(target) and self._has_file(source)):
                    raise
            if not self._warned:
                logger.warning("%s does not rename onto an existing file: the old one is moved aside first, so there are moments "
                               "without the file", self._name)
                self._warned = True
            self._replace(source, target)

    def _replace(self, source: str, target: str) -> None:
        """Put *source* in the place of *target*, which stays what it is on a server that renames nothing."""
        aside = source + ASIDE
        with suppress(*REFUSALS):
            self._ftp.voidcmd(f"DELE {aside}")  # it may be there
        self._pick(target)
        self._ftp.voidcmd(f"RNTO {aside}")
        try:
            self._pick(source)
            self._ftp.voidcmd(f"RNTO {target}")
        except REFUSALS:
            self._pick(aside)
            self._ftp.voidcmd(f"RNTO {target}")
            raise
        with suppress(*REFUSALS):
            self._ftp.voidcmd(f"DELE {aside}")

    def put_back(self, source: str, target: str) -> None:
        with self._errors(target), suppress(*REFUSALS):
            aside = source + ASIDE
            if not self._has_file(aside):
                return
            if self._has_file(target):
                self._ftp.voidcmd(f"DELE {aside}")
            else:
                self._pick(aside)
                self._ftp.voidcmd(f"RNTO {target}")

    def _pick(self, source: str) -> None:
        try:
            self._ftp.sendcmd(f"RNFR {source}")
        except ftplib.error_perm as error:
            if code_of(error) == "550" and not self._has_file(source):
                raise VerificationFailed(f"{source} is no longer on the server") from error
            raise

    def remove(self, path: str) -> None:
        with self._errors(path):
            try:
                self._ftp.voidcmd(f"DELE {path}")
            except REFUSALS:
                if self._has_file(path):
                    raise

    def make_directories(self, path: str) -> None:
        with self._errors(path):
            self._make(path.rstrip("/") or "/")

    def _make(self, path: str) -> None:
        """Make *path* at once where only it is missing; else look upwards for what is there and come down again."""
        try:
            self._make_one(path)
            return
        except REFUSALS:
            missing = []
        while path != "/" and not self._has_directory(path):
            missing.append(path)
            path = posixpath.dirname(path)
        for directory in reversed(missing):
            try:
                self._make_one(directory)
            except REFUSALS:
                if not self._has_directory(directory):
                    raise

    def _make_one(self, path: str) -> None:
        self._ftp.voidcmd(f"MKD {path}")
        self._set_mode(path, self._settings.exact_directory_mode)

    def _set_mode(self, path: str, mode: int | None) -> None:
        if mode is None or not self._sets_modes:
            return
        try:
            self._ftp.voidcmd(f"SITE CHMOD {mode:o} {path}")
        except REFUSALS as error:
            self._sets_modes = code_of(error) not in NOT_UNDERSTOOD
            logger.warning("%s: the mode of %s could not be set: %s", self._name, path, error)

    def is_alive(self) -> bool:
        try:
            with self._errors(""):
                self._ftp.sendcmd("NOOP")
        except MoveError as error:
            return not self._lost and not isinstance(error, (ConnectionLost, LoginRefused))
        return True

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._ftp.drop() if self._lost else self._ftp.leave()

    @contextmanager
    def _errors(self, subject: str) -> Iterator[None]:
        """Translate what ftplib raises; remember when the connection is of no more use."""
        if self._lost or self._closed:
            raise ConnectionLost(f"{self._name}: the connection is closed")
        try:
            yield
        except ftplib.Error as error:
            self._lost = code_of(error) == "421" or isinstance(error, ftplib.error_proto)
            raise translated(error, f"{self._name}{subject}") from error
        except TimeoutError as error:
            self._lost = True
            raise Stalled(f"{self._name}{subject}: nothing moved for {self._settings.stall_timeout:g} seconds") from error
        except (OSError, EOFError) as error:
            self._lost = True
            raise ConnectionLost(f"{self._name}{subject}: the connection broke ({error or 'hung up'})") from error
