"""No password in any log, and nothing that a terminal would obey: a filter for handlers."""

from __future__ import annotations

import logging

from trollmoves.uris import hide_password, printable


class HidePasswords(logging.Filter):
    """Replaces the credentials of every uri in a record, its arguments and its traceback by `***`; escapes control characters."""

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        hidden = printable(hide_password(text))
        if hidden != text:
            record.msg, record.args = hidden, None
        if record.exc_info and not record.exc_text:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        if record.exc_text:
            record.exc_text = "\n".join(map(printable, hide_password(record.exc_text).split("\n")))
        return True
