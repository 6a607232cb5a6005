"""YAML syntax to a mapping with line numbers, without YAML's traps.

A key given twice is warned of, and the last counts, as for other readers of YAML. `on:` and `no:` are keys of that name, not
booleans. `0755` has to be quoted, because readers disagree about it. Dates and times of day stay text. Objects of programs are
not made.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import yaml

from trollmoves.config.text import Problem, in_order, read_text
from trollmoves.errors import ConfigurationError

Path = tuple[Any, ...]
"""The keys and list positions that lead to a value."""
LARGEST = 100_000
"""Values of one file, aliases counted each time."""
_TAG = "tag:yaml.org,2002:"
_OCTAL = "!octal"
_ALLOWED = frozenset(_TAG + name for name in ("str", "int", "float", "bool", "null", "map", "seq"))


class Loaded(NamedTuple):
    """What a file says."""

    values: dict[str, Any]
    lines: dict[Path, int]
    """On which line each value's key stands."""
    warnings: tuple[Problem, ...]


class _Loader(yaml.SafeLoader):
    """Safe, and takes fewer words for something else than text."""

    yaml_implicit_resolvers = {}  # the class's own, so that the parent's are not changed


for _tag, _pattern, _first in (
        (_TAG + "bool", r"(?i:true|false|yes|no|on|off)", "tTfFyYnNoO"),
        (_TAG + "null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
        (_TAG + "int", r"[-+]?(0|[1-9][0-9]*)|0x[0-9a-fA-F]+", "-+0123456789"),
        (_OCTAL, r"[-+]?0[0-9]+|0o[0-7]+", "-+0"),
        (_TAG + "float", r"[-+]?(\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
         "-+.0123456789"),
        (_TAG + "merge", "<<", "<")):
    _Loader.add_implicit_resolver(_tag, re.compile(rf"^(?:{_pattern})$"), list(_first))


def load(path: str | os.PathLike[str]) -> Loaded:
    """Read a file. Raises `ConfigurationError` with every problem found."""
    shown = os.fspath(path)
    loader = _Loader(_checked_characters(shown, read_text(path)))
    try:
        root = loader.get_single_node()
        if not isinstance(root, yaml.MappingNode):
            what = "is empty" if root is None else "does not hold a mapping; write lines like name: value"
            raise ConfigurationError(str(Problem(shown, 0, what)))
        walk = _Walk(shown, loader)
        problems = list(walk.look_at(root, ()))
        if problems:
            raise ConfigurationError([str(problem) for problem in in_order(problems)])
        return Loaded(loader.construct_document(root), walk.lines, in_order(walk.warnings))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise ConfigurationError(str(Problem(shown, mark.line + 1 if mark else 0, error.problem or "is no YAML"))) from None
    except RecursionError:
        raise ConfigurationError(str(Problem(shown, 0, "is nested too deeply"))) from None
    finally:
        loader.dispose()


def _checked_characters(path: str, text: str) -> str:
    match = yaml.reader.Reader.NON_PRINTABLE.search(text)
    if match:
        line = text.count("\n", 0, match.start()) + 1
        raise ConfigurationError(str(Problem(path, line, f"character {ascii(match[0])} is not allowed in YAML")))
    return text


class _Walk:
    """A look at every node before anything is made of it: notes the lines and what is to be warned of, yields the problems."""

    def __init__(self, path: str, loader: _Loader):
        self.lines: dict[Path, int] = {}
        self.warnings: list[Problem] = []
        self._path = path
        self._loader = loader
        self._left = LARGEST
        self._around: list[yaml.Node] = []

    def look_at(self, node: yaml.Node, at: Path) -> Iterator[Problem]:
        self._left -= 1
        if any(node is outer for outer in self._around) or self._left < 0:
            yield self._problem(node, at, "holds itself" if self._left >= 0 else f"is more than the {LARGEST} values allowed")
            return
        self._around.append(node)
        if node.tag == _OCTAL:
            yield self._problem(node, at, "may mean an octal number; write it in quotes for text, or leave the leading 0 out")
        elif node.tag not in _ALLOWED or not self._can_be_made(node):
            yield self._problem(node, at, f"has the tag {node.tag}, which is not allowed here")
        elif isinstance(node, yaml.MappingNode):
            yield from self._look_at_mapping(node, at)
        elif isinstance(node, yaml.SequenceNode):
            for index, item in enumerate(node.value):
                self.lines.setdefault((*at, index), item.start_mark.line + 1)
                yield from self.look_at(item, (*at, index))
        self._around.pop()

    def _look_at_mapping(self, node: yaml.MappingNode, at: Path) -> Iterator[Problem]:
        merged = [value for key, value in node.value if key.tag == _TAG + "merge"]
        first: dict[Any, int] = {}
        for key, value in node.value:
            if key.tag == _TAG + "merge":
                continue
            if key.tag in (_TAG + "bool", _OCTAL):
                key.tag = _TAG + "str"
            if not isinstance(key, yaml.ScalarNode) or key.tag not in _ALLOWED or not self._can_be_made(key):
                yield self._problem(key, at, "has a key that is no plain word")
                continue
            name = self._loader.construct_object(key)
            line = key.start_mark.line + 1
            if name in first:
                text = f"is written twice, first on line {first[name]}; the last counts, keep one"
                self.warnings.append(self._problem(key, (*at, name), text))
                self._forget((*at, name))
            first.setdefault(name, line)
            self.lines.setdefault((*at, name), line)
            yield from self.look_at(value, (*at, name))
        for value in merged:  # last, because what stands in the mapping itself goes before
            for item in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                yield from self.look_at(item, at)

    def _forget(self, at: Path) -> None:
        """What stood there has been replaced."""
        self.lines = {place: line for place, line in self.lines.items() if place[:len(at)] != at}

    def _can_be_made(self, node: yaml.Node) -> bool:
        try:
            if isinstance(node, yaml.ScalarNode):
                self._loader.construct_object(node)
            return True
        except (ValueError, KeyError):  # such as !!int of a word
            return False

    def _problem(self, node: yaml.Node, at: Path, text: str) -> Problem:
        return Problem(self._path, node.start_mark.line + 1, text, option=".".join(map(str, at)) or None)
