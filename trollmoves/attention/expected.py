"""Whether what a section expects has come: decided from what came and the time, without a clock or a journal of its own."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

from trollmoves.config.expectations import Count, Item, Set, plain
from trollmoves.messages import identity_of, moment

KEPT = 86400.0
"""Seconds after its deadline for which the rest of a product is waited for."""
MOST_TIMES = 2000
"""Nominal times that are followed at once."""
BUCKETS = 100
CALM = 15.0
"""Seconds after a start in which nothing new is called late, at least: what came meanwhile is only being taken in."""
SHOWN = 10


class Late(NamedTuple):
    """Something did not come in time."""

    about: str
    text: str
    again: bool = False
    """It was said before, perhaps in other words."""


class InTime(NamedTuple):
    """What was late is not any more, or nobody waits for it any more."""

    about: str
    text: str


Verdict = Late | InTime


class Counting:
    """Follows one `96 per hour`."""

    def __init__(self, count: Count, since: float):
        """*since* is when it was first expected."""
        self.expectation = count
        self.window = count.period + count.within
        self.calm = max(count.within, CALM)
        self._since = since
        self._width = self.window / BUCKETS
        self._buckets: deque[list[float]] = deque()
        """Beginning, and number of files."""
        self._late = False

    def reaches_back(self) -> float:
        """How many seconds of history matter."""
        return self.window

    def came(self, fields: Mapping[str, Any], when: float) -> None:
        begin = when - when % self._width
        if self._buckets and self._buckets[-1][0] >= begin:
            self._buckets[-1][1] += 1
        else:
            self._buckets.append([begin, 1.0])

    def lacks(self, fields: Mapping[str, Any]) -> str:
        """What a file lacks to be looked at."""
        return ""

    def clock_leapt(self, seconds: float) -> None:
        """The clock was set: how long ago something came is what it was."""
        self._since += seconds
        for bucket in self._buckets:
            bucket[0] += seconds

    def known(self, abouts: Mapping[str, bool]) -> None:
        """What an earlier process said: by what alarms were about, whether they are open."""
        self._late = abouts.get(self.expectation.text, False)

    def judge(self, now: float) -> Iterator[Verdict]:
        while self._buckets and self._buckets[0][0] + self._width <= now - self.window:
            self._buckets.popleft()
        number, about = int(sum(many for _, many in self._buckets)), self.expectation.text
        if number >= self.expectation.number:
            if self._late:
                self._late = False
                yield InTime(about, f"{number} files came in {span(self.window)}")
        elif not self._late and now - self._since >= self.window:
            self._late = True
            yield Late(about, f"expected {about}: only {number} files came in the last {span(self.window)}")


@dataclass(slots=True)
class Product:
    """The files of one nominal time."""

    deadline: float
    seen: set[Item] = field(default_factory=set)
    """What came of the items; where only the number counts, the identities: a file may come again, with other content."""
    said: str = ""
    """What was said to be missing."""


class Assembling:
    """Follows one `segment 1-8 within 12m of start_time`."""

    def __init__(self, expected: Set, since: float):
        self.expectation = expected
        self.calm = max(expected.within, CALM)
        self._since = since
        self._products: dict[float, Product] = {}
        self._next = math.ceil(since / expected.every) * expected.every if expected.every else math.inf
        """The next nominal time of which nothing may have come."""
        self._told: dict[float, bool] = {}
        """Nominal times of which an earlier process said that they are late, and whether that alarm is open."""

    def reaches_back(self) -> float:
        return KEPT + self.expectation.within

    def clock_leapt(self, seconds: float) -> None:
        """The clock was set: nominal times are those of the world, and stay."""

    def came(self, fields: Mapping[str, Any], when: float) -> None:
        nominal = self._nominal(fields)
        if nominal is None or nominal < self._since - (self.expectation.every or 0.0):
            return
        product = self._product(nominal)
        item = tuple(plain(fields.get(name, "")) for name in self.expectation.fields)
        if not self.expectation.fields:
            if len(product.seen) < self.expectation.number:
                product.seen.add((identity_of(fields),))
        elif self.expectation.is_item(item):
            product.seen.add(item)

    def lacks(self, fields: Mapping[str, Any]) -> str:
        """What a file lacks to be looked at."""
        return "" if self._nominal(fields) is not None else f"a time in {self.expectation.time_field!r}"

    def _product(self, nominal: float) -> Product:
        found = self._products.get(nominal)
        if found is None:
            found = self._products[nominal] = Product(nominal + self.expectation.within)
            if len(self._products) > MOST_TIMES:
                self._products.pop(min(self._products))
        return found

    def _nominal(self, fields: Mapping[str, Any]) -> float | None:
        when = moment(fields.get(self.expectation.time_field))
        if not isinstance(when, datetime):
            return None
        seconds = (when if when.tzinfo is not None else when.replace(tzinfo=UTC)).timestamp()
        return seconds - seconds % self.expectation.every if self.expectation.every else seconds

    def known(self, abouts: Mapping[str, bool]) -> None:
        for about, is_open in abouts.items():
            text, _, stamp = about.rpartition(" of ")
            when = moment(stamp)
            if text == self.expectation.text and isinstance(when, datetime):
                self._told[when.timestamp()] = is_open
                self._product(when.timestamp())

    def judge(self, now: float) -> Iterator[Verdict]:
        self._expect_empty_ones(now)
        for nominal, product in sorted(self._products.items()):
            about = f"{self.expectation.text} of {_stamp(nominal)}"
            missing = self._missing(product)
            was_open = bool(product.said) or self._told.get(nominal, False)
            if not missing:
                if was_open:
                    yield InTime(about, f"it is complete, {span(max(0.0, now - product.deadline))} late")
                product.said = ""
                self._told.pop(nominal, None)
            elif now > product.deadline + KEPT:
                if was_open:
                    yield InTime(about, f"not waited for any longer; never came: {missing}")
            elif now >= product.deadline and missing != product.said:
                again, product.said = bool(product.said) or nominal in self._told, missing
                yield Late(about, f"of {_stamp(nominal)} is missing: {missing} (expected {self.expectation.text})", again)
        for nominal in [nominal for nominal, product in self._products.items() if now > product.deadline + KEPT]:
            del self._products[nominal]
            self._told.pop(nominal, None)

    def _expect_empty_ones(self, now: float) -> None:
        """Products of which nothing may have come, because there is one every so many minutes."""
        every = self.expectation.every
        if every is None:
            return
        self._next = max(self._next, math.ceil((now - KEPT) / every) * every)
        while self._next + self.expectation.within <= now:
            self._product(self._next)
            self._next += every

    def _missing(self, product: Product) -> str:
        """What is missing, in words; empty when nothing is."""
        if not self.expectation.fields:
            short = self.expectation.number - len(product.seen)
            return f"{short} of {self.expectation.number} files" if short > 0 else ""
        items = [item for item in self.expectation.items if item not in product.seen]
        if not items:
            return ""
        if len(items) == len(self.expectation.items):
            return "everything"
        if len(self.expectation.fields) == 1:
            return f"{self.expectation.fields[0]} {_listed([item[0] for item in items])}"
        return _listed([" ".join(f"{name} {value}" for name, value in zip(self.expectation.fields, item, strict=True))
                        for item in items])


Following = Counting | Assembling


def following(expectation: Count | Set, since: float) -> Following:
    """What follows *expectation*."""
    return Counting(expectation, since) if isinstance(expectation, Count) else Assembling(expectation, since)


def _listed(values: list[str]) -> str:
    more = f" and {len(values) - SHOWN} more" if len(values) > SHOWN else ""
    return ", ".join(values[:SHOWN]) + more


def _stamp(when: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(when))


def span(seconds: float) -> str:
    """A time as one says it."""
    for unit, name in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.4g} {name}"
    return f"{seconds:.0f} s"
