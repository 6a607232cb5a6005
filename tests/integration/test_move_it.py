"""move_it as a process: files in a directory, files at their destinations, messages out, originals gone."""

from __future__ import annotations

import bz2
import os
import signal
from pathlib import Path

import pytest

from tests.faults.checker import rows
from tests.integration.moving import MovingIt, arrives, gone
from tests.support.auditing import audited
from tests.support.eventually import eventually, never
from tests.support.ftp_server import FtpScript, ScriptedFtpServer
from tests.support.ports import free_port
from tests.support.programs import Program
from tests.support.ssh_server import SshServer
from trollmoves.journal.ordering import place_order

LOGIN = "reader:a%20secret%3Aword"

TOO_LONG = "n" * 300
"""No directory can have this name."""


def test_each_file_goes_to_every_destination_and_is_published_once_for_each(tmp_path: Path) -> None:
    origin = f"{tmp_path}/incoming/{{platform}}_{{start_time:%Y%m%d%H%M}}_{{segment:3d}}.dat"
    options = f"""origin = {origin}
                  destinations = {tmp_path}/one/ file://{tmp_path}/two/{{platform}}/{{start_time:%Y-%m}}/
                  info = sensor=seviri;areas=a,b"""
    with MovingIt(tmp_path, options) as moving:
        moving.start()
        path = moving.write("M9_202601021200_007.dat")
        content = path.read_bytes()
        places = [tmp_path / "one" / path.name, tmp_path / "two" / "M9" / "2026-01" / path.name]
        for place in places:
            arrives(place, content)
        said = eventually(lambda: len(moving.published()) == 2 and moving.published())
        common = {"sensor": "seviri", "areas": ["a", "b"], "platform": "M9", "start_time": "2026-01-02T12:00:00", "segment": 7}
        assert sorted(said, key=lambda data: data["uri"]) == [{**common, "uri": str(place), "uid": path.name} for place in places]
        assert [list(data)[-2:] for data in said] == [["uri", "uid"]] * 2
        eventually(lambda: [state for _, _, state in moving.states()] == ["published", "published"])
        assert path.exists()
        assert moving.program.stop() == 0
        assert "Thank you" in moving.program.output()
        subjects = {text.split(" ")[0] for text in moving.recorder.texts}
        assert {"pytroll://moved", "pytroll://heartbeat/move_it"} >= subjects >= {"pytroll://moved"}


def test_without_a_port_nothing_is_published_and_a_request_port_is_named(tmp_path: Path) -> None:
    with MovingIt(tmp_path, f"destinations = {tmp_path}/out/", publishing=False) as moving:
        moving.start()
        arrives(tmp_path / "out" / "a.dat", moving.write("a.dat").read_bytes())
        eventually(lambda: [state for _, _, state in moving.states()] == ["published"])
        assert moving.recorder.texts == []


def test_a_request_port_is_named_in_the_messages(tmp_path: Path) -> None:
    options = f"destinations = {tmp_path}/out/\nrequest_port = 9094\nrequest_address = server.example"
    with MovingIt(tmp_path, options) as moving:
        moving.start().write("a.dat")
        assert eventually(moving.published)[0]["request_address"] == "server.example:9094"


def test_originals_go_when_all_have_them_and_only_then(tmp_path: Path) -> None:
    port = free_port()
    options = f"destinations = {tmp_path}/one/ ftp://{LOGIN}@127.0.0.1:{port}/\ndelete = true"
    with MovingIt(tmp_path, options) as moving:
        moving.start()
        content = b"x" * 1000
        path = moving.write("a.dat", content)
        arrives(tmp_path / "one" / "a.dat", content)
        moving.program.wait_for(r"could not move .*a\.dat to ftp://127\.0\.0\.1:\d+: .*to be tried again")
        never(lambda: not path.exists(), 1.0)
        with ScriptedFtpServer(tmp_path / "ftp", port=port) as server:
            gone(path)
            assert (server.root / "a.dat").read_bytes() == content
            eventually(lambda: moving.removals() == 0)
        (record,) = audited(moving.journal, "removed", wait_for=1)
        assert (record["uid"], record["path"]) == ("a.dat", str(path))
        assert f"ftp://127.0.0.1:{port}" in record["confirmed"]
        assert "secret" not in str(record)
        assert "secret" not in moving.program.output()
        assert b"secret" not in moving.journal.read_bytes()


def test_an_original_stays_when_a_destination_cannot_say_what_arrived(tmp_path: Path) -> None:
    with ScriptedFtpServer(tmp_path / "ftp", FtpScript(unknown={"SIZE", "MLST", "MLSD"})) as server:
        options = f"destinations = {tmp_path}/one/ ftp://{LOGIN}@127.0.0.1:{server.port}/\ndelete = true"
        with MovingIt(tmp_path, options) as moving:
            moving.start()
            path = moving.write("a.dat")
            eventually(lambda: [state for _, _, state in moving.states()] == ["published", "published"])
            assert (server.root / "a.dat").read_bytes() == path.read_bytes()
            moving.program.wait_for(r"a\.dat stays: a destination does not say what arrived there")
            assert moving.program.stop() == 0
            moving.start()
            never(lambda: not path.exists(), 2.0)


def test_an_original_stays_when_a_destination_refuses_it(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    options = f"destinations = {tmp_path}/one/ {tmp_path}/{TOO_LONG}/\ndelete = true"
    with MovingIt(tmp_path, options) as moving:
        moving.start()
        path = moving.write("a.dat")
        moving.program.wait_for(r"could not move .*a\.dat.*given up")
        eventually(lambda: sorted(state for _, _, state in moving.states()) == ["given_up", "published"])
        never(lambda: not path.exists(), 1.0)
        assert moving.program.stop() == 0
        moving.start()
        never(lambda: not path.exists(), 1.0)


def test_a_file_waits_for_a_directory_that_somebody_has_to_mend(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("is in the way")
    with MovingIt(tmp_path, f"destinations = {tmp_path}/file/below/\ndelete = true") as moving:
        moving.start()
        path = moving.write("a.dat")
        content = path.read_bytes()
        moving.program.wait_for(r"could not move .*a\.dat.*to be tried again")
        (tmp_path / "file").unlink()
        arrives(tmp_path / "file" / "below" / "a.dat", content)
        gone(path)


def test_a_file_that_a_host_refuses_is_tried_again(tmp_path: Path) -> None:
    refusals = {command: ["550 Permission denied"] * 2 for command in ("STOR", "MKD")}
    with ScriptedFtpServer(tmp_path / "ftp", FtpScript(answers=refusals)) as server:
        options = f"destinations = ftp://{LOGIN}@127.0.0.1:{server.port}/\ndelete = true"
        with MovingIt(tmp_path, options) as moving:
            moving.start()
            path = moving.write("a.dat")
            content = path.read_bytes()
            moving.program.wait_for(r"could not move .*a\.dat.*550.*to be tried again")
            arrives(server.root / "a.dat", content)
            gone(path)


def test_what_was_gone_and_is_there_again_is_moved(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("is in the way")
    with MovingIt(tmp_path, f"destinations = {tmp_path}/file/below/ {tmp_path}/one/\ndelete = true") as moving:
        moving.start()
        path = moving.write("a.dat")
        content = path.read_bytes()
        moving.program.wait_for(r"could not move .*a\.dat.*to be tried again")
        arrives(tmp_path / "one" / "a.dat", content)
        aside = moving.incoming.rename(tmp_path / "aside")
        (tmp_path / "file").unlink()
        eventually(lambda: sorted(state for _, _, state in moving.states()) == ["given_up", "published"], message="it is gone")
        aside.rename(moving.incoming)
        arrives(tmp_path / "file" / "below" / "a.dat", content)
        gone(path)


def test_what_was_gone_when_it_should_go_and_is_there_again_goes(tmp_path: Path) -> None:
    options = f"destinations = {tmp_path}/one/\ndelete = true\nreconcile = 2"
    with MovingIt(tmp_path, options, environment={"TROLLMOVES_CRASH_POINT": "move_it.everywhere:1"}) as moving:
        path = moving.write("f.dat")
        moving.program.start()
        assert moving.program.wait() == -signal.SIGKILL  # it is delivered, and not removed
        aside = moving.incoming.rename(tmp_path / "aside")
        moving.incoming.mkdir()
        moving.program = moving.program_with(None)
        moving.start()
        moving.program.wait_for("not removed: gone")
        moving.incoming.rmdir()
        aside.rename(moving.incoming)
        gone(path)
        eventually(lambda: not moving.removals())
        assert moving.program.stop() == 0


def test_an_original_stays_when_it_got_nowhere_though_an_operator_has_dismissed_it(tmp_path: Path) -> None:
    """What was dismissed for one destination goes when another one has it."""
    refusing = f"destinations = {tmp_path}/{TOO_LONG}/"
    with MovingIt(tmp_path, f"{refusing}\ndelete = true") as moving:
        moving.start()
        path = moving.write("a.dat")
        eventually(lambda: [state for _, _, state in moving.states()] == ["given_up"])
        place_order(moving.journal, "dismiss", "", [row[0] for row in rows(moving.journal, "SELECT id FROM files")])
        eventually(lambda: [state for _, _, state in moving.states()] == ["covered"])
        assert rows(moving.journal, "SELECT * FROM removals") == [], "remove_it may take it when it is old"
        assert moving.program.stop() == 0
        moving.start()
        never(lambda: not path.exists(), 2.0)
        assert moving.program.stop() == 0
        moving.write_config(f"{refusing} {tmp_path}/one/\ndelete = true")
        moving.start()
        other = moving.write("b.dat")
        eventually(lambda: ("b.dat", "given_up") in [(name, state) for name, _, state in moving.states()])
        arrives(tmp_path / "one" / "b.dat", content := other.read_bytes())
        place_order(moving.journal, "dismiss", "", [row[0] for row in rows(
            moving.journal, "SELECT id FROM files WHERE state = 'given_up'")])
        eventually(lambda: "given_up" not in [state for _, _, state in moving.states()])
        assert moving.program.stop() == 0
        moving.start()
        gone(other)
        assert (tmp_path / "one" / "b.dat").read_bytes() == content
        assert path.exists()


def test_empty_files_are_moved(tmp_path: Path) -> None:
    with MovingIt(tmp_path, f"destinations = {tmp_path}/out/\ndelete = true") as moving:
        moving.start()
        path = moving.write("empty.dat", b"")
        arrives(tmp_path / "out" / "empty.dat", b"")
        gone(path)


def test_the_backlog_is_moved_unless_disabled(tmp_path: Path) -> None:
    with MovingIt(tmp_path, f"destinations = {tmp_path}/out/") as moving:
        moving.write("before.dat")
        moving.start()
        arrives(tmp_path / "out" / "before.dat", b"before.dat" * 100)


def test_the_backlog_can_be_left_alone_and_directories_be_polled(tmp_path: Path) -> None:
    options = f"destinations = {tmp_path}/out/\nwatchdog_timeout = 0.1"
    with MovingIt(tmp_path, options, "--disable-backlog", "-w") as moving:
        moving.write("before.dat")
        moving.start()
        moving.write("after.dat")
        arrives(tmp_path / "out" / "after.dat", b"after.dat" * 100)
        assert not (tmp_path / "out" / "before.dat").exists()


@pytest.mark.parametrize("delete", [False, True])
def test_what_is_packed_is_unpacked_and_the_copy_goes(delete: bool, tmp_path: Path) -> None:
    work = tmp_path / "work"
    options = f"""origin = {tmp_path}/incoming/{{name}}.bz2
                  destinations = {tmp_path}/one/ {tmp_path}/two/{{name}}/
                  compression = bzip
                  working_directory = {work}
                  delete = {delete}"""
    with MovingIt(tmp_path, options) as moving:
        moving.start()
        path = moving.write("a.bz2", bz2.compress(b"contents" * 1000))
        arrives(tmp_path / "one" / "a", b"contents" * 1000)
        arrives(tmp_path / "two" / "a" / "a", b"contents" * 1000)
        assert {data["uid"] for data in eventually(lambda: len(moving.published()) == 2 and moving.published())} == {"a"}
        gone(work / "a")
        if delete:
            gone(path)
        else:
            never(lambda: not path.exists(), 0.5)


def test_what_is_damaged_is_moved_as_it_is(tmp_path: Path) -> None:
    options = f"origin = {tmp_path}/incoming/{{name}}.bz2\ndestinations = {tmp_path}/out/\ncompression = bzip\ndelete = yes"
    with MovingIt(tmp_path, options) as moving:
        moving.start()
        path = moving.write("a.bz2", b"this is no bzip2")
        arrives(tmp_path / "out" / "a.bz2", b"this is no bzip2")
        gone(path)


def test_one_slow_destination_does_not_delay_the_others(tmp_path: Path) -> None:
    dead = free_port()
    with MovingIt(tmp_path, f"destinations = sftp://127.0.0.1:{dead}/x/ {tmp_path}/out/") as moving:
        moving.start()
        for number in range(30):
            moving.write(f"f{number}.dat")
        for number in range(30):
            arrives(tmp_path / "out" / f"f{number}.dat", f"f{number}.dat".encode() * 100)


def test_of_two_contents_the_newer_one_comes_last(tmp_path: Path) -> None:
    port = free_port()
    with MovingIt(tmp_path, f"destinations = ftp://{LOGIN}@127.0.0.1:{port}/\ndelete = true") as moving:
        moving.start()
        moving.write("a.dat", b"old" * 1000)
        moving.program.wait_for(r"could not move .*a\.dat")
        path = moving.write("a.dat", b"new")
        eventually(lambda: len(moving.states()) == 2)
        with ScriptedFtpServer(tmp_path / "ftp", port=port) as server:
            gone(path)
            eventually(lambda: sorted(state for _, _, state in moving.states()) == ["covered", "published"])
            assert (server.root / "a.dat").read_bytes() == b"new"
        assert [data["uid"] for data in moving.published()] == ["a.dat"]


def test_what_lies_behind_a_link_for_a_while_is_moved_when_it_is_back(tmp_path: Path) -> None:
    """No new content came in its place: so it is not done with, and not to be removed."""
    port, day, elsewhere = free_port(), tmp_path / "incoming" / "day", tmp_path / "elsewhere"
    options = f"""origin = {tmp_path}/incoming/{{day}}/{{name}}.dat
                  destinations = {tmp_path}/one/ ftp://{LOGIN}@127.0.0.1:{port}/
                  delete = true"""
    with MovingIt(tmp_path, options) as moving:
        day.mkdir()
        path = moving.write("day/a.dat", b"content")
        moving.start()
        arrives(tmp_path / "one" / "a.dat", b"content")
        moving.program.wait_for(r"could not move .*a\.dat to ftp")
        day.rename(elsewhere)
        day.symlink_to(elsewhere)
        with ScriptedFtpServer(tmp_path / "ftp", port=port) as server:
            moving.program.wait_for(r"could not move .*a\.dat is a link or no regular file.*to be tried again")
            assert sorted(state for _, _, state in moving.states()) == ["failed", "published"]
            day.unlink()
            elsewhere.rename(day)
            arrives(server.root / "a.dat", b"content")
            gone(path)


def test_sftp_and_what_a_section_says_of_it(tmp_path: Path) -> None:
    with SshServer(tmp_path / "ssh") as server:
        options = f"""destinations = sftp://{server.user}@127.0.0.1:{server.port}{server.root}/in/{{name}}/ {tmp_path}/out/
                      connection_parameters__ssh_private_key_file = {server.client_key}
                      connection_parameters__known_hosts = {server.known_hosts}
                      delete = true"""
        with MovingIt(tmp_path, options) as moving:
            moving.start()
            path = moving.write("a.dat")
            arrives(server.root / "in" / "a" / "a.dat", b"a.dat" * 100)
            gone(path)


def test_a_changed_configuration_is_followed(tmp_path: Path) -> None:
    dead = free_port()
    with MovingIt(tmp_path, f"destinations = ftp://127.0.0.1:{dead}/ {tmp_path}/one/\ndelete = true") as moving:
        moving.start()
        path = moving.write("a.dat")
        arrives(tmp_path / "one" / "a.dat", b"a.dat" * 100)
        moving.program.wait_for(r"could not move .*a\.dat")
        moving.write_config(f"destinations = {tmp_path}/one/ {tmp_path}/two/\ndelete = true")
        os.kill(moving.program.pid, signal.SIGHUP)
        arrives(tmp_path / "two" / "a.dat", b"a.dat" * 100)  # what waited goes where the section says now
        gone(path)
        moving.write("b.dat")
        arrives(tmp_path / "two" / "b.dat", b"b.dat" * 100)
        assert moving.program.stop() == 0


def test_a_file_whose_fields_cannot_be_read_stops_nothing(tmp_path: Path) -> None:
    options = f"origin = {tmp_path}/incoming/{{time:%Y%m%d}}.dat\ndestinations = {tmp_path}/out/"
    with MovingIt(tmp_path, options) as moving:
        moving.start()
        moving.write("20269999.dat")
        moving.write("20260101.dat")
        arrives(tmp_path / "out" / "20260101.dat", b"20260101.dat" * 100)
        assert not (tmp_path / "out" / "20269999.dat").exists()


def test_remove_it_leaves_what_waits(tmp_path: Path) -> None:
    dead = free_port()
    with MovingIt(tmp_path, f"destinations = {tmp_path}/one/ ftp://127.0.0.1:{dead}/") as moving:
        moving.start()
        waiting = moving.write("waiting.dat")
        arrives(tmp_path / "one" / "waiting.dat", b"waiting.dat" * 100)
        moving.program.wait_for(r"could not move .*waiting\.dat")
        unknown = moving.incoming / "of_nobody.txt"
        unknown.write_text("x")
        config = tmp_path / "remove_it.ini"
        config.write_text(f"[DEFAULT]\nnameservers = false\n[in]\nbase_dir = {moving.incoming}\ntemplates = *\nseconds = 0\n")
        remover = Program.ours("clean", "--journal", moving.journal, config, log=tmp_path / "remove_it.log")
        remover.start()
        assert remover.wait() == 0
        assert not unknown.exists() and waiting.exists()
        assert "kept 1 old file(s) that wait to be delivered" in remover.output()


def test_sections_that_cannot_start_yet_are_complained_of_once(tmp_path: Path) -> None:
    """Each try for one of them was a try for all, so that there were twice as many every second."""
    information = tmp_path / "others-1.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: others\nVersion: 1\n")
    (information / "entry_points.txt").write_text("[trollmoves.unpackers]\nlater = come_later:UNPACKER\n")
    with MovingIt(tmp_path, f"destinations = {tmp_path}/out/\ncompression = later", publishing=False,
                  environment={"PYTHONPATH": str(tmp_path)}) as moving:
        moving.config.write_text(moving.config.read_text() + moving.config.read_text().replace("[sat]", "[other]"))
        moving.program.start().wait_for(r"section \[other\] is not started yet: .*come_later.*; trying again")
        never(lambda: moving.program.output().count("is not started yet") != 2, 3.5, message="each is complained of once")
        (tmp_path / "come_later.py").write_text("from trollmoves.unpacking import UNPACKERS\nUNPACKER = UNPACKERS['gzip']\n")
        moving.program.wait_for(r"\[sat\] watches")
        moving.program.wait_for(r"\[other\] watches")
