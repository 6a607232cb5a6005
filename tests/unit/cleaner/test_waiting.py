"""What a journal says is still to be delivered stays; with real journals."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from trollmoves.cleaner.waiting import CONSUMER_KNOWN, Waiting
from trollmoves.errors import JournalError
from trollmoves.journal import Journal
from trollmoves.lifecycle import State

SENDER = "me@host 2026-01-01T00:00:00 v1.01 application/json"


class Book:
    """A journal that a process left, and rows of it."""

    def __init__(self, path: Path):
        self.path = path
        self._ids = 0
        Journal(path, lambda calls: None, lambda error: None).close()

    def insert(self, table: str, **row: Any) -> None:
        with closing(sqlite3.connect(self.path)) as connection, connection:
            connection.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({', '.join(':' + name for name in row)})", row)

    def file(self, identity: str, state: str, *, chain: str = "c", **more: Any) -> int:
        self._ids += 1
        now = time.time()
        self.insert("files", id=self._ids, chain=chain, identity=identity, key="", state=state, time=now, created=now, steps="",
                    **more)
        return self._ids

    def origin(self, path: Path, state: str = State.ANNOUNCED, **more: Any) -> int:
        """A file that a server announced, as it is now."""
        status = path.stat()
        return self.file(path.name, state, **{"path": os.fsencode(path), "device": status.st_dev, "inode": status.st_ino,
                                              "size": status.st_size, "mtime_ns": status.st_mtime_ns, **more})

    def wanted(self, uid: str, state: str, message: dict[str, Any] | str | None = None) -> int:
        """A file that a client or a dispatcher heard of."""
        payload = message or f'{{"uri": "/elsewhere/{uid}", "uid": "{uid}"}}'
        return self.file(uid, state, provider="h:1", message=f"pytroll://t file {SENDER} {payload}")

    def transfer(self, file: int, client: str, *, age: float = 0.0, state: str = State.MOVED, spare: int = 0,
                 group: str = "") -> None:
        self.insert("transfers", file=file, transfer=f"t:{client}", chain="c", client=client, spare=spare, state=state,
                    consumer_group=group or f"g:{client}", peer="127.0.0.1", request="r:1", destination="/d",
                    time=time.time() - age, attempt=1)


@pytest.fixture
def book(tmp_path: Path) -> Book:
    return Book(tmp_path / "server.journal")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return made(tmp_path / "data" / "a.dat")


def made(path: Path, content: str = "content") -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(content)
    return path


def waits(path: Path, *books: Book) -> bool:
    """Whether somebody says that the file waits."""
    with closing(Waiting([book.path for book in books], time.time())) as waiting:
        found = waiting.among(str(path.parent), {path.name: path.lstat()})
    assert found.keys() <= {path.name}
    return bool(found)


@pytest.mark.parametrize("state", State)
def test_an_origin_waits_until_somebody_has_it(state: State, book: Book, path: Path) -> None:
    book.origin(path, state)
    assert waits(path, book) == (state not in ("moved", "acknowledged", "published", "covered"))


@pytest.mark.parametrize("state", State)
def test_a_file_heard_of_waits_until_it_is_published(state: State, book: Book, path: Path) -> None:
    book.wanted(path.name, state)
    assert waits(path, book) == (state not in ("published", "covered", "given_up"))


def test_nothing_waits_that_no_journal_knows(book: Book, path: Path) -> None:
    book.origin(made(path.with_name("b.dat")))
    assert not waits(path, book) and not waits(path)
    odd = made(path.with_name(os.fsdecode(b"\xff'\"")))
    assert not waits(odd, book)


def test_a_set_that_was_announced_waits_until_somebody_has_it(book: Book, path: Path) -> None:
    message = f'pytroll://t dataset {SENDER} {{"dataset": [{{"uid": "a.dat", "uri": "{path}"}}, {{"uid": "b", "uri": "/b"}}]}}'
    other = made(path.with_name("other.dat"))
    file = book.file("md5:1", State.ANNOUNCED, path=b"sha256:1", message=message)
    assert waits(path, book) and not waits(other, book)
    with closing(sqlite3.connect(book.path)) as connection, connection:
        connection.execute("UPDATE files SET state = 'acknowledged'")
    assert not waits(path, book)
    book.insert("removals", file=file, chain="c", due=time.time() + 1000)
    assert waits(path, book)


def test_what_the_server_removes_itself_is_its_business(book: Book, path: Path) -> None:
    file = book.origin(path, State.ACKNOWLEDGED)
    book.insert("removals", file=file, chain="c", due=time.time() + 1000)
    assert waits(path, book)


def test_a_client_that_has_not_got_it_is_waited_for(book: Book, path: Path) -> None:
    earlier = book.origin(made(path.with_name("earlier.dat")), State.MOVED)
    file = book.origin(path, State.MOVED)
    book.transfer(earlier, "one")
    book.transfer(earlier, "two")
    book.transfer(file, "one")
    assert waits(path, book) and not waits(path.with_name("earlier.dat"), book)
    book.transfer(file, "two", state=State.FAILED)
    assert waits(path, book)


def test_a_client_that_got_it_by_a_spare_has_it(book: Book, path: Path) -> None:
    earlier, file = book.origin(made(path.with_name("earlier.dat")), State.MOVED), book.origin(path, State.ACKNOWLEDGED)
    book.transfer(earlier, "one", group="g")
    book.transfer(file, "spare", spare=1, group="g")
    assert not waits(path, book)


@pytest.mark.parametrize("age", [CONSUMER_KNOWN - 600, CONSUMER_KNOWN + 600])
def test_a_client_is_waited_for_a_day(age: float, book: Book, path: Path) -> None:
    earlier, file = book.origin(made(path.with_name("earlier.dat")), State.MOVED), book.origin(path, State.MOVED)
    book.transfer(earlier, "gone", age=age)
    book.transfer(file, "one")
    assert waits(path, book) == (age < CONSUMER_KNOWN)


def test_a_client_that_came_later_is_not_waited_for(book: Book, path: Path) -> None:
    """It did not ask for what was there before it."""
    file, later = book.origin(path, State.MOVED), book.origin(made(path.with_name("later.dat")), State.MOVED)
    for client in ("old", "new"):
        book.transfer(later, client)
    book.transfer(file, "old")
    assert not waits(path, book)


def test_another_content_under_the_name_does_not_wait(book: Book, path: Path) -> None:
    book.origin(path)
    made(path, "other content")
    assert not waits(path, book)


def test_a_file_elsewhere_under_the_name_does_not_wait(book: Book, path: Path, tmp_path: Path) -> None:
    book.origin(path)
    copy = made(tmp_path / "copies" / path.name)
    os.utime(copy, ns=(0, path.stat().st_mtime_ns))
    assert not waits(copy, book)


@pytest.mark.parametrize("inode", [None, 1])
def test_the_same_file_by_another_way(inode: int | None, book: Book, path: Path, tmp_path: Path) -> None:
    (tmp_path / "way").symlink_to(path.parent)
    book.origin(path, **({"inode": inode} if inode else {}))
    assert waits(tmp_path / "way" / path.name, book)


def test_a_packed_file_waits_for_what_came_out_of_it(book: Book, path: Path) -> None:
    packed = made(path.with_name("a.dat.gz"))
    book.origin(packed, State.COVERED)
    assert not waits(packed, book)
    status = packed.stat()
    for state in (State.MOVED, State.ANNOUNCED):
        member = book.origin(path, state)
        book.insert("packed", file=member, path=os.fsencode(packed), device=status.st_dev, inode=status.st_ino,
                    size=status.st_size, mtime_ns=status.st_mtime_ns)
        assert waits(packed, book) == (state == State.ANNOUNCED)


@pytest.mark.parametrize("state", [State.REQUESTED, State.PUBLISHED])
def test_sets_of_files(state: State, book: Book, path: Path) -> None:
    book.wanted("md5:123", state, f'{{"dataset": [{{"uri": "/x/b", "uid": "b"}}, {{"uri": "/x/{path.name}", "uid": "u"}}]}}')
    assert waits(path, book) == waits(made(path.with_name("b")), book) == (state == State.REQUESTED)


def test_names_that_are_not_those_of_the_uri(book: Book, path: Path) -> None:
    book.wanted("some uid", State.ANNOUNCED, f'{{"uri": "/x/{path.name}", "uid": "some uid"}}')
    book.wanted("sub/c", State.ANNOUNCED, '{"uri": "/x/sub/c", "uid": "sub/c"}')
    book.wanted("nonsense", State.ANNOUNCED, "{")
    assert waits(path, book) and waits(made(path.with_name("c")), book)


def test_all_journals_are_asked(book: Book, path: Path, tmp_path: Path) -> None:
    other = Book(tmp_path / "client.journal")
    book.origin(path, State.MOVED)
    assert not waits(path, book, other)
    other.wanted(path.name, State.REQUESTED)
    assert waits(path, book, other)


def test_what_is_written_meanwhile_counts(book: Book, path: Path) -> None:
    with closing(Waiting([book.path], time.time())) as waiting:
        assert not waiting.among(str(path.parent), {path.name: path.lstat()})
        book.origin(path)
        assert waiting.among(str(path.parent), {path.name: path.lstat()})[path.name] == f"announced in [c] of {book.path}"


def test_a_journal_itself_stays(book: Book) -> None:
    assert waits(book.path, book)
    for ending in ("", ".1"):
        audit = book.path.with_name(f"{book.path.name}.audit.jsonl{ending}")
        audit.write_bytes(b"")
        assert waits(audit, book)


@pytest.fixture(params=["missing", "text", "directory"])
def unreadable(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "x.journal"
    if request.param == "text":
        path.write_text("this is no journal\n")
    elif request.param == "directory":
        path.mkdir()
    yield path


def test_a_journal_that_cannot_be_read_is_an_error(book: Book, unreadable: Path) -> None:
    with pytest.raises(JournalError):
        Waiting([book.path, unreadable], time.time())


def test_what_a_mirror_has_fetched_waits_until_it_is_released(book: Book, path: Path) -> None:
    status = path.stat()
    file = book.file("a.dat", State.MOVED, path=b"/elsewhere/a.dat", provider="h:1")
    assert not waits(path, book)
    book.insert("copies", file=file, uid="a.dat", chain="c", path=os.fsencode(path), device=status.st_dev, inode=status.st_ino,
                size=status.st_size, mtime_ns=status.st_mtime_ns, time=time.time())
    assert waits(path, book)


def test_a_journal_of_an_earlier_release_is_read(book: Book, path: Path) -> None:
    with closing(sqlite3.connect(book.path)) as connection, connection:
        connection.execute("DROP TABLE copies")
    assert not waits(path, book)
