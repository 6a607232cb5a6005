"""No password in any log, and nothing that a terminal would obey: a filter for handlers."""

from __future__ import annotations

import logging

from trollmoves.uris import hide_password, printable

LONGEST = 10_000
"""Characters of a line or a traceback: strangers choose names, and could fill the disk with few of them."""


class HidePasswords(logging.Filter):
    """Replaces the credentials of every uri in a record, its arguments and its traceback by `***`; escapes control characters,
    and cuts short what is very long."""

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        hidden = printable(hide_password(_short(text)))
        if hidden != text:
            record.msg, record.args = hidden, None
        if record.exc_info and not record.exc_text:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        if record.exc_text:
            record.exc_text = "\n".join(map(printable, hide_password(_short(record.exc_text)).split("\n")))
        return True


def _short(text: str) -> str:
    left_out = len(text) - LONGEST
    return text if left_out <= 0 else f"{text[:LONGEST // 2]} ({left_out} characters left out) {text[-LONGEST // 2:]}"
