"""Every error this package raises on purpose, in one tree.

A caller asks two things of an error: will it be tried again, and what do I tell the user. The class answers the first, the
text the second. Adapters translate the exceptions of their libraries into these classes and chain the cause.

::

    TrollmovesError
    +-- ConfigurationError          a config file or an option; lists every problem at once
    +-- MalformedMessage            bytes that are no posttroll message, or one we do not accept
    +-- JournalError                the journal cannot be read or written
    |   +-- JournalTooNew           written by a later release
    +-- MoveError                   one move did not succeed; `code` goes on the wire
        +-- TemporaryError          will be tried again
        |   +-- Unreachable         host or port does not answer
        |   +-- ConnectionLost      it answered, then went away
        |   +-- Stalled             no bytes for `stall_timeout`
        |   +-- DestinationFull     no space or quota left
        |   +-- VerificationFailed  what arrived is not what was sent
        |   +-- Busy                over a limit; ask again after `retry_after`
        |   +-- PositionUnknown     a position in a journal stands for nothing in this one; what is named may be found
        |   +-- OriginReplaced      another file has taken its place, and is about to be announced
        |   +-- PerhapsElsewhere    whether a message speaks of this machine is not known (defined in `watchers.messages`)
        +-- PermanentError          trying again changes nothing until somebody acts
        |   +-- OriginGone          the file is no longer there
        |   +-- OriginChanged       another file has taken its place
        |   +-- NotAnnounced        nobody announced such a file
        |   +-- Denied              the configuration does not allow it
        |   |   +-- Refused         nor does the other side, or the disk (its rights, read-only): that is waited for
        |   +-- LoginRefused        credentials, key or host key not accepted
        |   +-- DestinationInvalid  the destination cannot be used as written
        |   +-- MissingLibrary      an optional library is not installed
        |   +-- BadArchive          a packed file is damaged or hostile (defined in `unpacking`)
        |   +-- Elsewhere           a message speaks of another machine's file (defined in `watchers.messages`)
        +-- Cancelled               nobody wants it any more (sessions in use are closed, unlike after a permanent error)
"""

from __future__ import annotations

from collections.abc import Sequence

SAID_AT_THE_END = "said_at_the_end"
"""An attribute of a record of the log that says why a program ends: a terminal gets that anyway."""


class TrollmovesError(Exception):
    """Root of the tree."""

    is_logged = False
    """Whether the log has it as the reason why the program ends."""


class ConfigurationError(TrollmovesError):
    """One or more problems in a configuration; `problems` holds a line for each, `warnings` what else there is to say."""

    def __init__(self, problems: Sequence[str] | str, warnings: Sequence[str] = ()):
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        self.warnings = tuple(warnings)
        super().__init__("\n".join(self.problems))


class MalformedMessage(TrollmovesError):
    """Text that is no acceptable posttroll message."""


class JournalError(TrollmovesError):
    """The journal cannot be read or written."""


class JournalTooNew(JournalError):
    """The journal was written by a later release than this one."""


class MoveError(TrollmovesError):
    """A move did not succeed. `code` is its short name on the wire, `permanent` whether a repeat is pointless."""

    code = "internal"
    permanent = False
    nothing_written = False
    """Whether the mover says that what was at the destination is as it was."""


class TemporaryError(MoveError):
    """Will be tried again."""


class Unreachable(TemporaryError):
    code = "dest_unreachable"


class ConnectionLost(TemporaryError):
    code = "dest_unreachable"


class Stalled(TemporaryError):
    code = "stalled"


class DestinationFull(TemporaryError):
    code = "dest_full"


class VerificationFailed(TemporaryError):
    code = "verify_failed"


class Busy(TemporaryError):
    code = "busy"

    def __init__(self, message: str, retry_after: float = 5.0):
        super().__init__(message)
        self.retry_after = retry_after


class AlreadyHad(TemporaryError):
    """Who asks has content of this checksum already, as the request says, and wants none but other content."""

    code = "same"


class PositionUnknown(TemporaryError):
    code = "not_announced"
    retry_after = 0.5


class OriginReplaced(TemporaryError):
    code = "changed"
    retry_after = 2.0


class PermanentError(MoveError):
    """Trying again changes nothing until somebody acts."""

    permanent = True


class OriginGone(PermanentError):
    code = "gone"


class OriginChanged(PermanentError):
    code = "changed"


class NotAnnounced(PermanentError):
    code = "not_announced"


class Denied(PermanentError):
    code = "denied"


class Refused(Denied):
    """A host, or a directory of this machine, does not take the file until somebody mends it there; the file is no worse for it,
    and waits."""


class LoginRefused(PermanentError):
    code = "dest_auth"


class DestinationInvalid(PermanentError):
    code = "bad_request"


class MissingLibrary(PermanentError):
    code = "internal"


class Cancelled(MoveError):
    code = "cancelled"
    permanent = True


def error_of(code: str, text: str) -> MoveError:
    """The permanent error that a peer means by *code*; for a code that none has, one that is tried again."""
    kinds = (OriginGone, OriginChanged, NotAnnounced, Denied, LoginRefused, DestinationInvalid)
    return next((kind(text) for kind in kinds if kind.code == code), MoveError(text))
