"""The configuration of remove_it: what upstream's files say, and what is refused."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.programs import CHECKOUT
from trollmoves.cleaner.settings import OPTIONS, Mail, Publishing, Section, read_cleaner_config
from trollmoves.errors import ConfigurationError

GOOD = "[a]\nbase_dir = /d\ntemplates = *.dat\ndays = 1\n"


def read(tmp_path: Path, text: str):  # type: ignore[no-untyped-def]
    path = tmp_path / "x.ini"
    path.write_text(text)
    return read_cleaner_config(path)


def test_a_file_as_upstream_has_it(tmp_path: Path) -> None:
    found = read(tmp_path, "[DEFAULT]\nmailhost = localhost\nto = a@example.org,b@example.org\nsubject = On {hostname}\n"
                 "[hrit]\nbase_dir=/san1\ntemplates=pps/import/PPS_data/source/*,polar_in/*\nhours=3\nminutes=30\n"
                 "stat_time_method=st_mtime\nrecursive=True\ninclude_hidden=yes\n[other]\nbase_dir=/x\ntemplates=*\ndays=2\n"
                 "recursive=False\n")
    assert (found.problems, found.warnings) == ((), ())
    assert found.sections == {
        "hrit": Section("hrit", "/san1", ("pps/import/PPS_data/source/*", "polar_in/*"), 12600.0, "st_mtime", True, True),
        "other": Section("other", "/x", ("*",), 172800.0)}
    assert found.mail == Mail("localhost", 25, ("a@example.org", "b@example.org"), "On {hostname}")
    assert found.publishing == Publishing()


def test_general_options(tmp_path: Path) -> None:
    found = read(tmp_path, "[DEFAULT]\nmailhost = h:2525\nto = root\npublish_port = 9999\nnameservers = false\n"
                 f"listen_address = 127.0.0.1\n{GOOD}")
    assert found.mail == Mail("h", 2525, ("root",), "remove_it on {hostname}")
    assert found.publishing == Publishing(9999, False, "127.0.0.1")
    assert read(tmp_path, f"[DEFAULT]\nnameservers = one two\n{GOOD}").publishing.nameservers == ("one", "two")


@pytest.mark.parametrize(("options", "complaint"), [
    ("templates = *\n", "x.ini:1: [a] days: is missing; write for example days = 2 (or hours, minutes, seconds; 0 for any age)"),
    ("days = 1\n", "x.ini:1: [a] templates: is missing; write for example templates = *.dat,*.tmp"),
    ("days = 1\ntemplates = ,\n", "x.ini:1: [a] templates: is missing"),
    ("days = soon\ntemplates = *\n", "x.ini:2: [a] days: is not a whole number from 0 to 1000000000"),
    ("days = -1\ntemplates = *\n", "x.ini:2: [a] days: is not a whole number"),
    ("days = 1\ntemplates = a/../../*\n", "x.ini:3: [a] templates: has a template that leaves its directory with `..`"),
    ("days = 1\ntemplates = a/\n", "x.ini:3: [a] templates: has a template that ends with /"),
    ("days = 1\ntemplates = *\nstat_time_method = mtime\n", "x.ini:4: [a] stat_time_method: is none of st_ctime, st_mtime, "
     "st_atime (did you mean 'st_mtime'?)"),
    ("days = 1\ntemplates = *\nrecursive = perhaps\n", "x.ini:4: [a] recursive: is neither true nor false"),
])
def test_mistakes(options: str, complaint: str, tmp_path: Path) -> None:
    found = read(tmp_path, f"[a]\n{options}{GOOD.replace('[a]', '[b]')}")
    [problem] = found.problems
    assert complaint in problem and list(found.sections) == ["b"]


@pytest.mark.parametrize(("option", "complaint"), [
    ("mailhost = a b", "mailhost: is not a host or host:port"), ("mailhost = h:x", "mailhost: is not a host or host:port"),
    ("to = a b", "to: is not a list of mail addresses"), ("subject = {name}", "subject: has a field that is none of"),
    ("subject = {user.__class__}", "subject: has a field that is none of"), ("subject = {", "subject: cannot be filled in"),
    ("publish_port = 99999", "publish_port: is not a whole number from 0 to 65535"),
])
def test_mistakes_in_what_holds_for_all(option: str, complaint: str, tmp_path: Path) -> None:
    found = read(tmp_path, f"[DEFAULT]\n{option}\n{GOOD}")
    [problem] = found.problems
    assert f"[DEFAULT] {complaint}" in problem


def test_warnings(tmp_path: Path) -> None:
    found = read(tmp_path, f"{GOOD}template = *\nmailhost = h\n")
    assert [re.sub(r"^.*x.ini", "", warning) for warning in found.warnings] == [
        ":5: [a] template: is no option of remove_it and is ignored (did you mean 'templates'?)",
        ":6: [a] mailhost: holds for the whole file and is ignored here; write it in [DEFAULT]"]
    assert found.mail is None and list(found.sections) == ["a"]


def test_a_section_with_an_option_written_twice_is_left_out(tmp_path: Path) -> None:
    found = read(tmp_path, f"{GOOD}days = 100\n")
    assert found.sections == {} and "is written twice" in found.problems[0]


@pytest.mark.parametrize("text", ["", "hello\n", f"hello\n{GOOD}", f"{GOOD}what is this\n"])
def test_files_that_are_none(text: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError):
        read(tmp_path, text)


def test_the_manual_has_every_option() -> None:
    text = (CHECKOUT / "docs" / "remove_it.md").read_text()
    rows = {name for line in text.splitlines() if line.startswith("| `") for name in re.findall(r"`(\w+)`", line.split(" | ")[0])}
    assert rows == set(OPTIONS)
