"""What a section expects, as one writes it in `expect`: a few words for what shall come, and until when.

::

    expect     statement { ";" statement }
    statement  count | set
    count      NUMBER "per" PERIOD [ "within" TIME ]
    set        items "within" TIME "of" FIELD [ "every" TIME ]
    items      NUMBER | FIELD values { "and" FIELD values }
    values     value { "," value }
    value      WORD | NUMBER "-" NUMBER
    PERIOD     "minute" | "hour" | "day" | TIME
    TIME       seconds, or a number with a unit: 90s, 12m, 1h, 1d

`96 per hour`: at least so many files in any hour, some minutes (a tenth, or what `within` says) allowed for.
`segment 1-8 within 12m of start_time`: for each nominal time all segments, so long after it. `every 15m` says that there is
such a time every 15 minutes, so that it is missed also when nothing of it comes.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass, field

from trollmoves.config.values import seconds_of

MOST_ITEMS = 10_000
"""Files expected of one nominal time."""
PERIODS = {"minute": 60.0, "hour": 3600.0, "day": 86400.0}
GRACE = 0.1
"""Of the period of a count: by so much files may be late, if nothing else is said."""
LEAST_GRACE = 10.0
EXAMPLE = "write for example 96 per hour, or segment 1-8 within 12m of start_time"

Item = tuple[str, ...]
"""The values of the fields, as text."""
_TIME = seconds_of(1.0, 366 * 86400.0)
_RANGE = re.compile(r"(\d{1,9})-(\d{1,9})")
_FIELD = re.compile(r"[A-Za-z_]\w*")


@dataclass(frozen=True, slots=True)
class Count:
    """At least *number* files in every period, or so much later."""

    text: str
    number: int
    period: float
    within: float


@dataclass(frozen=True, slots=True)
class Set:
    """Certain files for each nominal time, at the latest *within* seconds after it."""

    text: str
    fields: tuple[str, ...]
    """The fields that tell the files apart; none when only their number counts."""
    items: tuple[Item, ...]
    number: int
    within: float
    time_field: str
    every: float | None
    _known: frozenset[Item] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_known", frozenset(self.items))

    def is_item(self, item: Item) -> bool:
        """Whether that is one of the expected ones."""
        return item in self._known


Expectation = Count | Set


def read_expectations(text: str) -> tuple[Expectation, ...]:
    """The statements in *text*. Raises `ValueError` that says of each wrong one which word is wrong, and what to write."""
    statements = [part.strip() for part in text.split(";") if part.strip()]
    if not statements:
        raise ValueError(f"expects nothing; {EXAMPLE}")
    found: list[Expectation] = []
    complaints: list[str] = []
    for statement in statements:
        try:
            found.append(_Words(statement).read())
        except ValueError as error:
            complaints.append(str(error))
    if complaints:
        raise ValueError(f"{'; '.join(complaints)}; {EXAMPLE}")
    if len({one.text for one in found}) < len(found):
        raise ValueError("says the same twice; keep one")
    return tuple(found)


def fields_in(expectations: tuple[Expectation, ...]) -> tuple[str, ...]:
    """The fields of messages that they speak of, each once."""
    sets = [one for one in expectations if isinstance(one, Set)]
    return tuple(dict.fromkeys(name for one in sets for name in (*one.fields, one.time_field)))


def expectations(value: object) -> object:
    """The option `expect`; nothing for an empty text. What is none any more stays as it is."""
    return read_expectations(value) if isinstance(value, str) else value


def plain(value: object) -> str:
    """A value of a message as expectations compare it: `001`, `1` and 1 are one."""
    text = str(value)
    return str(int(text)) if re.fullmatch(r"\d{1,15}", text, re.ASCII) else text


class _Words:
    """One statement on its way from words to values."""

    def __init__(self, statement: str):
        self._text = " ".join(statement.split())
        self._words = re.sub(r"\s*,\s*", ",", self._text).split()
        self._next = 0

    def read(self) -> Expectation:
        first = self._peek()
        if first.isdigit() and self._peek(1) == "per":
            return self._count()
        return self._set()

    def _count(self) -> Count:
        number = self._number()
        self._take("per")
        word = self._peek()
        period = PERIODS[self._word("a period")] if word in PERIODS else self._time("a period like hour or 15m")
        within = self._time("a time like 5m") if self._have("within") else max(LEAST_GRACE, GRACE * period)
        self._end()
        return Count(self._text, number, period, within)

    def _set(self) -> Set:
        fields: tuple[str, ...] = ()
        values: list[list[str]] = []
        if self._peek().isdigit():
            number = self._number()
        else:
            while not fields or self._have("and"):
                fields += (self._field(),)
                values.append(self._values(fields[-1]))
            number = 1
            for some in values:
                number *= len(some)
            if number > MOST_ITEMS:
                raise self._complaint(f"expects {number} files of one time; {MOST_ITEMS} are the most")
        items = tuple(itertools.product(*values)) if fields else ()
        self._take("within")
        within = self._time("a time like 12m")
        self._take("of")
        time_field = self._field()
        every = self._time("a time like 15m") if self._have("every") else None
        self._end()
        return Set(self._text, fields, items, number, within, time_field, every)

    def _values(self, name: str) -> list[str]:
        found: dict[str, None] = {}
        for value in self._word(f"values of {name}, like 1-8 or a,b").split(","):
            match = _RANGE.fullmatch(value)
            if not match:
                if not value:
                    raise self._complaint(f"has an empty value of {name}")
                found[plain(value)] = None
                continue
            low, high = int(match[1]), int(match[2])
            if low > high or high - low >= MOST_ITEMS:
                raise self._complaint(f"has the range {value}, which is empty or too long")
            found |= dict.fromkeys(map(str, range(low, high + 1)))
        return list(found)

    # Words.

    def _peek(self, ahead: int = 0) -> str:
        position = self._next + ahead
        return self._words[position] if position < len(self._words) else ""

    def _word(self, what: str) -> str:
        word = self._peek()
        if not word:
            raise self._complaint(f"ends where {what} should stand")
        self._next += 1
        return word

    def _have(self, word: str) -> bool:
        if self._peek() != word:
            return False
        self._next += 1
        return True

    def _take(self, word: str) -> None:
        found = self._word(f"`{word}`")
        if found != word:
            raise self._complaint(f"has {found[:40]!r} where `{word}` should stand")

    def _number(self) -> int:
        word = self._word("a number")
        if not re.fullmatch(r"\d{1,7}", word, re.ASCII) or not int(word):
            raise self._complaint(f"has {word[:40]!r} where a number from 1 to 9999999 should stand")
        return int(word)

    def _time(self, what: str) -> float:
        word = self._word(what)
        try:
            return float(_TIME(word))
        except ValueError:
            raise self._complaint(f"has {word[:40]!r} where {what} should stand") from None

    def _field(self) -> str:
        word = self._word("the name of a field")
        if not _FIELD.fullmatch(word) or word in ("within", "of", "and", "every", "per"):
            raise self._complaint(f"has {word[:40]!r} where the name of a field should stand")
        return word

    def _end(self) -> None:
        if self._peek():
            raise self._complaint(f"has {self._peek()[:40]!r} behind its end")

    def _complaint(self, what: str) -> ValueError:
        return ValueError(f"{what} ({self._text[:80]!r})")
