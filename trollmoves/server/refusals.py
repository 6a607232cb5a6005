"""What the log and the audit have of requests that were refused, or whose moves failed: of many a few."""

from __future__ import annotations

import logging
from functools import partial

from trollmoves.bus import Loop
from trollmoves.bus.few_lines import FewLines
from trollmoves.errors import MoveError
from trollmoves.journal import Journal
from trollmoves.journal.audit import REFUSED, in_audit
from trollmoves.messages import Message
from trollmoves.server.replies import shown
from trollmoves.server.requests import request_id
from trollmoves.server.rights import NotAllowed, Unknown
from trollmoves.server.transfer import Moving

logger = logging.getLogger(__name__)


class Refusals:
    """Of one request port; belongs to the loop."""

    def __init__(self, loop: Loop, journal: Journal):
        self._journal = journal
        self._refused = FewLines(loop, logger, "requests of %s were refused", counted=self._counted)
        self._failed = FewLines(loop, logger, "requests of %s failed")

    def close(self) -> None:
        """Sum up now, and no more."""
        self._refused.close()
        self._failed.close()

    def note(self, address: str, message: Message, error: MoveError) -> None:
        """A request of *address* was refused: a line in the log and a record in the audit, as long as there are few."""
        said = {**message.fields, "client": message.extension.get("client", "")}
        asked = {name: str(said.get(name, "")) for name in ("client", "uid", "uri", "destination")}
        self._refused.say(address, "refused %s of %s: %s", message.type, address, shown(error), record=partial(
            self._record, address, error, request=message.type, subject=message.subject, id=request_id(message), **asked))

    def note_move(self, moving: Moving, error: MoveError, unexpected: Exception | None) -> None:
        """A move did not succeed, perhaps because who asked may not have the file there; *unexpected* is what should not
        happen."""
        path, exact, peer = moving.push.members[0].file.path, moving.push.destination.exact, moving.push.peer
        if isinstance(error, NotAllowed | Unknown):
            self._refused.say(peer, "%s to %s: %s", path, exact, shown(error), record=partial(
                self._record, peer, error, moving.served.settings.name, request="push", path=path, destination=exact))
        else:  # the journal has it beside the file
            self._failed.say(peer, "%s to %s: %s", path, exact, shown(error), error=unexpected)

    def _record(self, address: str, error: MoveError, chain: str = "", **asked: str) -> str:
        said = {**asked, "address": address, "code": error.code, "why": shown(error)}
        return in_audit(self._journal.audit.record(REFUSED, chain, **said))

    def _counted(self, address: str, more: int) -> str:
        return in_audit(self._journal.audit.record(REFUSED, "", address=address, more=more))
