"""What FTP servers say: their refusals as our errors, what they offer beyond RFC 959, sizes, facts and checksums."""
# ruff: noqa: S321

from __future__ import annotations

import ftplib  # noqa: S402
import re
from contextlib import suppress

from trollmoves.errors import Busy, ConnectionLost, DestinationFull, DestinationInvalid, LoginRefused, MoveError, Refused
from trollmoves.movers.ftp_connection import Connection

REFUSALS = (ftplib.error_perm, ftplib.error_temp)

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
"""Other 4xx may pass (`Busy`), other 5xx will not (`Refused`)."""
NOT_UNDERSTOOD = ("500", "501", "502", "504")
NO_SUCH_PLACE = ("450", "451", "550", "553")
"""What servers say to STOR for a directory that is missing, a file that is there, and what is forbidden alike."""
_FULL = re.compile(r"no space|disk (is )?full|quota|insufficient (disk|storage)|error during write|input/output error",
                   re.IGNORECASE)
"""What servers say when their disk does not take the bytes, some of them with a code that means something else."""
_CUT = re.compile(r"data connection|transfer aborted", re.IGNORECASE)
_SHA256 = re.compile(r"(?<![0-9A-Za-z])[0-9A-Fa-f]{64}(?![0-9A-Za-z])")
_SIZE_FACT = re.compile(r"[ ;]size=([0-9]{1,19});", re.IGNORECASE)
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
        kind = REPLIES.get(code, Busy if isinstance(error, ftplib.error_temp) else Refused)
    return kind(f"{subject}: the server says {text!r}")


def is_full(error: ftplib.Error) -> bool:
    """Whether the server says that it has no room."""
    return bool(_FULL.search(str(error)))


def features_of(ftp: Connection) -> set[str]:
    """What the server offers beyond RFC 959; HASH only where that means sha256."""
    features: set[str] = set()
    with suppress(*REFUSALS):
        features = {line.strip().partition(" ")[0].upper() for line in ftp.sendcmd("FEAT").split("\n")[1:-1]}
    features |= {command for command in ("SIZE", "MLST") if command not in features and _is_understood(ftp, f"{command} /")}
    if "UTF8" in features and ftp.encoding == "utf-8":
        _is_understood(ftp, "OPTS UTF8 ON")
    if "HASH" in features:
        try:
            ftp.sendcmd("OPTS HASH SHA-256")
        except REFUSALS:
            features.discard("HASH")
    return features


def _is_understood(ftp: Connection, command: str) -> bool:
    """Some servers know more than they list: the command itself tells."""
    try:
        ftp.sendcmd(command)
    except REFUSALS as error:
        return code_of(error) not in NOT_UNDERSTOOD
    return True


def size_in_reply(reply: str) -> int:
    """The number of a reply to SIZE."""
    words = reply.split()
    if len(words) < 2 or not re.fullmatch(r"[0-9]{1,19}", words[1]):
        raise ftplib.error_proto("no size in the reply to SIZE")  # which may repeat our password
    return int(words[1])


def size_in_facts(facts: str) -> int | None:
    """The size that a line of MLST tells of a file; None for what is no file."""
    found = _SIZE_FACT.search(f" {facts}")
    return int(found[1]) if found and is_type(facts, "file") else None


def is_type(facts: str, *kinds: str) -> bool:
    """Whether a line of MLST is about something of one of *kinds*."""
    found = _TYPE_FACT.search(f" {facts}")
    return found is not None and found[1].lower() in kinds


def checksum_in(reply: str) -> str | None:
    """The checksum in a reply to HASH or XSHA256, as `sha256:<hex>`."""
    found = _SHA256.search(reply[4:])
    return f"sha256:{found[0].lower()}" if found else None
