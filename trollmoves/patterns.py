"""Patterns and templates in trollsift's syntax: `/data/{platform}_{start_time:%Y%m%d%H%M}.nc`. The only importer of trollsift.

A `Template` composes text from fields (destinations, subjects, names). A `Pattern` is a template that also recognises paths: as a
glob, the way a watcher and the check of a request need it, and by parsing, the way an announcement needs it.
"""

from __future__ import annotations

import fnmatch
import glob
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from string import Formatter
from typing import Any

import trollsift
from trollsift.parser import regex_format

from trollmoves.errors import ConfigurationError
from trollmoves.uris import LONGEST_NAME, hide_password

LONGEST_PATH = 4096
"""Characters of a path; a longer one matches nothing, nor do fields make a text so much longer."""
_WIDEST_FIELD = 4096
_OF_A_DATE = re.compile("%[A-Za-z]")
_CONVERSIONS = frozenset("rsachHltuR")
_ITEM = re.compile(r"[^][.]+(\[[^][.]+\])*")
_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{16}\.part|.+?[0-9a-f]{16}\.part\..+", re.DOTALL)
_FREE = re.compile(r"\(\?P<\w+>(\.|\\S)\*\?\)")
_NEVER_BLANK = re.compile(r"(\(\?P<\w+>(\\d\{\d+\})+\)|\\[^\sA-Za-z]|[^\s\\.[(])*")
_PLAIN_TEXT = re.compile(r"[0-9]*s?")
_PLAIN_NUMBER = re.compile(r"[0-9]*d")
_ESCAPED = re.compile(r"\\.", re.DOTALL)
_PIECES = re.compile(r"\[.[^]]*\]|.", re.DOTALL)
_BRACKETED = re.compile(r"\[([*?[])\]")
_ABOUT_BRACES = re.compile("[{}]")
_BRACES = "has a brace without partner; write a field as {name}, and a brace that is none as {{ or }}"


def is_temporary_name(name: str) -> bool:
    """Whether *name* is one that our own movers write to before the rename: `.<name>.<16 hex digits>.part`, or with a prefix
    `<prefix><16 hex digits>.part.<name>`."""
    return ".part" in name and _TEMPORARY.fullmatch(name) is not None


@dataclass(frozen=True, slots=True)
class _Part:
    """A piece of literal text and the field behind it, which the last piece may lack."""

    literal: str
    name: str | None
    spec: str
    conversion: str | None

    @property
    def text(self) -> str:
        return f"{{{self.name}:{self.spec}}}" if self.spec else f"{{{self.name}}}"

    @property
    def field(self) -> str:
        """What has to be among the fields: `sensor` for `{sensor[0]}`."""
        return (self.name or "").partition("[")[0]


class Template:
    """Text with `{fields}`, also of items of lists and mappings (`{a[0]}`, `{a[key]}`): these are plain data. Raises
    `ConfigurationError` when it is malformed or reaches into values in another way (`{a.b}`)."""

    def __init__(self, text: str):
        self.text = text
        self._parts = _split(text)
        self.fields: tuple[str, ...] = tuple(dict.fromkeys(part.field for part in self._parts if part.name is not None))
        """Names of the fields, in order of appearance."""
        self.last_fields = _behind_slashes(self._parts)
        """Names of the fields that what stands behind the last slash is made of."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({hide_password(self.text)!r})"

    def compose(self, fields: Mapping[str, Any]) -> str:
        """The text with its fields filled in; values are taken as they are, so the caller checks a path that comes out.

        Raises `ConfigurationError` naming what is missing, or what does not fit its format, and for what becomes longer than any
        path: who composes may keep it.
        """
        missing = [name for name in self.fields if name not in fields]
        if missing:
            raise ConfigurationError(f"{self._shown} needs {', '.join(map(repr, missing))}, which is not among the fields")
        try:
            text = str(trollsift.compose(self.text, {name: fields[name] for name in self.fields}))
        except (ValueError, TypeError, AttributeError, LookupError, OverflowError) as error:
            raise ConfigurationError(f"{self._shown} cannot be composed: {error}") from error
        if len(text) > len(self.text) + LONGEST_PATH:
            raise ConfigurationError(f"{self._shown} cannot be composed: it would have {len(text)} characters")
        return text

    @property
    def _shown(self) -> str:
        return repr(hide_password(self.text))


class Pattern(Template):
    """A template that recognises paths. Raises `ConfigurationError` when it cannot be used for that."""

    def __init__(self, text: str):
        super().__init__(re.sub("/+", "/", text) if text.startswith("/") else text)
        try:
            self.glob = "".join(map(_globbed, self._parts))
            self._parsing = re.compile(_linear_regex(self._parts))
        except (ValueError, re.error, OverflowError) as error:
            raise ConfigurationError(f"pattern {self._shown}: {error}") from error
        self._converters = {part.name: _converter(part.spec) for part in self._parts if part.name is not None}
        self._matching = _compiled(self.glob)
        self.directory, self.levels, name = _divided(self.glob)
        self._levels = tuple(map(_compiled, self.levels))
        self._name = _compiled(name)

    @property
    def times(self) -> frozenset[str]:
        """Names of the fields that are read as times."""
        return frozenset(part.name for part in self._parts if part.name is not None and "%" in part.spec)

    @property
    def unread(self) -> tuple[str, ...]:
        """Fields with a format of times that cannot be read, such as `{time:%T}`: they only fit a name with that very text."""
        return tuple(part.text for part in self._parts if part.name is not None and "%%" not in part.spec
                     and "%" in trollsift.globify(part.text))

    glob: str
    """For the whole path: fields of a fixed width are that many `?`, others `*`; literal text stands for itself."""
    directory: str
    """The deepest directory that is the same for all matching paths; absolute when the pattern is."""
    levels: tuple[str, ...]
    """Globs for the directories between `directory` and the file, the outermost first; mostly none."""

    @property
    def depth(self) -> int:
        """How many levels of directories lie between `directory` and the files."""
        return len(self.levels)

    def matches(self, path: str) -> bool:
        """Whether the glob takes the whole of *path*, where a `*` takes slashes as well (as `fnmatch` has it)."""
        return not _is_too_long(path) and self._matching(path) is not None

    def overlaps(self, other: Pattern) -> bool:
        """Whether there may be a path that both match."""
        mine, theirs = self.glob.split("/"), other.glob.split("/")
        return len(mine) == len(theirs) and all(map(_may_meet, mine, theirs))

    def matches_name(self, name: str) -> bool:
        """Whether the last part of the glob takes the file name *name*."""
        return self._name(name) is not None

    def matches_level(self, level: int, name: str) -> bool:
        """Whether a directory of that name can stand at `levels[level]`."""
        return self._levels[level](name) is not None

    def parse(self, path: str) -> dict[str, Any] | None:
        """The fields of *path* (dates, numbers, text, as trollsift gives them), or None when it does not fit; never raises.

        The time it takes grows at most with a small power of the length, whatever the text: see `_linear_regex`.
        """
        match = None if "\n" in path or _is_too_long(path) else self._parsing.fullmatch(path)
        if match is None:
            return None
        try:
            return {name: convert(match[name]) if convert else match[name] for name, convert in self._converters.items()}
        except (ValueError, OverflowError):  # such as a date that is none
            return None


def _split(text: str) -> list[_Part]:
    shown = repr(hide_password(text))
    try:
        parts = [_Part(literal, name, spec or "", conversion) for literal, name, spec, conversion in Formatter().parse(text)]
    except ValueError as error:
        raise ConfigurationError(f"template {shown}: {_BRACES if _ABOUT_BRACES.search(str(error)) else error}") from error
    for part in parts:
        problem = part.name is not None and _problem(part)
        if problem:
            raise ConfigurationError(f"template {shown}: field {part.name!r} {problem}")
    return parts


def _behind_slashes(parts: list[_Part]) -> tuple[str, ...]:
    names: list[str] = []
    for part in parts:
        if "/" in part.literal or "/" in part.spec:
            names.clear()
        if part.name is not None:
            names.append(part.field)
    return tuple(dict.fromkeys(names))


def _problem(part: _Part) -> str | None:
    name = part.name or ""
    if not name or name.isdigit():
        return "needs a name; write for example {platform}"
    if not _ITEM.fullmatch(name):
        return "reaches into a value, which is not allowed but for items ({sensor[0]}); of a time write {name:%Y} and the like"
    if "{" in part.spec or "}" in part.spec:
        return "has a field within its format, which is not allowed"
    widths = re.findall("[0-9]+", _OF_A_DATE.sub(" ", part.spec))  # `%` may also be what a field is filled up with, or its kind
    if any(len(width) > 4 or int(width) > _WIDEST_FIELD for width in widths):
        return f"is wider than {_WIDEST_FIELD}"
    if part.conversion is not None and part.conversion not in _CONVERSIONS:
        return f"has the unknown conversion {part.conversion!r}"
    return None


def _globbed(part: _Part) -> str:
    return glob.escape(part.literal) + ("" if part.name is None else str(trollsift.globify(part.text)))


def _divided(pattern: str) -> tuple[str, tuple[str, ...], str]:
    """The fixed directory, the globs of the directories below it and the glob of the file name."""
    *directories, name = pattern.split("/")
    if not name:
        raise ConfigurationError(f"pattern {hide_password(pattern)!r} ends with a slash: it needs a file name")
    plain = [_BRACKETED.sub(r"\1", directory) for directory in directories]
    fixed = 0
    while fixed < len(directories) and not glob.has_magic(_BRACKETED.sub("", directories[fixed])):
        fixed += 1
    directory = "/".join(plain[:fixed])
    return directory or ("/" if pattern.startswith("/") else ""), tuple(directories[fixed:]), name


def _may_meet(one: str, other: str) -> bool:
    """Whether a name may match both globs: looks how far one can come in both at once."""
    mine, theirs = [*_PIECES.findall(one), ""], [*_PIECES.findall(other), ""]
    todo = [(0, 0)]
    seen = set(todo)
    while todo:
        at, there = todo.pop()
        piece, its = mine[at], theirs[there]
        if not piece and not its:
            return True
        steps = {(at + 1, there)} if piece == "*" or (its == "*" and piece) else set()
        steps |= {(at, there + 1)} if its == "*" or (piece == "*" and its) else set()
        if piece and its and (piece == its or _is_any(piece) or _is_any(its)):
            steps.add((at + 1, there + 1))
        todo += steps - seen
        seen |= steps
    return False


def _is_any(piece: str) -> bool:
    """Whether a piece of a glob stands for more than one character; `[*]` and its like are literal text."""
    return piece == "?" or len(piece) > 3


def _compiled(pattern: str) -> Any:
    return re.compile(fnmatch.translate(pattern)).match


def _is_too_long(path: str) -> bool:
    if len(path) > LONGEST_PATH:
        return True
    name = path[path.rfind("/") + 1:]
    if len(name) * 4 <= LONGEST_NAME:
        return False
    try:
        return len(os.fsencode(name)) > LONGEST_NAME
    except UnicodeEncodeError:  # no name a file system could give
        return True


@dataclass(frozen=True, slots=True)
class _Piece:
    """A piece of a regular expression: literal text, a field or the repetition of one."""

    source: str
    name: str | None = None
    repeats: str | None = None

    @property
    def free(self) -> str | None:
        """What characters it takes any number of (`.` or `\\S`), if it is such a field."""
        match = _FREE.fullmatch(self.source)
        return match[1] if match else None

    @property
    def is_fixed(self) -> bool:
        """Whether it always takes the same number of characters (once the fields before it are known)."""
        bare = _ESCAPED.sub("", self.source.partition(">")[2] if self.name else self.source)
        return not any(mark in bare for mark in "*+?|")

    @property
    def may_be_blank(self) -> bool:
        """Whether white space may be among what it takes."""
        return self.repeats is not None or _NEVER_BLANK.fullmatch(self.source) is None


def _linear_regex(parts: list[_Part]) -> str:
    """A regular expression with trollsift's meaning that does not try the same thing over and over.

    Five free fields against a name of a hundred separators would take seconds. But where a free field and the text of fixed
    length behind it are followed by another free field, the first place where they fit is as good as any later one, since the
    next field can take what lies between: so such groups are made atomic.
    """
    pieces = _pieces(parts)
    repeated = frozenset(piece.repeats for piece in pieces if piece.repeats)
    result, start = "", 0
    while start < len(pieces):
        end = start + 1
        while pieces[start].free and end < len(pieces) and not pieces[end].free and pieces[end].is_fixed:
            end += 1
        group = "".join(piece.source for piece in pieces[start:end])
        result += f"(?>{group})" if _first_fit_is_enough(pieces, start, end, repeated) else group
        start = end
    return result


def _first_fit_is_enough(pieces: list[_Piece], start: int, end: int, repeated: frozenset[str]) -> bool:
    group, following = pieces[start:end], pieces[end].free if end < len(pieces) else None
    if following is None or group[0].free is None or any(piece.name in repeated for piece in group):
        return False
    return following == "." or (group[0].free == following and not any(piece.may_be_blank for piece in group[1:]))


def _pieces(parts: list[_Part]) -> list[_Piece]:
    pieces: list[_Piece] = []
    specs: dict[str, str] = {}
    for part in parts:
        if part.literal:
            pieces.append(_Piece(re.escape(part.literal)))
        if part.name is not None:
            pieces.append(_field_piece(part, part.name, specs))
    return pieces


def _field_piece(part: _Part, name: str, specs: dict[str, str]) -> _Piece:
    if part.conversion is not None:
        raise ValueError(f"field {name!r} has a conversion, which only works for composing")
    if not name.isidentifier():
        raise ValueError(f"field {name!r} needs a name of letters, digits and underscores")
    if name not in specs:
        specs[name] = part.spec
        return _Piece(str(regex_format(part.text)), name)
    if specs[name] != part.spec:
        raise ValueError(f"field {name!r} appears with two formats, which only works for composing")
    return _Piece(f"(?P={name})", repeats=name)


def _converter(spec: str) -> Callable[[str], Any] | None:
    """What makes a value of the text of a field; None where the text is the value."""
    if _PLAIN_TEXT.fullmatch(spec):
        return None
    if "%" in spec:
        return lambda text: datetime.strptime(text, spec)
    if _PLAIN_NUMBER.fullmatch(spec):
        return lambda text: int(text or "0")
    parser = trollsift.Parser(f"{{value:{spec}}}")
    return lambda text: parser.parse(text)["value"]
