"""Uploads by FTP (`ftp://`) and by FTP over explicit TLS (`ftps://`, RFC 4217; both on port 21 unless the uri says otherwise).

Engine: the standard library's ftplib in a thread, with `ftp_connection` round it; aioftp moved fewer small files and hung with
TLS. FIGURES

The account is that of the uri, else of the user's netrc, else anonymous. Transfers are passive and binary, paths absolute: no
working directory is relied on. Servers differ, so each is asked what it offers (FEAT): where it can compute a sha256 (HASH,
XSHA256) the receipt says `sum`, where it tells sizes (SIZE, MLST) `size`, else `none`. The modification time is set where MFMT is
offered. Where renaming onto an existing name is refused, the old file is deleted first, with a warning: consumers may see a gap.

Parameters (`connection_parameters` of the section):

- `tls_ca_file`: certificates to trust for ftps, instead of the system's; `tls_cert_file`, `tls_key_file`, `tls_key_password`: our
  own certificate, for servers that ask for one.
- `tls_verify`: false accepts any certificate for ftps, with a warning at each log-in. Default true.
- `ftp_encoding`: encoding of names on the server. Default utf-8, as RFC 2640 has it and as Unix servers without UTF8 take it too.

Directories get the permissions the server gives them, unless the section sets a mode: then SITE CHMOD asks for it.
"""

# ruff: noqa: S321 - ftplib is the point
from __future__ import annotations

import codecs
import ftplib  # noqa: S402
import hashlib
import logging
import os
import posixpath
import re
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

from trollmoves.errors import (
    Busy,
    ConnectionLost,
    Denied,
    DestinationFull,
    DestinationInvalid,
    LoginRefused,
    MoveError,
    OriginChanged,
    Stalled,
    TemporaryError,
    Unreachable,
    VerificationFailed,
)
from trollmoves.movers.base import Abilities, MissingDirectory, Mover, Origin, Progress, Sent, Session, SessionSettings
from trollmoves.movers.credentials import Login, login_for
from trollmoves.movers.ftp_connection import Connection, Upload
from trollmoves.uris import Destination, format_endpoint

logger = logging.getLogger(__name__)

CHUNK = 256 * 2**10
"""Bytes read at a time."""
DIRECTORY_MODE = SessionSettings().directory_mode
SUMMING_SPEED = 50e6
"""Bytes a second that a server is given time for when it computes a checksum."""
ANONYMOUS = Login("anonymous", "anonymous@")

REPLIES: dict[str, type[MoveError]] = {
    "421": ConnectionLost,
    "425": ConnectionLost,
    "426": ConnectionLost,
    "452": DestinationFull,
    "552": DestinationFull,
    "530": LoginRefused,
    "532": LoginRefused,
    "500": DestinationInvalid,
    "501": DestinationInvalid,
    "502": DestinationInvalid,
    "503": DestinationInvalid,
    "504": DestinationInvalid,
    "521": DestinationInvalid,
    "522": DestinationInvalid,
}
"""Other 4xx may pass (`Busy`), other 5xx will not (`Denied`)."""
NOT_UNDERSTOOD = ("500", "501", "502", "504")
NO_SUCH_PLACE = ("450", "451", "550", "553")
"""What servers say to STOR for a directory that is missing, a file that is there, and what is forbidden alike."""
_FULL = re.compile(r"no space|disk (is )?full|quota|insufficient (disk|storage)|error during write|input/output error",
                   re.IGNORECASE)
"""What servers say when their disk does not take the bytes, some of them with a code that means something else."""
_CUT = re.compile(r"data connection|transfer aborted", re.IGNORECASE)
_SHA256 = re.compile(r"(?<![0-9A-Za-z])[0-9A-Fa-f]{64}(?![0-9A-Za-z])")
_SIZE_FACT = re.compile(r"[ ;]size=(\d+);", re.IGNORECASE)
_TYPE_FACT = re.compile(r"[ ;]type=([^;]+);", re.IGNORECASE)


def code_of(error: ftplib.Error) -> str:
    """The three digits of a reply; what is no reply has none that a server uses."""
    return str(error)[:3]


def translated(error: ftplib.Error, subject: str) -> MoveError:
    """Our error for a server's refusal concerning *subject*."""
    text, code = str(error)[:300], code_of(error)
    kind: type[MoveError]
    if isinstance(error, (ftplib.error_proto, ftplib.error_reply)):
        kind = ConnectionLost
    elif _FULL.search(text):
        kind = DestinationFull
    elif isinstance(error, ftplib.error_temp) and (_CUT.search(text) or isinstance(error.__cause__, OSError)):
        kind = ConnectionLost
    else:
        kind = REPLIES.get(code, Busy if isinstance(error, ftplib.error_temp) else Denied)
    return kind(f"{subject}: the server says {text!r}")


class FtpSession(Session):
    """A logged-in control connection."""

    def __init__(self, connection: Connection, settings: SessionSettings, name: str):
        self._ftp = connection
        self._settings = settings
        self._name = name
        self._lost = False
        self._closed = False
        self._warned = False
        self._hidden = False
        self._features = _features(connection)

    def abilities(self, declared: Abilities) -> Abilities:
        tells_sizes = not self._hidden and bool({"SIZE", "MLST"} & self._features.keys())
        if (tells_sizes, self._sums) == (declared.size, declared.checksum):
            return declared
        return replace(declared, size=tells_sizes, checksum=self._sums)

    def put(self, origin: Origin, path: str, progress: Progress, offset: int = 0) -> Sent:
        with self._errors(path):
            upload, start = self._begin(path, offset)
            checksum = self._sent(upload, origin, start, progress)
            self._keep_time(origin, path)
            return self._compared(origin, path, checksum)

    def _begin(self, path: str, offset: int) -> tuple[Upload, int]:
        """An upload to *path* and the offset it really starts at."""
        resumed = self._resumed(path, offset) if offset else None
        if resumed is not None:
            return resumed, offset
        try:
            return self._ftp.upload(f"STOR {path}"), 0
        except (ftplib.error_perm, ftplib.error_temp) as error:
            if code_of(error) not in NO_SUCH_PLACE or _FULL.search(str(error)):
                raise
            if not self._has_directory(posixpath.dirname(path)):
                raise MissingDirectory(f"{path}: its directory is not there") from error
        if self._has_file(path):
            self._ftp.voidcmd(f"DELE {path}")  # a server that never overwrites
        # Otherwise somebody may have made the directory just now; if not, the server says again what is wrong.
        return self._ftp.upload(f"STOR {path}"), 0

    def _resumed(self, path: str, offset: int) -> Upload | None:
        """An upload that goes on at *offset*; None when the server does not let us."""
        refusals = (ftplib.error_perm, ftplib.error_temp)
        if "REST" in self._features:
            with suppress(*refusals):
                return self._ftp.upload(f"STOR {path}", offset)
            with suppress(*refusals):
                self._ftp.sendcmd("REST 0")  # or the next upload might start at the offset
        with suppress(*refusals):
            if self._size(path) == offset:
                return self._ftp.upload(f"APPE {path}")
        return None

    def _sent(self, upload: Upload, origin: Origin, start: int, progress: Progress) -> str | None:
        """Send the bytes of *origin* from *start* on; returns the checksum of all of them where it can be compared."""
        digest = hashlib.sha256() if self._sums else None
        done = start
        try:
            if digest is not None:
                for chunk in _chunks(origin, 0, start):
                    digest.update(chunk)
            for chunk in _chunks(origin, start, origin.size):
                if digest is not None:
                    digest.update(chunk)
                while chunk:
                    count = upload.send(chunk)
                    chunk = chunk[count:]
                    done += count
                    progress(done)
        except BaseException:
            self._lost = not upload.abandon()
            raise
        upload.complete()
        progress(done)
        return None if digest is None else f"sha256:{digest.hexdigest()}"

    @property
    def _sums(self) -> bool:
        """Whether checksums are compared: the server can compute them and the section does not forbid it."""
        return self._settings.checksum != "never" and bool({"HASH", "XSHA256"} & self._features.keys())

    def _keep_time(self, origin: Origin, path: str) -> None:
        if "MFMT" not in self._features:
            return
        try:
            stamp = time.strftime("%Y%m%d%H%M%S", time.gmtime(origin.mtime_ns // 10**9))
            self._ftp.sendcmd(f"MFMT {stamp} {path}")
        except (ftplib.error_perm, ftplib.error_temp, ValueError, OverflowError) as error:
            del self._features["MFMT"]
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
        if "SIZE" in self._features:
            try:
                reply = self._ftp.sendcmd(f"SIZE {path}")
            except ftplib.error_perm as error:
                if code_of(error) not in NOT_UNDERSTOOD:
                    return None
                del self._features["SIZE"]
            else:
                return _number(reply)
        facts = self._facts(path)
        found = _SIZE_FACT.search(facts)
        return int(found[1]) if found and _is_type(facts, "file") else None

    def _facts(self, path: str) -> str:
        """The line of MLST on *path*; empty when there is nothing or the server does not know MLST."""
        if "MLST" not in self._features:
            return ""
        try:
            lines = self._ftp.sendcmd(f"MLST {path}").split("\n")
        except ftplib.error_perm as error:
            if code_of(error) in NOT_UNDERSTOOD:
                del self._features["MLST"]
            return ""
        return lines[1] if len(lines) > 1 else ""

    def is_directory(self, path: str) -> bool:
        with self._errors(path):
            return self._has_directory(path)

    def _has_directory(self, path: str) -> bool:
        if "MLST" in self._features:
            facts = self._facts(path)
            if "MLST" in self._features and (not facts or _is_type(facts, "file", "dir", "cdir", "pdir")):
                return bool(facts) and not _is_type(facts, "file")
        try:
            self._ftp.voidcmd(f"CWD {path}")
        except ftplib.error_perm:
            return False
        return True

    def _has_file(self, path: str) -> bool:
        if {"SIZE", "MLST"} & self._features.keys():
            return self._size(path) is not None
        try:
            return self._ftp.sendcmd(f"RNFR {path}").startswith("3")
        except (ftplib.error_perm, ftplib.error_temp):
            return False

    def checksum(self, path: str) -> str | None:
        with self._errors(path):
            return self._checksum(path, self._size(path) or 0)

    def _checksum(self, path: str, size: int) -> str | None:
        for command in ("HASH", "XSHA256"):
            if command not in self._features:
                continue
            try:
                reply = self._ftp.patiently(f"{command} {path}", size / SUMMING_SPEED)
            except (ftplib.error_perm, ftplib.error_temp) as error:
                logger.warning("%s: no checksum of %s: %s", self._name, path, error)
                continue
            found = _SHA256.search(reply[4:])
            if found:
                return f"sha256:{found[0].lower()}"
        return None

    def rename(self, source: str, target: str) -> None:
        with self._errors(target):
            self._pick(source)
            try:
                self._ftp.voidcmd(f"RNTO {target}")
                return
            except (ftplib.error_perm, ftplib.error_temp):
                if not (self._has_file(target) and self._has_file(source)):
                    raise
            if not self._warned:
                logger.warning("%s does not rename onto an existing file: the old one is deleted first, so there are moments "
                               "without the file", self._name)
                self._warned = True
            self._ftp.voidcmd(f"DELE {target}")
            self._pick(source)
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
            except (ftplib.error_perm, ftplib.error_temp):
                if self._has_file(path):
                    raise

    def make_directories(self, path: str) -> None:
        with self._errors(path):
            self._make(path.rstrip("/") or "/")

    def _make(self, path: str) -> None:
        """Make *path* at once where only it is missing; else look upwards for what is there and come down again."""
        with suppress(ftplib.error_perm, ftplib.error_temp):
            return self._make_one(path)
        missing = []
        while path != "/" and not self._has_directory(path):
            missing.append(path)
            path = posixpath.dirname(path)
        for directory in reversed(missing):
            try:
                self._make_one(directory)
            except (ftplib.error_perm, ftplib.error_temp):
                if not self._has_directory(directory):
                    raise

    def _make_one(self, path: str) -> None:
        self._ftp.voidcmd(f"MKD {path}")
        self._set_mode(path)

    def _set_mode(self, path: str) -> None:
        if self._settings.directory_mode == DIRECTORY_MODE:
            return
        try:
            self._ftp.voidcmd(f"SITE CHMOD {self._settings.directory_mode:o} {path}")
        except (ftplib.error_perm, ftplib.error_temp) as error:
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


def _features(ftp: Connection) -> dict[str, str]:
    """What the server offers beyond RFC 959, by name; of HASH only with sha256. Binary transfers are switched on for good."""
    ftp.voidcmd("TYPE I")
    features: dict[str, str] = {}
    with suppress(ftplib.error_perm, ftplib.error_temp):
        for line in ftp.sendcmd("FEAT").split("\n")[1:-1]:
            name, _, rest = line.strip().partition(" ")
            features[name.upper()] = rest
    for command in ("SIZE /", "MLST /"):
        features |= {} if command[:4] in features else _tried(ftp, command)
    if "UTF8" in features and ftp.encoding.lower().replace("-", "") == "utf8":
        with suppress(ftplib.error_perm, ftplib.error_temp):
            ftp.sendcmd("OPTS UTF8 ON")
    if "HASH" in features:
        try:
            ftp.sendcmd("OPTS HASH SHA-256")
        except (ftplib.error_perm, ftplib.error_temp):
            del features["HASH"]
    return features


def _tried(ftp: Connection, command: str) -> dict[str, str]:
    """Some servers know more than they list: the command itself tells."""
    try:
        ftp.sendcmd(command)
    except (ftplib.error_perm, ftplib.error_temp) as error:
        return {} if code_of(error) in NOT_UNDERSTOOD else {command[:4]: ""}
    return {command[:4]: ""}


def _number(reply: str) -> int:
    words = reply.split()
    if len(words) < 2 or not (words[1].isascii() and words[1].isdigit()):
        raise ftplib.error_proto(f"no size in {reply!r}")
    return int(words[1])


def _is_type(facts: str, *kinds: str) -> bool:
    found = _TYPE_FACT.search(" " + facts.strip())
    return found is not None and found[1].lower() in kinds


def _chunks(origin: Origin, start: int, end: int) -> Iterator[memoryview]:
    while start < end:
        try:
            data = os.pread(origin.descriptor, min(CHUNK, end - start), start)
        except OSError as error:
            raise TemporaryError(f"{origin.path} cannot be read: {error.strerror}") from error
        if not data:
            raise OriginChanged(f"{origin.path}: ends after {start} of {origin.size} bytes")
        start += len(data)
        yield memoryview(data)


class FtpMover(Mover):
    """FTP, plain and with explicit TLS. The module says which parameters are read."""

    schemes = ("ftp", "ftps")
    abilities = Abilities(resume=True)

    def open(self, destination: Destination, settings: SessionSettings) -> Session:
        if not destination.host:
            raise DestinationInvalid(f"{destination} names no host")
        name = f"{destination.scheme}://{format_endpoint(destination.host, destination.port or ftplib.FTP_PORT)}"
        context = tls_context(settings.parameters, name) if destination.scheme == "ftps" else None
        login = login_for(destination) or ANONYMOUS
        connection = Connection(settings.connect_timeout, settings.stall_timeout, context, _encoding(settings.parameters))
        try:
            return _logged_in(connection, destination, settings, login, name)
        except BaseException:
            connection.drop()
            raise


def _logged_in(ftp: Connection, destination: Destination, settings: SessionSettings, login: Login, name: str) -> FtpSession:
    step = "connecting"
    try:
        ftp.reach(destination.host, destination.port or ftplib.FTP_PORT)
        step = f"logging in as {login.user}"
        ftp.log_in(login)
        step = "preparing transfers"
        ftp.protect()
        session = FtpSession(ftp, settings, name)
        ftp.settle()
        return session
    except ssl.SSLCertVerificationError as error:
        raise LoginRefused(f"{name}: its certificate is not accepted: {error.verify_message}") from error
    except ftplib.error_perm as error:
        kind = DestinationInvalid if step != f"logging in as {login.user}" and code_of(error) != "530" else LoginRefused
        raise kind(f"{name}: refused while {step}: {str(error)[:300]!r}") from error
    except (ftplib.Error, OSError, EOFError) as error:
        raise Unreachable(f"{name}: {str(error)[:300] or 'hung up'} while {step}") from error


def tls_context(parameters: Mapping[str, Any], name: str) -> ssl.SSLContext:
    """A context that verifies certificates and host names, unless `tls_verify` is false."""
    files = {key: os.path.expanduser(str(parameters[key])) for key in ("tls_ca_file", "tls_cert_file", "tls_key_file")
             if parameters.get(key)}
    password = str(parameters.get("tls_key_password") or "")
    trouble = ""
    try:
        context = ssl.create_default_context(cafile=files.get("tls_ca_file"))
        if "tls_cert_file" in files:
            context.load_cert_chain(files["tls_cert_file"], files.get("tls_key_file"), lambda: password)
    except OSError as error:
        trouble = error.strerror or type(error).__name__
    if trouble:
        raise DestinationInvalid(f"{', '.join(f'{key} {value}' for key, value in files.items())} cannot be used: {trouble}")
    if not _is_on(parameters.get("tls_verify", True)):
        logger.warning("%s: tls_verify is off, anybody on the way can pose as the server", name)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _is_on(value: object) -> bool:
    words = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
    found = words.get(str(value).strip().lower())
    if found is None:
        raise DestinationInvalid(f"tls_verify must be true or false, not {value!r}")
    return found


def _encoding(parameters: Mapping[str, Any]) -> str:
    name = str(parameters.get("ftp_encoding") or "utf-8")
    try:
        return codecs.lookup(name).name
    except LookupError:
        raise DestinationInvalid(f"ftp_encoding {name!r} is no encoding") from None
