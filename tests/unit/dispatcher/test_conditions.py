"""Conditions are tables: what a configuration says, what a message has, and whether it is wanted."""

from __future__ import annotations

from typing import Any

import pytest

from trollmoves.dispatcher.conditions import decide, read_conditions, suspicious

FIELDS: dict[str, Any] = {
    "product": "green_snow", "sensor": "viirs", "sensors": ["viirs", "modis"], "platform_name": "NOAA-15", "daylight": 29.5,
    "coverage": "50", "orbit": 123, "start_time": "2024-01-01T12:00:00", "late": "2024-01-01T12:00:00+02:00", "day": "20240101",
    "nothing": None, "nan": float("nan"), "huge": 10**400, "flag": True, "table": {"a": 1}, "odd": "<30", "empty": "",
}

ONE_SET = [
    ({"product": "green_snow"}, True),
    ({"product": "overview"}, False),
    ({"product": ["overview", "green_snow"]}, True),
    ({"product": []}, False),
    ({"product": "green_snow", "sensor": "modis"}, False),
    ({"orbit": 123}, True),
    ({"orbit": "123"}, False),  # types are told apart
    ({"coverage": 50}, False),
    ({"flag": True}, True),
    ({"sensors": "viirs"}, False),
    ({"sensors": [["viirs", "modis"], "x"]}, True),
    ({"sensors": [["modis", "viirs"]]}, False),
    ({"daylight": "<30"}, True),
    ({"daylight": "< 29.5"}, False),
    ({"daylight": "<=29.5"}, True),
    ({"daylight": ">29"}, True),
    ({"daylight": ">=3e1"}, False),
    ({"daylight": ">-5"}, True),
    ({"coverage": "==50.0"}, True),
    ({"coverage": "!=50"}, False),
    ({"coverage": "<50.5"}, True),
    ({"orbit": "!=124"}, True),
    ({"start_time": "2024-01-01 12:00:00"}, True),
    ({"start_time": ">=2024-01-01T12:00:00"}, True),
    ({"start_time": "<2024-01-01T12:00:00"}, False),
    ({"start_time": ">2023-12-31"}, True),
    ({"late": "<2024-01-01T11:00:00"}, True),  # ten o'clock in UTC
    ({"late": "==2024-01-01T10:00:00"}, True),
    ({"day": ">=2024-01-01"}, True),
    ({"platform_name": "!=NOAA-15"}, False),
    ({"platform_name": "==NOAA-15"}, True),
    ({"platform_name": "!= NOAA-19"}, True),
    ({"nan": "<1"}, False),
    ({"nan": ">=1"}, False),
    ({"nan": "!=1"}, True),
    ({"huge": ">1e300"}, True),
    ({"odd": ["<30"]}, True),  # in a list it is a text
    ({"empty": ""}, True),
    ({}, True),
    ({"sensor": "viirs", "except": {"platform_name": "NOAA-15"}}, False),
    ({"sensor": "viirs", "except": {"platform_name": "NOAA-19"}}, True),
    ({"sensor": "viirs", "except": {"platform_name": "NOAA-15", "product": "overview"}}, True),  # only if all of it holds
    ({"sensor": "viirs", "except": {"daylight": "<30"}}, False),
    ({"except": {"platform_name": "NOAA-15", "except": {"product": "green_snow"}}}, True),
]


@pytest.mark.parametrize("conditions, wanted", ONE_SET, ids=str)
def test_one_set(conditions: dict[str, Any], wanted: bool) -> None:
    decision = decide(read_conditions([conditions]), FIELDS)
    assert (decision.accepted, decision.unusable, len(decision.reasons)) == (wanted, (), 1)


@pytest.mark.parametrize("conditions, field", [
    ({"missing": "x"}, "missing"),
    ({"missing": "!=x"}, "missing"),
    ({"sensor": "viirs", "except": {"missing": "x"}}, "missing"),
    ({"sensor": "viirs", "except": {"platform_name": "NOAA-15", "missing": "x"}}, "missing"),
    ({"platform_name": "<30"}, "platform_name"),
    ({"sensors": "<30"}, "sensors"),
    ({"sensors": "!=viirs"}, "sensors"),
    ({"table": "<30"}, "table"),
    ({"nothing": ">0"}, "nothing"),
    ({"sensor": "viirs", "except": {"platform_name": "<30"}}, "platform_name"),
    ({"start_time": "<30"}, "start_time"),
], ids=str)
def test_what_cannot_be_checked_is_not_wanted(conditions: dict[str, Any], field: str) -> None:
    decision = decide(read_conditions([conditions]), FIELDS)
    assert (decision.accepted, decision.unusable) == (False, (field,))
    assert field in decision.reasons[-1]


def test_a_condition_that_fails_before_the_missing_one_decides() -> None:
    decision = decide(read_conditions([{"sensor": "x", "missing": 1}, {"except": {"sensor": "x", "missing": 1}}]), FIELDS)
    assert (decision.accepted, decision.unusable) == (True, ())


def test_one_set_of_several_is_enough_and_the_last_reason_says_which() -> None:
    sets = read_conditions([{"sensor": "x"}, {"lost": 1}, {"product": ["green_snow"]}, {"sensor": "never looked at"}])
    decision = decide(sets, FIELDS)
    assert decision.accepted and decision.unusable == ("lost",)
    assert decision.reasons == ("set 1: sensor is 'viirs', wanted is 'x'", "set 2: lost is missing in the message",
                                "set 3: product is 'green_snow', wanted is 'green_snow'")


def test_no_conditions_and_no_sets() -> None:
    assert decide(None, {}).accepted
    assert not decide((), FIELDS).accepted


@pytest.mark.parametrize("given, complaint", [
    ("viirs", "is no list of sets"), ({"sensor": "viirs"}, "is no list of sets"), (["viirs"], "set 1 is no mapping"),
    ([{"a": 1}, {"a": "<"}], "set 2: a: '<' is no comparison"), ([{"a": "=5"}], "'=5' is no comparison"),
    ([{"a": "<>5"}], "is no comparison"), ([{"a": "!x"}], "is no comparison"),
    ([{"a": "<abc"}], "compares with neither a number nor a date"), ([{"a": ">= __import__('os')"}], "neither a number"),
    ([{"a": "<1 and True"}], "neither a number"), ([{"a": "<nan"}], "neither a number"),
    ([{"except": {}}], "except is empty"), ([{"except": None}], "except is empty"), ([{"except": "x"}], "set 1, except is no"),
    ([{"except": {"a": "<"}}], "set 1, except: a: '<' is no"), ([{"a": {"b": 1}}], "a is a mapping"), ([{"a": None}], "no value"),
    ([{"a": [None]}], "no value"),
])
def test_what_is_no_condition_is_refused(given: object, complaint: str) -> None:
    with pytest.raises(ValueError, match=r".") as error:
        read_conditions(given)
    assert complaint in str(error.value)


def test_what_is_hardly_meant_is_named() -> None:
    assert list(suspicious([{"a": ["<30", "x"], "b": "<30"}])) == [
        "a: '<30' stands in a list, where it is a text to be equal to, no comparison"]
    assert len(list(suspicious([]))) == 1 and not list(suspicious(None))


@pytest.mark.parametrize("value", [None, [], {}, [[]] * 3, "x" * 100_000, "\x00", "<30", "1e400", "9" * 400, -(10**400),
                                   float("inf"), "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "{0.__class__}"],
                         ids=lambda value: repr(value)[:20])
def test_no_value_of_a_message_raises(value: object) -> None:
    for condition in ("<30", ">=2024-01-01", "!=x", "==9999-12-31T23:59:59", "x", 5, ["x", ["y"], 5], "!=20240101"):
        decide(read_conditions([{"a": condition, "except": {"a": condition}}]), {"a": value})
