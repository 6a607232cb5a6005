"""The checker sees each kind of broken promise: a checker that finds nothing would make every fault test pass."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from trollmoves.faults.checking import Scene
from trollmoves.faults.contents import Ledger, content_at
from trollmoves.faults.observing import MOST_MEMORY, Observer, Sampler
from trollmoves.faults.waiting import eventually


def journal(path: Path, *files: tuple[str, str], removals: int = 0) -> Path:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE files (id INTEGER PRIMARY KEY, chain TEXT, identity TEXT, key TEXT, state TEXT)")
        connection.execute("CREATE TABLE removals (file INTEGER)")
        rows = [*files, *((f"waits{number}.bin", "moved") for number in range(removals))]
        connection.executemany("INSERT INTO files (chain, identity, key, state) VALUES ('recv', ?1, 'k:' || ?1, ?2)", rows)
        connection.execute("INSERT INTO removals SELECT id FROM files WHERE identity LIKE 'waits%'")
    return path


def publication(name: str, **more: object) -> dict[str, object]:
    return {"uid": name, "trollmoves": {"publication": f"p:{name}", **more}}


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    """One file that went through, as it should be."""
    origin, destination = tmp_path / "origin", tmp_path / "destination"
    origin.mkdir()
    destination.mkdir()
    ledger = Ledger()
    ledger.note("a.bin", b"content")
    for directory in (origin, destination):
        (directory / "a.bin").write_bytes(b"content")
    (tmp_path / "other").write_bytes(b"other")
    return Scene(ledger, [origin], destination, [journal(tmp_path / "client", ("a.bin", "published"))],
                 [journal(tmp_path / "server")], logs=[tmp_path / "log"], published=[publication("a.bin")], secrets=["s3cr3t"],
                 killed=False, bystanders={tmp_path / "other": content_at(tmp_path / "other")})


def broken(scene: Scene) -> set[str]:
    return {text.partition(":")[0] for text in scene.violations()}


def test_what_is_as_it_should_be_is_no_violation(scene: Scene) -> None:
    assert scene.violations() == []


def place(scene: Scene) -> Path:
    return scene.destination / "a.bin"


def damage(path: Path) -> None:
    """An index that lacks an entry."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE t (a INTEGER)")
        connection.execute("INSERT INTO t VALUES (1)")
        connection.execute("CREATE INDEX i ON t (a)")
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("UPDATE sqlite_schema SET rootpage = (SELECT rootpage FROM sqlite_schema WHERE name = 'removals')"
                           " WHERE name = 'i'")


SABOTAGE: dict[str, tuple[Callable[[Scene], object], set[str]]] = {
    "a file is missing": (lambda scene: place(scene).unlink(), {"I1"}),
    "a file is truncated": (lambda scene: place(scene).write_bytes(b"con"), {"I1"}),
    "another content was written later": (lambda scene: scene.ledger.note("a.bin", b"newer"), {"I1"}),
    "a publication was not heard": (lambda scene: scene.published.clear(), {"I2"}),
    "a publication came twice": (lambda scene: scene.published.append(publication("a.bin")), {"I2"}),
    "an origin is gone": (lambda scene: (scene.origins[0] / "a.bin").unlink(), {"I4"}),
    "both are gone": (lambda scene: [(scene.origins[0] / "a.bin").unlink(), place(scene).unlink()], {"I1", "I4"}),
    "a temporary file is left": (lambda scene: (scene.destination / ".a.bin.0123456789abcdef.part").touch(), {"I5"}),
    "a secret is in a log": (lambda scene: scene.logs[0].write_text("password s3cr3t"), {"I7"}),
    "a secret is in a message": (lambda scene: scene.notices.append("ftp://user:s3cr3t@host/"), {"I7"}),
    "a strange file is at the destination": (lambda scene: (scene.destination / "b.bin").touch(), {"I8"}),
    "a bystander was changed": (lambda scene: next(iter(scene.bystanders)).write_text("changed"), {"I8"}),
    "the journal is damaged": (lambda scene: damage(scene.server_journals[0]), {"I9"}),
}


@pytest.mark.parametrize("what", SABOTAGE)
def test_the_checker_sees_that(what: str, scene: Scene) -> None:
    sabotage, invariants = SABOTAGE[what]
    sabotage(scene)
    assert broken(scene) == invariants


def test_a_repetition_with_its_mark_is_none(scene: Scene) -> None:
    scene.published.append(publication("a.bin", redelivered=True))
    assert (scene.violations(), scene.flagged()) == ([], 1)


def test_an_origin_may_be_removed_where_that_is_asked_for(scene: Scene) -> None:
    scene.deletes = True
    (scene.origins[0] / "a.bin").unlink()
    assert scene.violations() == []
    place(scene).unlink()
    assert broken(scene) == {"I1", "I4"}


def test_what_still_waits_is_seen(scene: Scene, tmp_path: Path) -> None:
    scene.client_journals[0] = journal(tmp_path / "waiting", ("a.bin", "published"), ("b.bin", "requested"))
    assert broken(scene) == {"I10"}
    scene.deletes = True
    scene.server_journals[0] = journal(tmp_path / "removing", removals=2)
    assert len([text for text in scene.violations() if text.startswith("I10")]) == 2


def test_the_observer_sees_a_partial_file_also_in_a_new_directory(tmp_path: Path) -> None:
    ledger = Ledger()
    ledger.note("a.bin", b"whole content")
    with Observer(tmp_path, ledger) as observer:
        (tmp_path / "below" / "deep").mkdir(parents=True)
        hidden = tmp_path / "below" / "deep" / ".a.bin.part"
        hidden.write_bytes(b"whole content")
        hidden.rename(tmp_path / "below" / "deep" / "a.bin")  # written in place it may be seen before it is whole
        eventually(lambda: observer.seen)
        assert observer.violations == []
        (tmp_path / "below" / "deep" / "a.bin").write_bytes(b"whole")
        eventually(lambda: observer.violations, message="it was seen")
    assert observer.violations[0].startswith("I3: below/deep/a.bin was visible with")


def test_growth_is_seen() -> None:
    sampler = Sampler(dict)
    sampler.first["server"] = (10 * 2**20, 20, 5)
    sampler.most["server"] = (10 * 2**20 + MOST_MEMORY, 20, 5)
    assert (sampler.violations(), sampler.growth) == ([], MOST_MEMORY)
    sampler.most["server"] = (11 * 2**20 + MOST_MEMORY, 99, 5)
    assert [text.partition(":")[0] for text in sampler.violations()] == ["I6", "I6"]
