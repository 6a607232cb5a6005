"""Uploads by FTP (`ftp://`) and by FTP over explicit TLS (`ftps://`, RFC 4217; both on port 21 unless the uri says otherwise).

Engine: the standard library's ftplib in a thread, with `ftp_connection` round it; aioftp moved fewer small files (842 a second,
ftplib 1,356) and hung with TLS. Measured with pure-ftpd on 2 cores whose speed changes, files in memory, so only what stands
together compares (benchmarks/movers_ftp.py, medians of three): this mover 1,289 files of 20 KiB a second, a bare ftplib loop that
neither asks for sizes nor sets times 1,580, curl 775; one file of 256 MiB at 1,831, 1,628 and 1,588 MB/s. With TLS and continued
sessions 727 files a second (327 to 727 in several runs), ftplib 23, curl 2; a loop with TCP_NODELAY and a full handshake for each
file reached 177 where this one reached 401.

The account is that of the uri, else of the user's netrc, else anonymous. Transfers are passive and binary, paths absolute: no
working directory is relied on. Servers differ, so each is asked what it offers (FEAT): where it can compute a sha256 (HASH,
XSHA256) the receipt says `sum`, where it tells sizes (SIZE, MLST) `size`, else `none`. The modification time is set where MFMT is
offered. Where renaming onto an existing name is refused, the old file is moved aside first, with a warning: there may be a gap.

Connection parameters: see `parameters`. Unless `tls_minimum_version` is 1.3, servers that continue sessions under TLS 1.2 only
(pure-ftpd) are spoken to in that: otherwise every file would cost both sides a full handshake. Names are utf-8 by default, as RFC
2640 has it and as Unix servers without UTF8 take it too.

Files and directories get the permissions the server gives them, unless the section sets a mode: then SITE CHMOD asks for it.
"""

# ruff: noqa: S321

from __future__ import annotations

import codecs
import ftplib  # noqa: S402
import logging
import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trollmoves.errors import DestinationInvalid, LoginRefused, Unreachable
from trollmoves.movers.base import Abilities, Mover, Session, SessionSettings
from trollmoves.movers.credentials import Login, login_for
from trollmoves.movers.ftp_connection import Connection, NotContinued
from trollmoves.movers.ftp_replies import code_of
from trollmoves.movers.ftp_session import FtpSession
from trollmoves.movers.parameters import FTP
from trollmoves.uris import Destination, format_endpoint

logger = logging.getLogger(__name__)

ANONYMOUS = Login("anonymous", "anonymous@")
LOGGING_IN = "logging in"


class FtpMover(Mover):
    """FTP, plain and with explicit TLS."""

    schemes = ("ftp", "ftps")
    abilities = Abilities(resume=True)
    parameters = FTP

    def open(self, destination: Destination, settings: SessionSettings) -> Session:
        if not destination.host:
            raise DestinationInvalid(f"{destination} names no host")
        name = f"{destination.scheme}://{format_endpoint(destination.host, destination.port or ftplib.FTP_PORT)}"
        context = tls_context(settings.parameters, name) if destination.scheme == "ftps" else None
        login = login_for(destination, settings) or ANONYMOUS
        if login.user == ANONYMOUS.user and not login.password:  # who asks for a password then wants something like an address
            login = ANONYMOUS
        return _Door(destination, settings, name, login, context, _encoding(settings.parameters)).open()


@dataclass(frozen=True, slots=True)
class _Door:
    """What it takes to log in."""

    destination: Destination
    settings: SessionSettings
    name: str
    login: Login
    context: ssl.SSLContext | None
    encoding: str

    def open(self) -> FtpSession:
        """Log in; where TLS 1.3 would mean a full handshake for every file, with TLS 1.2 if that is allowed and spares it."""
        if self.context is None or self.context.minimum_version == ssl.TLSVersion.TLSv1_3:
            return self._logged_in()
        try:
            return self._logged_in(if_continued=True)
        except NotContinued:
            self.context.maximum_version = ssl.TLSVersion.TLSv1_2
        try:
            return self._logged_in()
        except Unreachable as error:
            if not isinstance(error.__cause__, ssl.SSLError):
                raise
            self.context.maximum_version = ssl.TLSVersion.MAXIMUM_SUPPORTED
        return self._logged_in()

    def _logged_in(self, if_continued: bool = False) -> FtpSession:
        connection = Connection(self.settings.connect_timeout, self.settings.stall_timeout, self.context, self.encoding)
        try:
            return self._prepared(connection, if_continued)
        except NotContinued:
            connection.leave()  # with a word, so that it is not counted among our connections any more
            raise
        except BaseException:
            connection.drop()
            raise

    def _prepared(self, ftp: Connection, if_continued: bool) -> FtpSession:
        step = "connecting"
        try:
            ftp.reach(self.destination.host, self.destination.port or ftplib.FTP_PORT, self.destination.connect_to)
            step = LOGGING_IN
            ftp.log_in(self.login, if_continued)
            step = "preparing transfers"
            ftp.protect()
            session = FtpSession(ftp, self.settings, self.name, self.settings.pace(self.destination.host))
            ftp.settle()
            return session
        except ssl.SSLCertVerificationError as error:
            raise LoginRefused(f"{self.name}: its certificate is not accepted: {error.verify_message}") from error
        except ftplib.error_perm as error:
            kind = LoginRefused if step == LOGGING_IN or code_of(error) == "530" else DestinationInvalid
            raise kind(f"{self.name}: refused {self.login.user!r} while {step}: {str(error)[:300]!r}") from error
        except (ftplib.Error, OSError, EOFError) as error:
            raise Unreachable(f"{self.name}: {str(error)[:300] or 'hung up'} while {step}") from error


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
    context.minimum_version = _minimum(parameters.get("tls_minimum_version", "1.2"))
    if not _is_on(parameters.get("tls_verify", True)):
        logger.warning("%s: tls_verify is off, anybody on the way can pose as the server", name)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _minimum(value: object) -> ssl.TLSVersion:
    versions = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
    if str(value) not in versions:
        raise DestinationInvalid(f"tls_minimum_version must be 1.2 or 1.3, not {value!r}")
    return versions[str(value)]


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
