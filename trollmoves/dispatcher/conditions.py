"""Conditions: which messages a target wants. Read once, by a parser; what a message contains can only make one hold or not.

`conditions` is a list of sets. One set that holds is enough; in a set every condition has to. A condition is a value that must be
equal, a list of values of which one must be, a comparison (`<30`, `>=2024-01-01`, `!=NOAA-15`), or `except`: a set that must not
hold. A field that the message lacks, or that cannot be compared, makes the set not hold, also within `except`.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from trollmoves.messages import moment

EXCEPT = "except"
_MARKS = "<>=!"
_COMPARISON = re.compile(r"(==|!=|<=|>=|<|>)\s*(.*\S)\s*", re.DOTALL)
_NUMBER = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?|[-+]?inf", re.ASCII)
_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
_SHOWN = 60


class Verdict(NamedTuple):
    """Whether a condition holds for a message, and why."""

    holds: bool
    text: str


class Unusable(Exception):
    """A message lacks a field, or has something in it that cannot be compared."""

    def __init__(self, field: str, text: str):
        self.field = field
        super().__init__(text)


@dataclass(frozen=True, slots=True)
class Equals:
    """The field has this value (or, of several, one of these)."""

    field: str
    choices: tuple[Any, ...]

    def judge(self, fields: Mapping[str, Any]) -> Verdict:
        value = _value(fields, self.field)
        wanted = " or ".join(map(_shown, self.choices)) or "nothing"
        holds = any(_same(choice, value) for choice in self.choices)
        return Verdict(holds, f"{self.field} is {_shown(value)}, wanted is {wanted}")


@dataclass(frozen=True, slots=True)
class Compares:
    """The field compares like this with a number, with a date, or (for equality only) with a text."""

    field: str
    sign: str
    text: str

    def judge(self, fields: Mapping[str, Any]) -> Verdict:
        value = _value(fields, self.field)
        left, right = self._sides(value)
        return Verdict(_OPERATORS[self.sign](left, right), f"{self.field} is {_shown(value)}, wanted is {self.sign}{self.text}")

    def _sides(self, value: Any) -> tuple[Any, Any]:
        """Both sides as numbers or as dates, as they allow. Raises `Unusable`."""
        number, date = _as_number(value), _as_date(value)
        ours, our_date = _as_number(self.text), _as_date(self.text)
        if number is not None and ours is not None:
            return number, ours
        if date is not None and our_date is not None:
            return date, our_date
        if self.sign in ("==", "!=") and not isinstance(value, list | dict):
            return str(value), self.text
        raise Unusable(self.field, f"{self.field} is {_shown(value)}, which cannot be compared with {self.text}")


@dataclass(frozen=True, slots=True)
class Except:
    """A set that must not hold."""

    excluded: ConditionSet

    def judge(self, fields: Mapping[str, Any]) -> Verdict:
        found = self.excluded.judge(fields)
        return Verdict(not found.holds, f"excepted: {found.text}" if found.holds else f"not excepted: {found.text}")


@dataclass(frozen=True, slots=True)
class ConditionSet:
    """Conditions that must all hold."""

    conditions: tuple[Equals | Compares | Except, ...]

    def judge(self, fields: Mapping[str, Any]) -> Verdict:
        """Raises `Unusable` when that cannot be told."""
        texts = []
        for condition in self.conditions:
            verdict = condition.judge(fields)
            if not verdict.holds:
                return verdict
            texts.append(verdict.text)
        return Verdict(True, "; ".join(texts) or "no condition")


class Decision(NamedTuple):
    """What the sets of a dispatch item say of a message."""

    accepted: bool
    reasons: tuple[str, ...]
    """A line for each set that was looked at, the last one being what decided."""
    unusable: tuple[str, ...]
    """Fields that were needed and are missing, or cannot be compared."""


def decide(sets: Sequence[ConditionSet] | None, fields: Mapping[str, Any]) -> Decision:
    """Whether a message with *fields* is wanted; no sets at all (None) want everything. Never raises."""
    if sets is None:
        return Decision(True, ("there are no conditions",), ())
    reasons, unusable = [], []
    for number, conditions in enumerate(sets, 1):
        try:
            verdict = conditions.judge(fields)
        except Unusable as error:
            unusable.append(error.field)
            verdict = Verdict(False, str(error))
        reasons.append(f"set {number}: {verdict.text}")
        if verdict.holds:
            return Decision(True, tuple(reasons), tuple(unusable))
    return Decision(False, tuple(reasons) or ("the list of conditions is empty",), tuple(unusable))


# Reading.


def read_conditions(given: Any) -> tuple[ConditionSet, ...]:
    """The sets that a configuration gives. Raises `ValueError` saying what is wrong and what to write."""
    if not isinstance(given, list):
        raise ValueError("is no list of sets; begin each set with a dash, as in `- sensor: viirs`")
    return tuple(_read_set(item, f"set {number}") for number, item in enumerate(given, 1))


def _read_set(given: Any, where: str) -> ConditionSet:
    if not isinstance(given, dict):
        raise ValueError(f"{where} is no mapping of fields to values; write for example `- sensor: viirs`")
    return ConditionSet(tuple(_read_condition(str(field), value, where) for field, value in given.items()))


def _read_condition(field: str, value: Any, where: str) -> Equals | Compares | Except:
    if field == EXCEPT:
        if not value:
            raise ValueError(f"{where}: except is empty; name what is to be left out")
        return Except(_read_set(value, f"{where}, except"))
    if isinstance(value, list):
        return Equals(field, tuple(_checked(item, field, where) for item in value))
    if isinstance(value, str) and value[:1] and value[0] in _MARKS:
        return _read_comparison(field, value, where)
    return Equals(field, (_checked(value, field, where),))


def _checked(value: Any, field: str, where: str) -> Any:
    """A value a field can be equal to; lists are frozen."""
    if isinstance(value, dict):
        raise ValueError(f"{where}: {field} is a mapping; write a value, a list of values, or a comparison like '<30'")
    if value is None:
        raise ValueError(f"{where}: {field} has no value; write one, or leave the line out")
    return tuple(_checked(item, field, where) for item in value) if isinstance(value, list) else value


def _read_comparison(field: str, text: str, where: str) -> Compares:
    match = _COMPARISON.fullmatch(text)
    if match is None or match[2][0] in _MARKS:
        raise ValueError(f"{where}: {field}: {text!r} is no comparison; write ==, !=, <, >, <= or >= and a value, as in '<30'")
    sign, value = match[1], match[2]
    if sign not in ("==", "!=") and _as_number(value) is None and _as_date(value) is None:
        raise ValueError(f"{where}: {field}: {text!r} compares with neither a number nor a date; write for example '<30' or "
                         "'>=2024-01-01T12:00:00'")
    return Compares(field, sign, value)


def suspicious(given: Any) -> Iterable[str]:
    """What is allowed in *given* (as `read_conditions` takes it) and hardly meant."""
    if given == []:
        yield "is an empty list, so nothing is ever dispatched; leave it out to dispatch everything"
    for item in given if isinstance(given, list) else []:
        for field, value in item.items() if isinstance(item, dict) else []:
            texts = [text for text in value if isinstance(text, str)] if isinstance(value, list) else []
            for text in texts:
                if _COMPARISON.fullmatch(text):
                    yield f"{field}: {text!r} stands in a list, where it is a text to be equal to, no comparison"


# Values.


def _value(fields: Mapping[str, Any], field: str) -> Any:
    if field not in fields:
        raise Unusable(field, f"{field} is missing in the message")
    return fields[field]


def _same(wanted: Any, value: Any) -> bool:
    if isinstance(wanted, tuple):
        return isinstance(value, list) and len(wanted) == len(value) and all(map(_same, wanted, value))
    if isinstance(wanted, str) and isinstance(value, str) and wanted != value:
        date = _as_date(wanted)
        return date is not None and date == _as_date(value)
    return bool(wanted == value)


def _as_number(value: Any) -> float | None:
    if isinstance(value, str):
        return float(value) if len(value) <= _SHOWN and _NUMBER.fullmatch(value.strip()) else None
    if not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _as_date(value: Any) -> datetime | None:
    """A date, in UTC unless it says otherwise."""
    found = moment(value) if isinstance(value, str) and 8 <= len(value) <= _SHOWN else None
    if not isinstance(found, datetime):
        return None
    try:
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except OverflowError:
        return None


def _shown(value: Any) -> str:
    text = repr(list(value) if isinstance(value, tuple) else value)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."
