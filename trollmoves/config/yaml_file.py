"""A YAML file on its way from values to settings: what is wrong with it, and on which line."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from trollmoves.config.hidden import shown
from trollmoves.config.text import Problem, in_order, near
from trollmoves.config.yaml import Path, load

M = TypeVar("M", bound=BaseModel)


class YamlFile:
    """Reads one file. Raises `ConfigurationError` when it is unreadable or is no mapping."""

    def __init__(self, path: str | os.PathLike[str]):
        self.path = os.fspath(path)
        self.values, self._lines, warnings = load(path)
        self._problems: list[Problem] = []
        self._warnings = list(warnings)

    @property
    def problems(self) -> tuple[str, ...]:
        return tuple(map(str, in_order(self._problems)))

    @property
    def warnings(self) -> tuple[str, ...]:
        return tuple(map(str, in_order(self._warnings)))

    @property
    def count(self) -> int:
        """How many problems there are so far."""
        return len(self._problems)

    def _at(self, at: Path, text: str) -> Problem:
        line = next((self._lines[at[:size]] for size in range(len(at), 0, -1) if at[:size] in self._lines), 0)
        return Problem(self.path, line, text, str(at[0]) if at else None, ".".join(map(str, at[1:])) or None)

    def problem(self, at: Path, text: str) -> None:
        self._problems.append(self._at(at, text))

    def warn(self, at: Path, text: str) -> None:
        self._warnings.append(self._at(at, text))

    def known(self, given: Mapping[Any, Any], at: Path, known: tuple[str, ...]) -> dict[str, Any]:
        """The options among *given* that have a value. Others are warned of, as upstream ignores them."""
        for option in given:
            if option not in known:
                self.warn((*at, option), f"is no option here and is ignored{near(str(option), known)}")
        return {option: value for option, value in given.items() if option in known and value is not None}

    def made(self, model: type[M], values: Mapping[str, Any], at: Path, silent: frozenset[str] = frozenset()) -> M | None:
        """*model* of *values*, None after saying what is wrong with them (but for those of *silent* options)."""
        try:
            return model(**values)
        except ValidationError as error:
            for detail in error.errors(include_url=False, include_input=False):
                option = str(detail["loc"][0])
                if option not in silent and detail["type"] != "missing":
                    text = shown(option, values.get(option)) + detail["msg"].removeprefix("Value error, ")
                    self.problem((*at, option), text)
            return None


def plain(value: Any) -> Any:
    """Numbers as one writes them, because that is what the readers of options take; lists as tuples."""
    if isinstance(value, list):
        return tuple(map(plain, value))
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value
