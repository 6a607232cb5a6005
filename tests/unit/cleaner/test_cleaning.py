"""What goes and what stays, with real files."""

from __future__ import annotations

import logging
import os
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from trollmoves.cleaner import tree
from trollmoves.cleaner.cleaning import AT_ONCE, DEEPEST, Cleaning, Outcome
from trollmoves.cleaner.settings import Section
from trollmoves.cleaner.waiting import Waiting

DAY = 86400.0
LONG_AGO = 10 * DAY


@pytest.fixture
def base(tmp_path: Path) -> Path:
    found = tmp_path / "base"
    found.mkdir()
    return found


def old(path: Path, content: str = "12345", age: float = LONG_AGO) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return aged(path, age)


def aged(path: Path, age: float = LONG_AGO) -> Path:
    when = time.time() - age
    os.utime(path, (when, when), follow_symlinks=False)
    return path


def age_all(base: Path) -> None:
    for path in base.rglob("*"):
        aged(path)


def section(base: Path, *templates: str, **more: Any) -> Section:
    return Section("s", str(base), templates or ("*",), DAY, **{"stat_time_method": "st_mtime", **more})


def clean(chosen: Section, *, dry_run: bool = False, removed: Any = None) -> Outcome:
    told: list[str] = []
    done = Cleaning(chosen, Waiting([], time.time()), time.time(), dry_run=dry_run, removed=removed or told.append).run()
    assert dry_run is False or not told
    return done


def names(base: Path) -> set[str]:
    return {str(path.relative_to(base)) for path in base.rglob("*")}


def test_old_files_of_that_name_go(base: Path) -> None:
    for name in ("a.dat", "b.tmp", "c.txt", ".h.dat", "x.keep", "sub/d.dat"):
        old(base / name)
    old(base / "young.dat", age=DAY / 2)
    told: list[str] = []
    done = clean(section(base, "*.dat", "*.tmp", "*.keep"), removed=told.append)
    assert names(base) == {"c.txt", ".h.dat", "x.keep", "sub", "sub/d.dat", "young.dat"}
    assert sorted(told) == [str(base / "a.dat"), str(base / "b.tmp")]
    assert (done.removed, done.bytes, done.failures) == (2, 10, 0)


def test_overlapping_templates_count_once(base: Path) -> None:
    old(base / "a.dat")
    assert clean(section(base, "*.dat", "*", "a.*"), dry_run=True).removed == 1


@pytest.mark.parametrize("method", ["st_ctime", "st_mtime", "st_atime"])
def test_the_time_that_counts(method: str, base: Path) -> None:
    path = old(base / "a.dat")  # its status was changed just now, whatever its other times say
    if method == "st_atime":
        os.utime(path, (time.time(), time.time() - LONG_AGO))
    clean(section(base, stat_time_method=method))
    assert path.exists() == (method != "st_mtime")


def test_a_dry_run_only_says_so(base: Path, caplog: pytest.LogCaptureFixture) -> None:
    old(base / "sub" / "a.dat")
    old(base / "b.dat")
    age_all(base)
    with caplog.at_level(logging.INFO):
        done = clean(section(base, recursive=True), dry_run=True)
    assert names(base) == {"sub", "sub/a.dat", "b.dat"} and done.removed == 3
    said = {record.getMessage() for record in caplog.records if record.getMessage().startswith("Would remove ")}
    assert said == {f"Would remove {base / name}" for name in ("sub", "sub/a.dat", "b.dat")}


def test_directories_that_match(base: Path) -> None:
    old(base / "full" / "a.dat")
    for name in ("empty", "empty.keep", ".hidden"):
        (base / name).mkdir()
    age_all(base)
    (base / "young").mkdir()
    assert clean(section(base)).removed == 1
    assert names(base) == {"full", "full/a.dat", "empty.keep", ".hidden", "young"}


def test_recursion(base: Path) -> None:
    for name in ("a.dat", "one/b.dat", "one/two/c.dat", "three/d.txt", "four/.keep", ".hidden/e.dat", "five/.f.dat"):
        old(base / name)
    (base / "empty").mkdir()
    age_all(base)
    aged(base)
    done = clean(section(base, "*.dat", recursive=True))
    assert names(base) == {"three", "three/d.txt", "four", "four/.keep", ".hidden", ".hidden/e.dat", "five", "five/.f.dat"}
    assert done.removed == 6
    done = clean(section(base, "*", recursive=True, include_hidden=True))
    assert names(base) == {"four", "four/.keep"} and done.removed == 6


def test_a_young_directory_stays_and_so_does_the_base(base: Path) -> None:
    (base / "just made").mkdir()
    aged(base)
    assert clean(section(base, recursive=True)).removed == 0
    assert names(base) == {"just made"}


def test_templates_with_directories(base: Path, tmp_path: Path) -> None:
    for name in ("one/in/a.dat", "two/in/b.dat", "two/out/c.dat", "d.dat"):
        old(base / name)
    clean(section(base, "*/in/*.dat"))
    assert names(base) == {"one", "one/in", "two", "two/in", "two/out", "two/out/c.dat", "d.dat"}
    elsewhere = old(tmp_path / "elsewhere" / "sub" / "a.dat")
    clean(section(base, f"{tmp_path}/elsewhere/s*/*"))
    assert not elsewhere.exists() and (base / "d.dat").exists()
    clean(section(base, "two/out/c.dat"))
    assert not (base / "two" / "out" / "c.dat").exists()


def test_recursion_below_a_template(base: Path) -> None:
    for name in ("one/in/deep/a.dat", "one/b.dat"):
        old(base / name)
    age_all(base)
    clean(section(base, "o*/in/*.dat", recursive=True))
    assert names(base) == {"one", "one/in", "one/b.dat"}


@pytest.mark.parametrize("recursive", [False, True])
@pytest.mark.parametrize("templates", [("*",), ("*/*",), ("link/*",), ("link",), ("sub/link/*",)])
def test_links_lead_nowhere(recursive: bool, templates: tuple[str, ...], base: Path, tmp_path: Path) -> None:
    precious = old(tmp_path / "outside" / "precious.dat")
    (tmp_path / "outside" / "empty").mkdir()
    (base / "sub").mkdir()
    for link in (base / "link", base / "sub" / "link"):
        link.symlink_to(tmp_path / "outside")
        aged(link)
    age_all(tmp_path / "outside")
    done = clean(section(base, *templates, recursive=recursive, include_hidden=True))
    assert precious.exists() and (tmp_path / "outside" / "empty").is_dir()
    assert (base / "link").is_symlink() and (base / "sub" / "link").is_symlink() and done.failures == 0


def test_links_to_files_go_by_the_age_of_the_file(base: Path, tmp_path: Path) -> None:
    target, young = old(tmp_path / "target"), old(tmp_path / "young", age=0)
    (base / "old").symlink_to(target)
    (base / "new").symlink_to(young)
    aged(base / "new")
    (base / "nowhere").symlink_to(tmp_path / "missing")
    aged(base / "nowhere")
    assert clean(section(base)).removed == 1
    assert names(base) == {"new", "nowhere"} and target.exists()


def test_a_base_directory_that_is_a_link_is_meant(base: Path, tmp_path: Path) -> None:
    old(base / "a.dat")
    (tmp_path / "link").symlink_to(base)
    told: list[str] = []
    clean(section(tmp_path / "link"), removed=told.append)
    assert told == [str(tmp_path / "link" / "a.dat")] and names(base) == set()


def test_a_directory_that_becomes_a_link_while_we_are_in_it(base: Path, tmp_path: Path) -> None:
    """The removal of the first file swaps the directory; what is removed after that lies in the one that was opened."""
    for number in range(2 * AT_ONCE):
        old(base / "sub" / f"{number}.dat")
        old(tmp_path / "outside" / f"{number}.dat")

    def swap(path: str) -> None:
        if not (base / "sub").is_symlink():
            (base / "sub").rename(base / "moved")
            (base / "sub").symlink_to(tmp_path / "outside")
    clean(section(base, "sub/*.dat"), removed=swap)
    assert len(names(tmp_path / "outside")) == 2 * AT_ONCE and names(base) == {"moved", "sub"}


def test_a_file_that_was_replaced_or_went_meanwhile(base: Path) -> None:
    """Whatever is removed first takes the other along, or replaces it by something new."""
    for name in ("a", "b", "c"):
        old(base / name)

    def meddle(path: str) -> None:
        first, second = sorted({"a", "b", "c"} - {Path(path).name})
        if (base / first).exists() and (base / second).exists():
            (base / first).unlink()
            (base / "new").write_text("new")
            aged(base / "new")
            (base / "new").rename(base / second)
    done = clean(section(base), removed=meddle)
    assert (done.removed, done.failures) == (1, 0)
    assert [(base / name).read_text() for name in names(base)] == ["new"]


def test_odd_names(base: Path, caplog: pytest.LogCaptureFixture) -> None:
    odd = ["with space", "line\nbreak", "[a]", "-rf", "ünïcode", os.fsdecode(b"\xff\xfe.dat"), "*"]
    for name in odd:
        old(base / name)
    told: list[str] = []
    with caplog.at_level(logging.DEBUG):
        clean(section(base), removed=told.append)
    assert sorted(told) == sorted(str(base / name) for name in odd) and names(base) == set()
    assert not any("\n" in record.getMessage() for record in caplog.records)
    caplog.handler.stream.getvalue().encode()  # nothing that a log file could not take


def test_what_is_no_file_stays(base: Path) -> None:
    os.mkfifo(base / "pipe")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(base / "socket"))
        age_all(base)
        assert clean(section(base)).removed == 0
    assert names(base) == {"pipe", "socket"}


def test_more_files_than_are_asked_about_at_once(base: Path) -> None:
    for number in range(3 * AT_ONCE + 7):
        old(base / "sub" / str(number))
    age_all(base)
    assert clean(section(base, recursive=True)).removed == 3 * AT_ONCE + 8
    assert names(base) == set()


@pytest.mark.parametrize("place", ["", "/nowhere/at/all"])
def test_a_missing_directory_skips_the_section(place: str, caplog: pytest.LogCaptureFixture) -> None:
    done = clean(Section("s", place, ("*",), DAY))
    assert (done.removed, done.failures) == (0, 0)
    assert f"Path {place} missing, skipping section s" in caplog.text


def test_directories_deeper_than_reason(base: Path) -> None:
    path = base
    for _ in range(DEEPEST + 5):
        path = path / "d"
    old(path / "a.dat")
    age_all(base)
    done = clean(section(base, recursive=True))
    assert (done.removed, done.failures) == (0, 1) and (path / "a.dat").exists()


@pytest.mark.parametrize(("template", "expected"), [
    ("*.dat", ("/b", (), "*.dat")), ("./a//b*/c", ("/b", ("a", "b*"), "c")), ("/x/y/*.dat", ("/x/y", (), "*.dat")),
    ("/x/y*/z/*", ("/x", ("y*", "z"), "*")), ("/a", ("/", (), "a")), ("/*/b", ("/", ("*",), "b")),
])
def test_where_a_template_begins(template: str, expected: object) -> None:
    assert tree.split("/b", template) == expected
