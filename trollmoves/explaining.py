"""Samples to be explained: a file, or messages that somebody recorded. Every role says what it would make of one."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, TypeVar

from trollmoves.errors import ConfigurationError, MalformedMessage
from trollmoves.messages import MAGIC, Message, decode

ONLY_NAME = "no message: topics are not looked at, and there is no metadata but its name"
"""What those who hear messages remark on a file."""
NOT_THERE = "it is not there: this is about a file of that name"
LARGEST = 16 * 2**20
"""Bytes of a file with recorded messages; larger ones are files to be explained themselves."""


class Sample(NamedTuple):
    """What is to be explained: a message, or a file of which nothing is known but its path."""

    path: str
    """Absolute; empty for a message."""
    message: Message | None = None


Settings = TypeVar("Settings")


def explain_each(text: str, chains: Mapping[str, Settings], heading: Callable[[Sample], str],
                 lines: Callable[[Sample, Settings], Iterator[str]]) -> Iterator[str]:
    """For each sample in *text* its *heading*, and below it for each section the *lines* about what it would make of it. Raises
    `ConfigurationError` when *text* is no sample."""
    for sample in read_samples(text):
        yield heading(sample)
        for name, settings in chains.items():
            yield f"  [{name}]"
            yield from (f"    {line}" for line in lines(sample, settings))


def named(sample: Sample, remark: str = "") -> str:
    """A heading: what kind of message, or which file, with a *remark* on files."""
    if sample.message is not None:
        return f"{sample.message.type} message under {sample.message.subject}"
    remarks = "; ".join(filter(None, ("" if os.path.lexists(sample.path) else NOT_THERE, remark)))
    return f"{sample.path} ({remarks})" if remarks else sample.path


def read_samples(text: str) -> list[Sample]:
    """The samples in *text*: a message, the path of a file with messages (one a line), or any other path, also of something that
    is no file, or that is not there (yet).

    Raises `ConfigurationError` when it is none of these.
    """
    if text.startswith(MAGIC):
        return _recorded([text.encode("utf-8", "surrogateescape")])
    if not _is_there(text) and ("/" not in text or "://" in text):  # no path that anybody watches, but a slip
        raise ConfigurationError(f"{text}: is neither a file nor a message; a message begins with {MAGIC}, and a file that is "
                                 "not there is asked about by its whole path")
    path = Path(text)
    with contextlib.suppress(PermissionError):  # nothing is known of it but its path then
        if path.is_file() and path.stat().st_size <= LARGEST:
            with path.open("rb") as file:
                if file.read(len(MAGIC)) == MAGIC.encode():
                    return _recorded((MAGIC.encode() + file.read()).splitlines())
    return [Sample(os.path.abspath(path))]


def _is_there(path: str) -> bool:
    """Whether anything has this path, a link that leads nowhere too. Raises `ConfigurationError` when that cannot be told."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be looked at: {error.strerror}"
                                 f"{'; run this as the user of the service' * isinstance(error, PermissionError)}") from None
    return True


def _recorded(lines: Iterable[bytes]) -> list[Sample]:
    try:
        return [Sample("", decode(line)) for line in lines if line.strip()]
    except MalformedMessage as error:
        raise ConfigurationError(f"the message cannot be read: {error}") from error
