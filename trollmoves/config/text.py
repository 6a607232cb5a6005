"""A configuration file as text, and how its problems are worded."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from trollmoves.errors import ConfigurationError
from trollmoves.exposed import exposed

LARGEST = 16 * 1024 * 1024
"""Bytes of a configuration file; more is surely another file (or an endless device)."""


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong in one place of a file; never holds the value of a secret."""

    path: str
    line: int
    """From 1; 0 when it is about the file as a whole."""
    text: str
    section: str | None = None
    option: str | None = None

    def __str__(self) -> str:
        line = f":{self.line}" if self.line else ""
        section = f"[{self.section}] " if self.section is not None else ""
        option = f"{self.option}: " if self.option is not None else ""
        return f"{self.path}{line}: {section}{option}{self.text}"


def in_order(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """Each problem once (one in `[DEFAULT]` is met in every section), by line."""
    return tuple(sorted(dict.fromkeys(problems), key=lambda problem: problem.line))


def near(word: str, known: Iterable[str]) -> str:
    """` (did you mean 'x'?)` for the word of *known* that looks most like *word*; empty when none does."""
    matches = difflib.get_close_matches(word.lower(), list(known), n=1, cutoff=0.75)
    return f" (did you mean {matches[0]!r}?)" if matches else ""


def read_text(path: str | os.PathLike[str]) -> str:
    """The text of a UTF-8 file, a byte order mark left out. Raises `ConfigurationError` saying why it cannot be read, or must not
    be: anybody may have written it."""
    data = _read_bytes(path)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        what = f"byte 0x{data[error.start]:02x} is not UTF-8 text; save the file as UTF-8"
        raise ConfigurationError(str(Problem(os.fspath(path), line, what))) from None
    if "\0" in text:  # the name of no file may hold one
        line = text.count("\n", 0, text.index("\0")) + 1
        raise ConfigurationError(str(Problem(os.fspath(path), line, "holds a NUL character; save the file as plain text")))
    return text


def _read_bytes(path: str | os.PathLike[str]) -> bytes:
    shown = os.fspath(path)
    try:
        with Path(path).open("rb") as file:
            danger = exposed(path, os.fstat(file.fileno()))
            data = file.read(LARGEST + 1)
    except IsADirectoryError:
        raise ConfigurationError(f"{shown}: is a directory; name the configuration file in it") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a file name"
        raise ConfigurationError(f"{shown}: cannot be read: {reason}") from error
    if danger:
        raise ConfigurationError(f"{shown}: {danger}")
    if len(data) > LARGEST:
        raise ConfigurationError(f"{shown}: is larger than {LARGEST // 1024 // 1024} MiB; this is no configuration file")
    return data
