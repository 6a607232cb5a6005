"""The dispatcher as a process: messages in, files at targets, messages out."""

from __future__ import annotations

import socket
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.faults.checker import rows
from tests.integration.dispatching import SUBJECT, Dispatching, arrives
from tests.support.eventually import eventually, never
from tests.support.ftp_server import ScriptedFtpServer
from tests.support.ports import free_port
from tests.support.programs import CHECKOUT
from tests.support.ssh_server import SshServer


def local(root: Path, name: str = "here", more: str = "", item: str = "") -> str:
    """A target on this machine."""
    return f"""
{name}:
  host: ""
  directory: {root}/{name}/{{sensor}}
  publish_topic: /dispatched/{name}/{{sensor}}
{more}
  dispatch_configs:
    - topics: [{SUBJECT}]
{item}
"""


def test_a_failure_on_this_machine_says_so(tmp_path: Path) -> None:
    with Dispatching(tmp_path, local(tmp_path)) as dispatching:
        dispatching.program.start()
        dispatching.source.wait_for_subscriber()
        dispatching.source.publish({"uid": "none", "uri": f"{tmp_path}/none", "sensor": "viirs"})
        dispatching.program.wait_for(rf"could not dispatch {tmp_path}/none to this machine: .*given up")


def test_a_file_goes_where_its_message_says(tmp_path: Path) -> None:
    target = local(tmp_path, more="  filepattern: '{platform_name}_{start_time:%Y%m%d%H%M}_{product}.nc'\n"
                                  "  aliases: {product: {green_snow: gs}}",
                   item="      conditions: [{product: [green_snow, true_color], coverage: '>50'}]")
    with Dispatching(tmp_path, target) as dispatching:
        dispatching.start()
        said = {"platform_name": "npp", "start_time": "2024-01-01T12:34:56", "product": "green_snow", "coverage": 80}
        dispatching.announce("unwanted.nc", **{**said, "coverage": 20})
        origin = dispatching.announce("a.nc", **said)
        final = tmp_path / "here" / "viirs" / "npp_202401011234_gs.nc"
        arrives(final, origin)
        subject, data = eventually(dispatching.published)[0]
        assert subject == "/dispatched/here/viirs"
        assert data.pop("trollmoves").keys() == {"version", "epoch", "offset", "previous"}
        assert data == {"uid": "a.nc", "uri": str(final), "sensor": "viirs", **said}
        eventually(lambda: dispatching.states() == {"here a.nc": "published"})
        assert [path.name for path in final.parent.iterdir()] == [final.name]
        assert dispatching.program.stop() == 0
        assert "Thank you" in dispatching.program.output()


def test_datasets_and_collections_are_their_files(tmp_path: Path) -> None:
    with Dispatching(tmp_path, local(tmp_path)) as dispatching:
        dispatching.start()
        names = [f"{letter}.nc" for letter in "abcdef"]
        a, b, c, d, e, f = ({"uid": name, "uri": str(dispatching.file(name))} for name in names)
        dispatching.source.publish({"sensor": "one", "dataset": [a, {"uid": "no uri"}, 7, b]}, kind="dataset")
        dispatching.source.publish({"sensor": "two", "collection": [
            {"dataset": [c, d], "start_time": "2024-01-01T00:00:00"}, {**e, "sensor": "three"}]}, kind="collection")
        dispatching.source.publish({**f, "sensor": "four"}, kind="push")  # of no concern
        dispatching.announce("last.nc")
        for place, name in (("one", "a"), ("one", "b"), ("two", "c"), ("two", "d"), ("three", "e"), ("viirs", "last")):
            arrives(tmp_path / "here" / place / f"{name}.nc", dispatching.incoming / f"{name}.nc")
        assert not (tmp_path / "here" / "four").exists()
        published = eventually(lambda: len(found := dispatching.published()) == 6 and found)
        about_c = next(data for _, data in published if data["uid"] == "c.nc")
        assert about_c.pop("trollmoves").keys() == {"version", "epoch", "offset", "previous"}
        assert about_c == {"uid": "c.nc", "uri": f"{tmp_path}/here/two/c.nc", "sensor": "two",
                           "start_time": "2024-01-01T00:00:00"}


def test_several_items_and_targets_take_the_same_file(tmp_path: Path) -> None:
    targets = local(tmp_path, "one", item=f"    - topics: [{SUBJECT}]\n      directory: {tmp_path}/again\n"
                                          f"    - topics: [{SUBJECT}]\n"  # the same place: once
                                          "    - topics: [/level3]\n      directory: /never")
    with Dispatching(tmp_path, targets + local(tmp_path, "two")) as dispatching:
        dispatching.start()
        raw = dispatching.source.publish({"uid": "a", "uri": str(dispatching.file("a")), "sensor": "viirs"})
        dispatching.source.send(raw)  # heard twice, as when two addresses lead to one publisher
        for place in ("one/viirs", "again", "two/viirs"):
            arrives(tmp_path / place / "a", dispatching.incoming / "a")
        eventually(lambda: len(dispatching.published()) == 3)
        never(lambda: len(dispatching.published()) > 3, 0.5)


@pytest.mark.parametrize("silent", [False, True], ids=["nobody listens", "nobody answers"])
def test_a_dead_target_delays_no_other(silent: bool, tmp_path: Path) -> None:
    port = free_port()
    listening = socket.create_server(("127.0.0.1", port)) if silent else None
    dead = local(tmp_path, "dead", "  failure_topic: /failed/{uid}").replace('host: ""', f"host: ftp://me:geheim@127.0.0.1:{port}")
    with Dispatching(tmp_path, dead + local(tmp_path, "alive")) as dispatching:
        dispatching.start()
        for number in range(30):
            dispatching.announce(f"f{number}")
        for number in range(30):
            arrives(tmp_path / "alive" / "viirs" / f"f{number}", dispatching.incoming / f"f{number}")
        eventually(lambda: list(dispatching.states().values()).count("published") == 30)
        told = eventually(lambda: dispatching.published("err"))
        subject, data = told[0]
        assert subject == f"/failed/{data['uid']}" and data["final"] is False and data["target"] == "dead"
        assert data["destination"] == f"ftp://127.0.0.1:{port}" and "geheim" not in "".join(dispatching.recorder.texts)
        dispatching.program.wait_for("left alone for a while")
        waiting = [state for name, state in dispatching.states().items() if name.startswith("dead")]
        assert len(waiting) == 30 and set(waiting) <= {"announced", "failed"}
        assert "geheim" not in dispatching.program.output()
        assert b"geheim" not in dispatching.journal.read_bytes()
        # It moves: what waited goes to the new place.
        dispatching.write_config(local(tmp_path, "dead") + local(tmp_path, "alive"))
        for number in range(30):
            arrives(tmp_path / "dead" / "viirs" / f"f{number}", dispatching.incoming / f"f{number}")
        eventually(lambda: len(dispatching.published()) == 60)
        assert dispatching.program.stop() == 0
    if listening is not None:
        listening.close()


def test_a_target_that_stays_dead_is_given_up(tmp_path: Path) -> None:
    target = local(tmp_path, "dead", "  failure_topic: /failed\n  give_up_after: 2s")
    with Dispatching(tmp_path, target.replace('host: ""', f"host: ftp://127.0.0.1:{free_port()}")) as dispatching:
        dispatching.start()
        for number in range(3):
            dispatching.announce(f"f{number}")
        eventually(lambda: set(dispatching.states().values()) == {"given_up"}, 100)
        eventually(lambda: sorted(data["uid"] for _, data in dispatching.published("err") if data["final"]) == ["f0", "f1", "f2"])
        assert dispatching.program.stop() == 0


def test_the_configuration_is_followed(tmp_path: Path) -> None:
    with Dispatching(tmp_path, local(tmp_path, "one")) as dispatching:
        dispatching.start()
        arrives(tmp_path / "one/viirs/a", dispatching.announce("a"))
        dispatching.write_config("one: 7\n")
        dispatching.program.wait_for("goes on as before")
        arrives(tmp_path / "one/viirs/b", dispatching.announce("b"))
        dispatching.write_config(local(tmp_path, "two").replace(SUBJECT, "/other"))
        dispatching.source.wait_for_subscriber("/other")
        path = dispatching.file("c")
        dispatching.source.publish({"uid": "c", "uri": str(path), "sensor": "viirs"}, subject="/other/x")
        arrives(tmp_path / "two/viirs/c", path)
        assert not (tmp_path / "one/viirs/c").exists()
        assert dispatching.program.stop() == 0


def test_without_a_port_nothing_is_published(tmp_path: Path) -> None:
    with Dispatching(tmp_path, local(tmp_path), publishing=False) as dispatching:
        dispatching.start()
        arrives(tmp_path / "here/viirs/a", dispatching.announce("a"))
        eventually(lambda: dispatching.states() == {"here a": "published"})
        assert dispatching.program.stop() == 0 and dispatching.recorder.texts == []


def test_the_file_may_say_where_results_are_published(tmp_path: Path) -> None:
    with Dispatching(tmp_path, "", publishing=False) as dispatching:
        dispatching.write_config(f"""
            posttroll_publisher: {{port: {dispatching.publish_port}, nameservers: false}}
            here:
              host: ""
              directory: {tmp_path}/out
              publish_topic: /out
              dispatch_configs: [{{topics: [/level2/viirs]}}]
            """)
        dispatching.start()
        origin = dispatching.announce("a.dat")
        arrives(tmp_path / "out" / "a.dat", origin)
        eventually(lambda: [subject for subject, _ in dispatching.published()] == ["/out"], message="it is published")


def test_over_the_network(tmp_path: Path) -> None:
    with SshServer(tmp_path / "ssh") as ssh, ScriptedFtpServer(tmp_path / "ftp") as ftp:
        password = ftp.password.replace(" ", "%20").replace(":", "%3A")
        targets = f"""
        sftp:
          host: sftp://{ssh.user}@127.0.0.1:{ssh.port}
          connection_parameters: {{ssh_key_filename: {ssh.client_key}, known_hosts: {ssh.known_hosts}}}
          directory: {ssh.root}/{{sensor}}
          publish_topic: /dispatched/sftp
          dispatch_configs: [{{topics: [{SUBJECT}]}}]
        ftp:
          host: ftp://{ftp.user}:{password}@127.0.0.1:{ftp.port}
          directory: /in
          publish_topic: /dispatched/ftp
          dispatch_configs: [{{topics: [{SUBJECT}]}}]
        """
        with Dispatching(tmp_path, targets) as dispatching:
            dispatching.start()
            origins = [dispatching.announce(f"f{number}") for number in range(10)]
            for origin in origins:
                arrives(ssh.root / "viirs" / origin.name, origin)
                arrives(ftp.root / "in" / origin.name, origin)
            published = eventually(lambda: len(found := dispatching.published()) == 20 and found)
            assert ("/dispatched/ftp", "/in/f0") in {(subject, data["uri"]) for subject, data in published}
            assert dispatching.program.stop() == 0
            journaled = dispatching.journal.read_bytes().decode("latin-1")
            for said in (dispatching.program.output(), *dispatching.recorder.texts, journaled):
                assert "secret" not in said


def test_the_example_runs(tmp_path: Path) -> None:
    with Dispatching(tmp_path, "") as dispatching:
        text = (CHECKOUT / "examples" / "dispatcher.yaml").read_text().replace("/tmp/trollmoves-example", str(tmp_path))
        assert "127.0.0.1:9011" in text
        dispatching.config.write_text(text.replace("127.0.0.1:9011", f"127.0.0.1:{dispatching.source.port}"))
        dispatching.program.start()
        dispatching.source.wait_for_subscriber("/example")
        path = dispatching.file("demo_20260101120000_00001.dat")
        said = {"uid": path.name, "uri": str(path), "platform": "demo", "start_time": "2026-01-01T12:00:00", "number": 1}
        dispatching.source.publish(said, subject="/example/files")
        dispatching.source.publish({**said, "number": 700, "uid": "x"}, subject="/example/files")
        arrives(tmp_path / "archive" / "20260101" / path.name, path)
        arrives(tmp_path / "first" / "D1_1200.dat", path)
        eventually(lambda: len(dispatching.published()) == 3)  # the archive takes both
        assert len(list((tmp_path / "first").iterdir())) == 1
        assert dispatching.program.stop() == 0


def test_a_login_that_is_refused_is_an_alarm_until_it_is_not(tmp_path: Path) -> None:
    """The files wait meanwhile; for a day nothing else would be said of them."""
    def alarms(dispatching: Dispatching) -> list[tuple[object, ...]]:
        return rows(dispatching.journal, "SELECT about, cleared IS NULL FROM alarms WHERE kind = 'locked out'")

    def target(password: str) -> str:
        login = f"{server.user}:{quote(password, safe='')}@127.0.0.1:{server.port}"
        return local(tmp_path, "one").replace('host: ""', f"host: ftp://{login}").replace(f"{tmp_path}/one", "/one")
    with ScriptedFtpServer(tmp_path / "ftp") as server, Dispatching(tmp_path, "") as dispatching:
        place = f"ftp://127.0.0.1:{server.port}"
        dispatching.write_config(target("an old one"))
        dispatching.start()
        path = dispatching.announce("a.dat")
        eventually(lambda: alarms(dispatching) == [(place, 1)], message="an alarm")
        dispatching.write_config(target(server.password))
        arrives(server.root / "one" / "viirs" / "a.dat", path)
        eventually(lambda: alarms(dispatching) == [(place, 0)], message="it is over")
