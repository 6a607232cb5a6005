"""What one may write in `expect`, and what is said of mistakes."""

from __future__ import annotations

import re

import pytest

from tests.unit.config.conftest import Write
from trollmoves.config.expectations import Count, Set, plain, read_expectations
from trollmoves.config.reading import read_mirror_config, read_server_config


def one(text: str) -> Count | Set:
    (found,) = read_expectations(text)
    return found


@pytest.mark.parametrize(("text", "number", "period", "within"), [
    ("96 per hour", 96, 3600, 360), ("1 per day", 1, 86400, 8640), ("4 per 15m within 2m", 4, 900, 120),
    ("  10   per  minute ", 10, 60, 10)])
def test_a_number_in_a_period(text: str, number: int, period: float, within: float) -> None:
    found = one(text)
    assert isinstance(found, Count)
    assert (found.number, found.period, found.within) == (number, period, within)


def test_files_of_a_nominal_time() -> None:
    found = one("segment 1-8 within 12m of start_time every 15m")
    assert isinstance(found, Set)
    assert (found.fields, found.within, found.time_field, found.every) == (("segment",), 720, "start_time", 900)
    assert found.items == tuple((str(number),) for number in range(1, 9))


def test_values_are_combined_and_listed_once() -> None:
    found = one("channel VIS006, IR_108 and segment 1-2,2,PRO within 12m of nominal")
    assert isinstance(found, Set)
    assert found.items == tuple((channel, segment) for channel in ("VIS006", "IR_108") for segment in ("1", "2", "PRO"))
    assert found.number == 6
    assert found.is_item(("IR_108", "PRO"))
    assert not found.is_item(("IR_108", "EPI"))


def test_a_number_of_files_of_a_nominal_time() -> None:
    found = one("8 within 720 of start_time")
    assert isinstance(found, Set)
    assert (found.fields, found.number, found.every) == ((), 8, None)


def test_several_statements() -> None:
    assert [type(found) for found in read_expectations("96 per hour; 8 within 12m of time;")] == [Count, Set]


@pytest.mark.parametrize(("text", "complaint"), [
    ("", "expects nothing"), (" ; ", "expects nothing"), ("96", "ends where `within` should stand"),
    ("96 per", "ends where a period"), ("96 per fortnight", "'fortnight' where a period"), ("0 per hour", "'0' where a number"),
    ("96 per hour at most", "'at' behind its end"), ("96 per hour within soon", "'soon' where a time"),
    ("segment", "ends where values of segment"), ("segment 1-8", "ends where `within`"),
    ("segment 8-1 within 12m of time", "range 8-1"), ("segment 0-99999 within 12m of time", "range 0-99999"),
    ("a 1-200 and b 1-200 within 1m of t", "expects 40000 files"), ("segment 1,,2 within 12m of time", "empty value"),
    ("segment 1-8 after 12m of time", "'after' where `within`"), ("segment 1-8 within 12m of", "ends where the name of a field"),
    ("segment 1-8 within 12x of time", "'12x' where a time"), ("within 12m of time", "'within' where the name of a field"),
    ("1 per hour; 1  per hour", "says the same twice")])
def test_mistakes_are_explained(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=re.escape(complaint)):
        read_expectations(text)


def test_all_mistakes_are_named() -> None:
    with pytest.raises(ValueError, match="ends where `within`.*; has 'soon' where a time.*; write for example"):
        read_expectations("segment 1-8; 96 per hour; 4 per hour within soon")


FILE = "[s]\ntopic = /t\nrequest_port = 9094\norigin = /in/{segment:1d}_{time:%H%M}.nc\ninfo = sensor=a\nexpect = "


def test_fields_that_no_file_has_are_told(write: Write) -> None:
    path = write(FILE + "segmnt 1-8 and sensor a within 12m of start; 4 per hour; 2 within 1h of uid")
    assert [text.partition("expect: ")[2] for text in read_server_config(path).warnings] == [
        "speaks of 'segmnt', which is neither a field of origin nor in info (did you mean 'segment'?): no file has it",
        "speaks of 'start', which is neither a field of origin nor in info: no file has it"]
    assert read_server_config(write(FILE + "segment 1-8 and sensor a within 12m of time")).warnings == ()


def test_a_field_that_is_no_time_is_told(write: Write) -> None:
    path = write(FILE + "2 within 12m of segment; 2 within 12m of time")
    assert [text.partition("expect: ")[2] for text in read_server_config(path).warnings] == [
        "takes 'segment' for a time, which origin does not read as one: it is one only where names have it as "
        "2026-01-31T12:00:00; write its format there, as in {segment:%Y%m%d%H%M}"]


@pytest.mark.parametrize("text", ["listen = /heard\n", "providers = h:9010\ndestination = /d/\n"])
def test_of_what_others_announce_no_fields_are_known(write: Write, text: str) -> None:
    read = read_mirror_config if "providers" in text else read_server_config
    path = write(f"[s]\ntopic = /t\nrequest_port = 9094\norigin = /in/{{a}}.nc\nexpect = b 1-8 within 12m of c\n{text}")
    assert read(path).warnings == ()


@pytest.mark.parametrize(("value", "text"), [(1, "1"), ("001", "1"), ("1", "1"), ("PRO", "PRO"), ("1.5", "1.5"), (None, "None")])
def test_numbers_are_compared_as_numbers(value: object, text: str) -> None:
    assert plain(value) == text
