"""What is said to whoever asked: in upstream's form, with our extension for those who know it. No credentials, ever."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from trollmoves.errors import MoveError
from trollmoves.messages import EXTENSION, PROTOCOL, Envelope, Message
from trollmoves.movers.base import Receipt
from trollmoves.movers.checksums import checksum_together
from trollmoves.server.requests import request_id
from trollmoves.uris import hide_password, host_of, parse_destination

LONGEST_TEXT = 500
"""Characters of an error in a reply."""

UNKNOWN_REQUEST = "unknown_request"
"""Code for one who asks how a request stands that nobody here is busy with."""


class Replies:
    """Writes replies in the name of this process."""

    def __init__(self, envelope: Envelope):
        self._envelope = envelope

    def delivered(self, message: Message, request: str, receipts: list[Receipt], named: bool,
                  lease: Mapping[str, Any] | None = None) -> bytes:
        """The files of *message* are at their destination; *named* where upstream's reply has the name of the file in it; *lease*
        tells one of ours of its right to publish."""
        data = {**message.fields, "destination": landed(message, receipts[-1], named)}
        if request:
            data[EXTENSION] = {**message.extension, **result(request, receipts), **(lease or {})}
        return self._envelope.encode(message.subject, reply_type(message), data)

    def error(self, message: Message, error: MoveError) -> bytes:
        """A text for upstream clients; for ours also what to do about it."""
        text = shown(error)
        request = request_id(message)
        if not request:
            return self._envelope.encode(message.subject, "err", text)
        data = {"error": text, EXTENSION: {"version": PROTOCOL, "request": request, **verdict(error)}}
        return self._envelope.encode(message.subject, "err", data)

    def state(self, message: Message, request: str, state: str, **more: Any) -> bytes:
        """How it stands with a request: `moving` (bytes `done` of `total`), `held` by another member of the group, or `covered`
        by it."""
        kind = "pending" if state == "moving" else state
        data = {EXTENSION: {"version": PROTOCOL, "request": request, "state": state, **more}}
        return self._envelope.encode(message.subject, kind, data)

    def commits(self, message: Message, results: list[dict[str, Any]]) -> bytes:
        """Who may publish what."""
        said = {"version": PROTOCOL, "request": request_id(message), "results": results}
        return self._envelope.encode(message.subject, "commit", {EXTENSION: said})

    def results(self, subject: str, results: list[dict[str, Any]]) -> bytes:
        """Answers to requests that came together."""
        return self._envelope.encode(subject, "results", {EXTENSION: {"version": PROTOCOL, "results": results}})

    def unknown_request(self, message: Message) -> bytes:
        """Nobody here is busy with that request: ask from the beginning."""
        data = {EXTENSION: {"version": PROTOCOL, "request": request_id(message), "code": UNKNOWN_REQUEST}}
        return self._envelope.encode(message.subject, "err", data)


def shown(error: Exception) -> str:
    """The text of an error as others may see it."""
    return hide_password(str(error))[:LONGEST_TEXT]


def result(request: str, receipts: list[Receipt]) -> dict[str, Any]:
    """What is said of files that are at their destination."""
    receipt = receipts[-1]
    said = {"request": request, "state": "delivered", "checksum": checksum_of_all(receipts), "verified": receipt.verified,
            "destination_uri": receipt.uri, "confirm": True}
    return {**said, "earlier": True} if receipt.earlier else said


def checksum_of_all(receipts: Sequence[Receipt]) -> str | None:
    """Of all files of a delivery; None where one of them is not known."""
    return checksum_together([(receipt.uri, receipt.checksum) for receipt in receipts])


def verdict(error: MoveError) -> dict[str, Any]:
    return {"code": error.code, "permanent": error.permanent, "retry_after": getattr(error, "retry_after", None)}


def landed(message: Message, receipt: Receipt, named: bool) -> str:
    """The destination in upstream's form: as it was asked for, on the backup host if one was used, with the name of the file
    where upstream has it."""
    place = parse_destination(message.fields["destination"])
    if "backup_targets" in message.fields and (host := host_of(receipt.uri)[1]):
        place = place.with_host(host)
    return place.for_name(os.path.basename(receipt.uri)).clean if named else place.clean


def without_credentials(fields: Mapping[str, Any]) -> dict[str, Any]:
    data = dict(fields)
    if "destination" in data:
        data["destination"] = parse_destination(data["destination"]).clean
    return data


def reply_type(message: Message) -> str:
    for key, kind in (("uri", "file"), ("dataset", "dataset"), ("collection", "collection")):
        if key in message.fields:
            return kind
    return message.type
