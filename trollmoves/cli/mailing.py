"""Mail what an operator should know: the warnings and errors of one run, in one letter."""

from __future__ import annotations

import logging
import logging.handlers
import smtplib
import sys
from email.message import EmailMessage

from trollmoves.cleaner.settings import Mail
from trollmoves.messages import Envelope

MOST_RECORDS = 500
"""Records in one letter."""
TIMEOUT = 30.0
"""Seconds for each step of the delivery."""


class MailHandler(logging.handlers.BufferingHandler):
    """Collects warnings and errors of all loggers; `flush` mails what has come together."""

    def __init__(self, mail: Mail):
        super().__init__(MOST_RECORDS)
        self.setLevel(logging.WARNING)
        self._mail = mail
        self.failed = False
        """A letter could not be delivered to the mail host; standard error has said why."""

    def flush(self) -> None:
        self.acquire()
        try:
            records, self.buffer = self.buffer, []
            if records:
                self._send("\n".join(map(self.format, records)))
        finally:
            self.release()

    def _send(self, text: str) -> None:
        mail = self._mail
        try:
            with smtplib.SMTP(mail.host, mail.port, timeout=TIMEOUT) as connection:
                connection.send_message(_letter(mail, text))
        except (OSError, smtplib.SMTPException) as error:
            self.failed = True
            print(f"the mail to {', '.join(mail.to)} could not be sent by {mail.host}: {error}", file=sys.stderr)


def _letter(mail: Mail, text: str) -> EmailMessage:
    sender = Envelope.of_this_process().sender
    user, _, hostname = sender.partition("@")
    letter = EmailMessage()
    letter["Subject"] = mail.subject.format(hostname=hostname, user=user)
    letter["From"] = sender
    letter["To"] = ", ".join(mail.to)
    letter.set_content(text.encode("utf-8", "backslashreplace").decode())
    return letter
