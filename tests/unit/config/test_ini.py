from __future__ import annotations

import configparser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.config.conftest import Write
from trollmoves.config import ini
from trollmoves.errors import ConfigurationError


def test_every_option_knows_its_line_and_section(write: Write) -> None:
    file = ini.load(write("# first\n[DEFAULT]\nc = 3\n\n[A]\nOne : 1\ntwo=2\n  more\n; x\nd = 4\n[b]\n"))
    assert file.lines == {"DEFAULT": 2, "A": 5, "b": 11}
    assert list(file.sections) == ["A", "b"]
    assert file.sections["A"]["one"] == ini.Entry("1", 6, "A")
    assert file.sections["A"]["two"] == ini.Entry("2\nmore", 7, "A")
    assert file.sections["A"]["d"] == ini.Entry("4", 10, "A")
    assert file.sections["A"]["c"] == file.sections["b"]["c"] == ini.Entry("3", 3, "DEFAULT")
    assert (file.problems, file.broken, file.unreadable) == ((), frozenset(), False)


def test_all_repetitions_are_reported(write: Write) -> None:
    path = write("[a]\nx = 1\nX = 2\ny = 1\nx = 3\n[b]\nz = 1\n[a]\ny = 2\n[c]\nq = 1\n")
    file = ini.load(path)
    assert [str(problem) for problem in file.problems] == [
        f"{path}:3: [a] x: is written twice, first on line 2; keep one",
        f"{path}:5: [a] x: is written twice, first on line 2; keep one",
        f"{path}:8: [a] is written twice, first on line 1; keep one",
        f"{path}:9: [a] y: is written twice, first on line 4; keep one"]
    assert file.broken == {"a"}


def test_a_repetition_in_default_breaks_every_section(write: Write) -> None:
    assert ini.load(write("[DEFAULT]\nx = 1\nx = 2\n[a]\n[b]\n")).broken == {"a", "b"}


def test_lines_that_mean_nothing_are_all_reported_and_never_shown(write: Write) -> None:
    file = ini.load(write("hunter2\n# fine\n[a]\nx = 1\nhunter3\n[b\n= 4\n[c]\n"))
    assert file.unreadable
    assert [problem.line for problem in file.problems] == [1, 5, 6, 7]
    assert "hunter" not in "".join(map(str, file.problems))
    assert list(file.sections) == ["a", "c"]


@pytest.mark.parametrize("data, expected", [
    (b"", "has no sections"),
    (b"# only a comment\n", "has no sections"),
    (b"[DEFAULT]\nx = 1\n", "has no sections"),
    (b"x = 1\n", ":1: stands before the first section; begin"),
    (b"\nx:\n# fine\n  y: 1\n  z: 2\n", ":2: stands before the first section, as do 2 lines more; begin"),
    (b"[a]\nx = 1\ny = \xff\n", ":3: byte 0xff is not UTF-8 text"),
])
def test_files_that_are_no_configuration(tmp_path: Path, data: bytes, expected: str) -> None:
    path = tmp_path / "bad.ini"
    path.write_bytes(data)
    with pytest.raises(ConfigurationError) as error:
        ini.load(path)
    assert expected in str(error.value)
    assert str(error.value).startswith(str(path))


def test_a_missing_file_a_directory_and_an_endless_device(tmp_path: Path) -> None:
    for path, expected in [(str(tmp_path / "no.ini"), "cannot be read: No such file"), (str(tmp_path), "is a directory"),
                           ("/dev/zero", "larger than 16 MiB"), ("a\0b", "not a file name")]:
        with pytest.raises(ConfigurationError, match=expected):
            ini.load(path)


def test_byte_order_mark_windows_line_ends_and_percent_signs(tmp_path: Path) -> None:
    path = tmp_path / "dos.ini"
    path.write_bytes("\ufeff[æ]\r\nx = {t:%Y%m}\r\ny = \u2028z\r\nq = 1\r\n".encode())
    assert ini.load(path).sections["æ"] == {
        "x": ini.Entry("{t:%Y%m}", 2, "æ"), "y": ini.Entry("z", 3, "æ"), "q": ini.Entry("1", 4, "æ")}


def test_an_entry_does_not_show_its_text() -> None:
    assert "hunter2" not in repr(ini.Entry("hunter2", 1, "a"))


def test_nesting() -> None:
    values, problems = ini.nested({"a": "yes", "b__c": "yes", "b__d__e": "12", "b__d__f": "x y", "b__password": "007"})
    assert values == {"a": "yes", "b": {"c": True, "d": {"e": 12, "f": "x y"}, "password": "007"}}
    assert problems == {}


def test_nesting_that_contradicts_itself() -> None:
    values, problems = ini.nested({"a__b__c": "1", "a__b": "2", "x__y": "3", "x": "4", "__q": "5", "r__": "6", "s____t": "7"})
    assert values == {"a": {"b": 2}, "x": "4"}
    assert set(problems) == {"a__b__c", "x__y", "__q", "r__", "s____t"}


@pytest.mark.parametrize("text, value", [
    ("true", True), ("Yes", True), ("on", True), ("FALSE", False), ("no", False), ("off", False),
    ("0", 0), ("1", 1), ("9094", 9094), ("007", "007"), ("-1", "-1"), ("1.5", "1.5"), ("", ""), ("²", "²"),
    ("9" * 5000, "9" * 5000),
])
def test_typed_values(text: str, value: object) -> None:
    result = ini.typed("port", text)
    assert (result, type(result)) == (value, type(value))


def test_secrets_stay_text() -> None:
    assert ini.typed("token", "12345") == "12345"


_name = st.text("abcXYZ_", min_size=1, max_size=4)
_line = st.one_of(
    _name.map("[{}]".format),
    st.tuples(_name, st.sampled_from([" = ", ":", "="]), st.text("ab =:;#[]%", max_size=6)).map("".join),
    st.text("a #;", max_size=4).map("  {}".format), st.sampled_from(["", "# note", "; note", "  [inner]"]))


@given(st.lists(_line, max_size=12))
def test_values_are_those_of_configparser(tmp_path_factory: pytest.TempPathFactory, lines: list[str]) -> None:
    path = tmp_path_factory.getbasetemp() / "generated.ini"
    path.write_text("[first]\n" + "\n".join(lines))
    try:
        expected = configparser.ConfigParser(interpolation=None, strict=False)
        expected.read(path)
    except configparser.Error:
        assert ini.load(path).unreadable
        return
    file = ini.load(path)
    assert {name: {option: entry.text for option, entry in entries.items()} for name, entries in file.sections.items()} == {
        name: dict(expected.items(name)) for name in expected.sections()}
    written = path.read_text().split("\n")
    for entries in file.sections.values():
        for option, entry in entries.items():
            assert written[entry.line - 1].strip().lower().startswith(option)
