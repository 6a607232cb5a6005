"""Triggers: the single files that a message speaks of, each as a message of its own."""

from __future__ import annotations

import logging
import posixpath
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from trollmoves.bus.few_lines import Sparingly
from trollmoves.errors import MalformedMessage
from trollmoves.messages import EXTENSION, Envelope, Message, decode, digest_of, dumps
from trollmoves.uris import hide_password, local_path, may_name_a_file

_refused = Sparingly(logging.getLogger(__name__))

DEEPEST_COLLECTION = 4
LONGEST_URI = 4096
"""Characters; longer ones lead to no file."""
MOST_SHARED = 16 * 2**20
"""Bytes that what is said of a whole may come to when it is repeated for each of its files."""


class Trigger(NamedTuple):
    """One file that was spoken of."""

    subject: str
    fields: Mapping[str, Any]
    """What the message says of it, `uid` and `uri` of the file included."""
    key: str
    """Tells this file of this message from all others."""
    sender: str

    @property
    def uri(self) -> str:
        return str(self.fields["uri"])

    @property
    def path(self) -> str:
        """The path on the machine that the uri names."""
        return local_path(self.uri)

    @property
    def identity(self) -> str:
        """The uid, or the name of the file."""
        return str(self.fields.get("uid") or posixpath.basename(self.path))

    def encoded(self, version: str) -> str:
        """As a message of type `file`, for the journal."""
        return Envelope(self.sender, version).encode(self.subject, "file", self.fields).decode()


def triggers_of(message: Message) -> Iterator[Trigger]:
    """The files of a `file`, `dataset` or `collection` message; none of any other. What is no file is named in the log. Raises
    `MalformedMessage` when what each file would have of the whole is out of proportion."""
    if message.type not in ("file", "dataset", "collection"):
        return
    digest = digest_of(message).hex()[:24]
    for number, fields in enumerate(_files(message.type, message.fields, 0)):
        trouble = _trouble(fields.get("uri"))
        if trouble:
            _refused.say("%s %s from %s: file %d is not used: %s", message.subject, message.type, message.sender,
                         number + 1, trouble)
        else:
            yield Trigger(message.subject, fields, f"m:{digest}:{number}", message.sender)


def read_trigger(text: str, key: str) -> Trigger:
    """What `encoded` wrote. Raises `MalformedMessage`."""
    message = decode(text.encode())
    if _trouble(message.fields.get("uri")):
        raise MalformedMessage("speaks of no file")
    return Trigger(message.subject, message.fields, key, message.sender)


def _files(kind: str, fields: Mapping[str, Any], depth: int) -> Iterator[dict[str, Any]]:
    """What is said of each file: that of the whole, then that of the file itself."""
    own = {name: value for name, value in fields.items() if name not in (EXTENSION, "dataset", "collection")}
    items = fields.get(kind) if kind != "file" else None
    if items is None:
        yield own
    elif isinstance(items, list) and depth < DEEPEST_COLLECTION:
        whole = {name: value for name, value in own.items() if name not in ("uid", "uri")}
        if len(items) * len(dumps(whole)) > MOST_SHARED:
            raise MalformedMessage(f"says too much of its {len(items)} files together")
        for item in items:
            said = item if isinstance(item, dict) else {}
            inner = next((name for name in ("dataset", "collection") if name in said), "file")
            yield from _files(inner, {**whole, **said}, depth + 1)


def _trouble(uri: object) -> str:
    """Why *uri* leads to no file, empty when it may lead to one."""
    if not isinstance(uri, str) or not uri:
        return "it has no uri"
    if len(uri) > LONGEST_URI or not may_name_a_file(uri):
        return f"its uri is no path: {hide_password(uri[:100])!r}"
    return ""
