"""Servers that listen: what others publish is announced again, and served, but nothing else."""

from __future__ import annotations

import bz2
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.contract.test_unpackers import tar_of
from tests.faults.checker import rows
from tests.integration.listening import HEARD, TOPIC, Listening
from tests.support.eventually import eventually, never
from tests.support.ports import free_port
from tests.support.programs import Program
from trollmoves.cli.status import status
from trollmoves.crashing import POINTS


def test_a_message_is_announced_and_its_file_served(tmp_path: Path) -> None:
    with Listening(tmp_path, info="sensor=viirs;variant=a,b") as server:
        path = server.file("one.txt")
        server.say({"uid": "one.txt", "uri": str(path), "sensor": "modis", "request_address": "elsewhere:1", "orbit": "20260101"})
        [message] = server.announces(1)
        assert (message.subject, message.type) == (TOPIC, "file")
        [fields] = server.fields()
        assert fields == {"sensor": "modis", "variant": ["a", "b"], "uid": "one.txt", "uri": str(path), "orbit": "20260101",
                          "request_address": f"127.0.0.1:{server.request_port}"}
        assert list(fields)[:2] == ["sensor", "variant"]
        reply = server.push(fields, tmp_path / "here")
        assert reply.type == "file" and (tmp_path / "here" / "one.txt").read_bytes() == path.read_bytes()
        assert server.ask("info", {}, subject=TOPIC).fields["files"] == [f"{TOPIC}/one.txt"]
        assert server.ask("ack", fields).type == "ack"
        assert server.program.stop() == 0


def test_datasets_and_collections(tmp_path: Path) -> None:
    with Listening(tmp_path) as server:
        paths = [server.file(f"a/{name}") for name in ("one", "two", "three")]
        items = [{"uid": path.name, "uri": str(path)} for path in paths]
        items[2]["path"] = "below/it"
        server.say({"start_time": "2026-01-01T00:00:00", "dataset": items}, kind="dataset")
        server.say({"collection": [{"dataset": items[:1], "start_time": 1}, items[1]]}, kind="collection")
        messages = server.announces(2)
        assert [message.type for message in messages] == ["dataset", "collection"]
        dataset, collection = server.fields()
        assert dataset["dataset"] == items
        reply = server.push(dataset, f"file://{tmp_path}/first")  # no slash: several files go into a directory all the same
        assert reply.type == "dataset"
        for name, path in zip(("one", "two", "below/it"), paths, strict=True):
            assert (tmp_path / "first" / name).read_bytes() == path.read_bytes()
        assert sorted(os.listdir(tmp_path / "first")) == ["below", "one", "two"]
        assert server.push(collection, tmp_path / "second").type == "collection"
        assert sorted(os.listdir(tmp_path / "second")) == ["one", "two"]


def test_a_file_of_which_several_messages_speak_is_one_file(tmp_path: Path) -> None:
    """Those of a group that ask for it under the number of one message or of another agree who publishes it."""
    with Listening(tmp_path) as server:
        path = server.file("one.txt")
        for number in range(2):
            server.say({"uid": "one.txt", "uri": str(path), "said": number})
        server.announces(2)
        server.say({"uid": "one.txt", "uri": str(path), "said": 2})
        server.say({"dataset": [{"uid": "one.txt", "uri": str(path), "path": "below/it"}]}, kind="dataset")
        *alone, in_set = server.announces(4)
        assert [message.fields["said"] for message in alone] == [0, 1, 2]
        files = [file for (file,) in rows(server.journal, "SELECT file FROM announcements ORDER BY position")]
        assert files[0] == files[1] == files[2] != files[3], "what goes elsewhere is not the same"
        [(when, begun, steps)] = rows(server.journal, f"SELECT time, created, steps FROM files WHERE id = {files[0]}")
        assert when > begun and steps.count("once more") == 2, "it is kept as long as what was said last"
        path.write_bytes(b"new content")
        server.say({"uid": "one.txt", "uri": str(path), "said": 3})
        server.announces(5)
        assert len(rows(server.journal, "SELECT DISTINCT file FROM announcements")) == 3


def test_new_content_of_the_size_and_time_of_the_old_is_announced_as_new(tmp_path: Path) -> None:
    with Listening(tmp_path) as server:
        path = server.file("one.txt", b"old content")
        said = {"uid": "one.txt", "uri": str(path)}
        server.say({**said, "said": 0})
        server.announces(1)
        (tmp_path / "new").write_bytes(b"new content")
        shutil.copystat(path, tmp_path / "new")
        (tmp_path / "new").rename(path)
        for number in (1, 2):
            server.say({**said, "said": number})
        old, new, again = (message.extension["key"] for message in server.announces(3))
        assert old != new == again, "consumers would take it for what they have"


def test_what_was_given_up_keeps_its_key_when_a_message_speaks_of_it_again(tmp_path: Path) -> None:
    with Listening(tmp_path) as server:
        path = server.file("one.txt")
        said = {"uid": "one.txt", "uri": str(path)}
        server.say({**said, "said": 0})
        server.announces(1)
        path.rename(tmp_path / "away")
        assert server.push(server.fields()[0], tmp_path / "here").type == "err"
        eventually(lambda: server.states() == {"one.txt": "given_up"}, message="it is given up")
        (tmp_path / "away").rename(path)
        server.say({**said, "said": 1})
        before, again = (message.extension["key"] for message in server.announces(2))
        assert before == again, "consumers that have it would ask for it"


def test_what_has_the_inode_of_what_was_removed_is_announced_as_new(tmp_path: Path) -> None:
    with Listening(tmp_path, delete=True, remove_delay=0, trusted_acks="127.0.0.1") as server:
        path = server.file("one.txt", b"old content")
        other = tmp_path / "files" / "other"  # so that there is an inode that can be had again
        os.link(path, other)
        before = path.stat()
        said = {"uid": "one.txt", "uri": str(path)}
        server.say({**said, "said": 0})
        server.announces(1)
        assert server.push(server.fields()[0], tmp_path / "here").type == "file"
        server.ask("ack", server.fields()[0])
        eventually(lambda: not path.exists(), message="it is removed")
        eventually(lambda: "removed" in str(rows(server.journal, "SELECT steps FROM files")), message="which is written")
        other.write_bytes(b"new content")
        os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
        other.rename(path)
        server.say({**said, "said": 1})
        old, new = (message.extension["key"] for message in server.announces(2))
        assert old != new, "consumers would take it for what they have"


def test_only_what_was_announced_is_served(tmp_path: Path) -> None:
    with Listening(tmp_path, delete=True, remove_delay=0) as server:
        path, other = server.file("one.txt"), server.file("secret/one.txt")
        server.say({"uid": "one.txt", "uri": str(path)})
        server.announces(1)
        [fields] = server.fields()
        for lie in ({"uri": str(other)}, {"uri": "/etc/hostname", "uid": "hostname"}, {"uri": f"{path}/../secret/one.txt"}):
            assert server.push({**fields, **lie}, tmp_path / "out").type == "err"
            assert server.ask("ack", {**fields, **lie}).type == "err"
        assert other.exists() and not (tmp_path / "out").exists()
        path.unlink()
        path.symlink_to("/etc/hostname")
        assert server.push(fields, tmp_path / "out").type == "err"
        assert not (tmp_path / "out" / "one.txt").exists()


def test_messages_that_are_none_of_ours_end_nothing(tmp_path: Path) -> None:
    with Listening(tmp_path) as server:
        path, link = server.file("one.txt"), tmp_path / "link.txt"
        link.symlink_to(path)
        nonsense: list[tuple[Any, str]] = [
            ({"uid": "x", "uri": "ssh://192.0.2.9/x"}, "file"),
            ({"uid": "x", "uri": "file://192.0.2.9/x"}, "file"),
            ({"uid": "x", "uri": "s3:///bucket/x"}, "file"), ({"uid": "x", "uri": "relative"}, "file"), ({"uid": "x"}, "file"),
            ({"uid": "x", "uri": {"a": 1}}, "file"), ({"uid": "x", "uri": "/a\x00b"}, "file"),
            ({"dataset": "nothing"}, "dataset"), ({"uid": "k", "uri": str(server.file(".ssh/k"))}, "file"),
            ({"dataset": [{"uid": "a", "uri": str(path)}, {"uid": "x", "uri": "tar://192.0.2.9::ssh://h/x"}]}, "dataset"),
            ({"uid": "one.txt", "uri": str(path), "path": "../../out"}, "file"), ({"uid": "d", "uri": str(tmp_path)}, "file"),
            ({"uid": "l", "uri": str(link)}, "file"), ({"uid": "one.txt", "uri": str(path)}, "push"),
            ({"min_interval": 1}, "beat")]
        for data, kind in nonsense:
            server.say(data, kind=kind)
        server.source.send(b"garbage")
        server.source.send(b"pytroll:/" + HEARD.encode() + b" file a@b never v1.2")
        raw = server.say({"uid": "one.txt", "uri": str(path)})
        server.source.send(raw)  # heard twice
        server.announces(1)
        [fields] = server.fields()
        assert fields["uri"] == str(path)
        never(lambda: len(server.told()) > 1, 1)
        assert server.states() == {"one.txt": "announced", "d": "given_up", "l": "given_up"}
        server.program.wait_for(r"\[relay\] a message of .* is not announced: .*is not on this machine \(1 so far\)")
        server.program.wait_for(r"\(10 so far\)")
        assert int(rows(server.journal, "SELECT value FROM meta WHERE name = 'skipped:relay'")[0][0]) >= 10
        assert status(server.journal)["chains"]["relay"]["skipped"] >= 10


def test_messages_of_what_is_not_there_do_not_fill_the_log(tmp_path: Path) -> None:
    with Listening(tmp_path) as server:
        for number in range(1000):
            server.say({"uid": f"{number}.txt", "uri": f"{server.files}/{number}.txt"})
            server.say({"uid": f"{number}.d", "uri": str(tmp_path)})
        path = server.file("one.txt")
        server.say({"uid": "one.txt", "uri": str(path)})
        server.announces(1)
        eventually(lambda: list(server.states().values()).count("given_up") == 1000, 60, message="directories are given up")
        said = server.program.output()
        assert 0 < said.count("is not announced") < 300
        assert 0 < said.count("(again ") < 300


def test_a_file_that_comes_late(tmp_path: Path) -> None:
    with Listening(tmp_path) as server:
        path = server.files / "late.txt"
        server.say({"uid": "late.txt", "uri": str(path)})
        server.program.wait_for(r"late.txt is not there \(again")
        server.file("late.txt")
        server.announces(1)
        assert server.push(server.fields()[0], tmp_path / "here").type == "file"


def test_origin_limits_of_what_messages_may_speak(tmp_path: Path) -> None:
    with Listening(tmp_path, origin=f"{tmp_path}/files/{{name}}.txt") as server:
        (server.files / "way").symlink_to(tmp_path)
        server.file("one.dat"), (tmp_path / "two.txt").write_text("x")
        for uri in (tmp_path / "two.txt", server.files / "one.dat", server.files / "way" / "two.txt"):
            server.say({"uid": uri.name, "uri": str(uri)})
        path = server.file("one.txt")
        server.say({"uid": "one.txt", "uri": f"file://localhost{path}"})
        server.announces(1)
        assert [fields["uri"] for fields in server.fields()] == [f"file://localhost{path}"]
        assert server.push(server.fields()[0], tmp_path / "here").type == "file"
        eventually(lambda: server.states() == {"one.txt": "moved"})


def test_a_directory_that_is_a_link_is_followed_once(tmp_path: Path) -> None:
    with Listening(tmp_path) as server:
        path = server.file("deep/one.txt")
        (tmp_path / "way").symlink_to(server.files / "deep")
        server.say({"uid": "one.txt", "uri": str(tmp_path / "way" / "one.txt")})
        server.announces(1)
        [fields] = server.fields()
        assert fields["uri"] == str(path)
        (server.files / "deep").rename(server.files / "moved")
        (server.files / "deep").symlink_to(server.files / "moved")
        assert server.push(fields, tmp_path / "out").type == "err"


def test_packed_files_are_unpacked_first(tmp_path: Path) -> None:
    with Listening(tmp_path, compression="bzip2", working_directory=tmp_path / "work", remove_delay=0) as server:
        packed = server.file("one.txt.bz2", bz2.compress(b"content"))
        plain, bad = server.file("two.txt"), server.file("three.txt.bz2", b"no archive")
        items = [{"uid": "one.txt.bz2", "uri": str(packed)}, {"uid": "two.txt", "uri": str(plain)}]
        server.say({"dataset": items}, kind="dataset")
        server.say({"uid": "three.txt.bz2", "uri": str(bad)})
        server.announces(2)
        dataset, file = sorted(server.fields(), key=lambda fields: "uid" in fields)
        unpacked = tmp_path / "work" / str(server.files)[1:] / "one.txt"
        assert dataset["dataset"] == [{"uid": "one.txt", "uri": str(unpacked)}, {"uid": "two.txt", "uri": str(plain)}]
        assert file["uid"] == "three.txt.bz2"
        assert server.push(dataset, tmp_path / "here").type == "dataset"
        assert (tmp_path / "here" / "one.txt").read_bytes() == b"content"
        eventually(lambda: not unpacked.exists(), message="the copy is removed")
        assert packed.exists() and plain.exists()


def test_an_archive_of_one_file_is_unpacked_and_one_of_several_stays_what_it_is(tmp_path: Path) -> None:
    with Listening(tmp_path, compression="tar", working_directory=tmp_path / "work") as server:
        one = server.file("one.tar", tar_of({"one.txt": b"content"}))
        server.say({"uid": "one.tar", "uri": str(one)})
        several = server.file("several.tar", tar_of({"a.txt": b"a", "b.txt": b"b"}))
        server.say({"uid": "several.tar", "uri": str(several)})
        server.announces(2)
        assert {fields["uid"] for fields in server.fields()} == {"one.txt", "several.tar"}
        assert [path.name for path in (tmp_path / "work").rglob("*") if path.is_file()] == ["one.txt"]


def test_all_files_of_a_set_are_removed_together(tmp_path: Path) -> None:
    with Listening(tmp_path, delete=True, remove_delay=0) as server:
        paths = [server.file("one"), server.file("two")]
        server.say({"dataset": [{"uid": path.name, "uri": str(path)} for path in paths]}, kind="dataset")
        server.announces(1)
        never(lambda: not all(path.exists() for path in paths), 1)
        assert server.push(server.fields()[0], tmp_path / "here").type == "dataset"
        eventually(lambda: not any(path.exists() for path in paths), message="both are removed")


@pytest.mark.parametrize("point", ["server.heard", "server.journaled", "server.announced"])
def test_what_was_heard_is_announced_after_a_crash(point: str, tmp_path: Path) -> None:
    with Listening(tmp_path, environment={"TROLLMOVES_CRASH_POINT": f"{point}:2"}) as server:
        names = [f"file{number}" for number in range(3)]
        for name in names[:2]:
            server.say({"uid": name, "uri": str(server.file(name))})
            if name == names[0]:
                server.announces(1)
        eventually(lambda: not server.program.running, message="the server is killed")
        known = {name for name, in rows(server.journal, "SELECT identity FROM files")}
        assert known == ({"file0"} if point == "server.heard" else {"file0", "file1"})
        program = server.program_with()
        with program:
            server.source.wait_for_subscriber(HEARD)
            server.say({"uid": names[2], "uri": str(server.file(names[2]))})
            wanted = known | {names[2]}
            eventually(lambda: wanted <= {fields["uid"] for fields in server.fields()}, message="all are announced")
            assert program.stop() == 0


def getting(server: Listening) -> Program:
    """A client of it, and where that has its files."""
    config = server.root / "client.ini"
    config.write_text(f"[get]\nproviders = 127.0.0.1:{server.port}\ntopic = {TOPIC}\ndestination = file://{server.root}/in/\n"
                      f"publish_port = {free_port()}\nnameservers = false\nlisten_address = 127.0.0.1\n")
    return Program.ours("client", "--journal", server.root / "c.journal", config, log=server.root / "client.log")


OFTEN = ("server.unpacked", "server.published", "server.requested", "server.moved", "server.acknowledged", "server.removing")


@pytest.mark.slow
@pytest.mark.parametrize("point", [
    pytest.param(point, marks=() if point in OFTEN else pytest.mark.nightly) for point in POINTS
    if point.startswith("server.") and point not in ("server.seen", "server.leased")])  # of directories; of groups of clients
def test_a_set_gets_through_a_crash_at(point: str, tmp_path: Path) -> None:
    packing = {"compression": "bzip2", "working_directory": tmp_path / "work", "delete": True, "remove_delay": 0}
    armed = {"TROLLMOVES_CRASH_POINT": f"{point}:1"}
    with Listening(tmp_path, environment=armed, **packing) as server, getting(server) as client:
        client.wait_for("has a journal that is new to us")
        packed = [server.file(f"{name}.bz2", bz2.compress(name.encode())) for name in ("one", "two")]
        dataset = {"dataset": [{"uid": path.name, "uri": str(path)} for path in packed]}
        server.say(dataset, kind="dataset")
        eventually(lambda: not server.program.running, message=f"it is killed at {point}")
        assert server.program.exit_status == -9
        with server.program_with() as program:
            if point == "server.heard":  # no journal has it: only who published it can say it again
                server.source.wait_for_subscriber(HEARD)
                server.say(dataset, kind="dataset")
            eventually(lambda: [(tmp_path / "in" / name).read_text() for name in ("one", "two")] == ["one", "two"], 60,
                       message="the client gets both")
            eventually(lambda: rows(tmp_path / "c.journal", "SELECT state FROM files") == [("published",)], 60)
            left = [*packed, tmp_path / "work"]
            eventually(lambda: not [path for top in left for path in (top, *top.rglob("*")) if path.is_file()], 60,
                       message="what was delivered is removed, and its copies")
            eventually(lambda: program.catches_sigterm, message="it has started")
            assert program.stop() == 0


def test_more_messages_than_are_held_in_memory(tmp_path: Path) -> None:
    with Listening(tmp_path) as server:
        path = server.file("one")
        count = 3000
        for number in range(count):
            server.say({"uid": f"file{number}", "uri": str(path)})
        server.announces(count, seconds=90)
        assert sorted(server.states().values()) == ["announced"] * count


def test_large_messages_about_nothing_do_not_fill_the_memory(tmp_path: Path) -> None:
    """A file may be late; but not everything that a stranger publishes can be kept until it comes."""
    with Listening(tmp_path) as server:
        for number in range(60):
            server.say({"uid": f"{number}", "uri": str(tmp_path / "missing"), "more": "x" * 1_900_000})
        eventually(lambda: list(server.states().values()).count("given_up") >= 20, 90, message="few of them wait")
        server.say({"uid": "real", "uri": str(server.file("real"))})
        eventually(lambda: server.states().get("real") == "announced", message="a real one is announced")


def test_our_client_gets_a_set(tmp_path: Path) -> None:
    with Listening(tmp_path) as server:
        paths = [server.file(f"a/{name}") for name in ("one", "two")]
        server.say({"dataset": [{"uid": path.name, "uri": str(path)} for path in paths]}, kind="dataset")
        server.announces(1)
        with getting(server):
            eventually(lambda: sorted(os.listdir(tmp_path / "in")) == ["one", "two"], message="the client gets both")
            eventually(lambda: rows(tmp_path / "c.journal", "SELECT state FROM files") == [("published",)])


def test_the_sender_is_translated(tmp_path: Path) -> None:
    with Listening(tmp_path, translate=True) as server:
        server.say({"uid": "one", "uri": str(server.file("one"))})
        server.announces(1)
        [(steps,)] = rows(server.journal, "SELECT steps FROM files")
        assert "@127.0.0.1" in steps
