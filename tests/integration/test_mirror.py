"""The mirror with our servers and clients: real processes, in two networks where that is allowed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import zmq

from tests.faults.checker import payload_of
from tests.faults.network import Recorder
from tests.support.auditing import audited
from tests.support.eventually import eventually, never
from tests.support.mirrors import PATIENCE, TOPIC, Nodes, arrived, gone
from tests.support.namespaces import Edge
from tests.support.ports import free_port
from tests.support.programs import CHECKOUT, Program
from tests.support.tcp_proxy import TcpProxy
from trollmoves.messages import Envelope


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Nodes]:
    with Nodes(tmp_path) as nodes:
        yield nodes


def types_of(recorder: Recorder) -> set[str]:
    return {text.split(" ", 2)[1] for text in list(recorder.texts)}


def test_a_file_crosses_from_one_network_into_another(nodes: Nodes, tmp_path: Path) -> None:
    with ExitStack() as stack:
        edge = stack.enter_context(Edge())
        tops = {"mirror": tmp_path / "mirror" / "files", "client": tmp_path / "client" / "files"}
        ports = {name: free_port() for name in tops}
        server = nodes.server(side=edge.left, delete="true", remove_delay="0.5")
        mirror = nodes.mirror("mirror", [server.address], edge.middle_right, listen_address="*", ftp_root=tops["mirror"],
                              destination=f"ftp://{edge.middle_left.address}:{ports['mirror']}/kept/", login="user:secret-word")
        provider = f"{edge.middle_right.address}:{mirror.port}"
        client = nodes.client("client", [provider], edge.right, ftp_root=tops["client"], login="user:other-word",
                              destination=f"ftp://{edge.right.address}:{ports['client']}/in/")
        for name, side, password in (("mirror", edge.middle_left, "secret-word"), ("client", edge.right, "other-word")):
            ftp = Program([*side.prefix, sys.executable, "-m", "pyftpdlib", "-i", side.address, "-p", str(ports[name]), "-w",
                           "-d", tops[name], "-u", "user", "-P", password], tmp_path / f"ftp-{name}.log")
            stack.enter_context(ftp).wait_for("starting FTP server")
        nodes.start()
        if edge.separate:
            assert not reaches(edge, server.address), "the client's network reaches the server's"
        content = bytes(range(256)) * 400
        server.put("one.dat", content)
        eventually(lambda: (client.files / "in" / "one.dat").read_bytes() == content, PATIENCE, message="the file crosses")
        eventually(lambda: client.states() == {"one.dat": "published"}, PATIENCE, message="it is published")
        eventually(gone(server, mirror), PATIENCE, message="what the client has is removed here and there")
        assert [node.program.stop() for node in (client, mirror, server)] == [0, 0, 0]
        for text in (mirror.program.output(), server.program.output(), client.program.output()):
            assert "-word" not in text


def reaches(edge: Edge, address: str) -> bool:
    """Whether the machine on the right can connect to *address*."""
    host, _, port = address.partition(":")
    script = f"import socket; socket.create_connection(({host!r}, {port}), 2)"
    return subprocess.run([*edge.right.prefix, sys.executable, "-c", script], capture_output=True, timeout=20).returncode == 0


def test_what_it_announces(nodes: Nodes) -> None:
    server = nodes.server(info="sensor=seviri;channels=a,b")
    mirror = nodes.mirror("mirror", [server.address])
    client = nodes.client("client", [mirror.address])
    in_front, behind = Recorder(server.port), Recorder(mirror.port)
    try:
        nodes.start()
        server.put("one.dat")
        arrived(client, {"one.dat": b"content"})
        eventually(lambda: any(" beat " in text for text in behind.texts), PATIENCE, message="it beats")
        heard, = in_front.files()
        announced, = behind.files()
    finally:
        in_front.close()
        behind.close()
    assert types_of(behind) == {"file", "beat"}, "inner messages are not seen outside"
    assert {text.split(" ", 1)[0] for text in behind.texts if " beat " in text} == {"pytroll://heartbeat/move_it_mirror"}
    assert next(text for text in behind.texts if " file " in text).startswith(f"pytroll:/{TOPIC} file ")
    assert announced["request_address"] == f"127.0.0.1:{mirror.request_port}"
    ours, theirs = announced.pop("trollmoves"), heard.pop("trollmoves")
    assert {**announced, "request_address": ""} == {**heard, "request_address": ""}
    assert isinstance(ours, dict) and isinstance(theirs, dict)
    assert ours["epoch"] != theirs["epoch"] and ours["address"] == announced["request_address"]
    assert (ours["key"], ours["size"]) == (theirs["key"], theirs["size"])
    assert len(ours["via"]) == 1 and ours["offset"] == 1


def test_it_fetches_when_somebody_asks_and_not_before(nodes: Nodes) -> None:
    server = nodes.server()
    mirror = nodes.mirror("mirror", [server.address], remove_delay="600")
    nodes.start()
    server.put("one.dat")
    eventually(lambda: mirror.states() == {"one.dat": "announced"}, PATIENCE, message="it is announced")
    assert mirror.names() == set()
    client = nodes.client("client", [mirror.address]).start()
    arrived(client, {"one.dat": b"content"})
    assert mirror.names() == {"one.dat"}
    other = nodes.client("other", [mirror.address]).start()
    arrived(other, {"one.dat": b"content"})
    assert mirror.find("SELECT count(*) FROM files WHERE steps LIKE '%\"requested\"%\"requested\"%'") == [(0,)], "it asked once"


def test_what_was_removed_is_fetched_again_for_who_comes_later(nodes: Nodes) -> None:
    server = nodes.server()
    mirror = nodes.mirror("mirror", [server.address])
    client = nodes.client("client", [mirror.address])
    nodes.start()
    server.put("one.dat")
    arrived(client, {"one.dat": b"content"})
    eventually(gone(mirror), PATIENCE, message="the copy is removed")
    other = nodes.client("other", [mirror.address]).start()
    arrived(other, {"one.dat": b"content"})
    eventually(gone(mirror), PATIENCE, message="and removed again")
    assert server.names() == {"one.dat"}


def test_it_asks_another_provider_when_the_first_cannot_deliver(nodes: Nodes) -> None:
    first, second = nodes.server("first"), nodes.server("second")
    mirror = nodes.mirror("mirror", [first.address, second.address])
    nodes.start()
    first.put("one.dat", b"the same")
    eventually(lambda: mirror.states() == {"one.dat": "announced"}, PATIENCE, message="heard of the first")
    second.put("one.dat", b"the same")
    eventually(lambda: mirror.find("SELECT count(*) FROM sources") == [(1,)], PATIENCE, message="and of the second")
    (first.files / "one.dat").unlink()
    client = nodes.client("client", [mirror.address]).start()
    arrived(client, {"one.dat": b"the same"})
    assert client.find("SELECT count(*) FROM files") == [(1,)], "announced once"


def test_what_is_gone_at_its_origin_is_said_to_be_gone(nodes: Nodes) -> None:
    server = nodes.server()
    mirror = nodes.mirror("mirror", [server.address])
    nodes.start()
    server.put("one.dat")
    eventually(lambda: mirror.states() == {"one.dat": "announced"}, PATIENCE, message="it is announced")
    (server.files / "one.dat").unlink()
    client = nodes.client("client", [mirror.address]).start()
    eventually(lambda: client.states() == {"one.dat": "given_up"}, PATIENCE, message="the client gives up")
    steps = str(client.find("SELECT steps FROM files")[0][0])
    assert "cannot be had any more" in steps and str(server.request_port) not in steps


@pytest.mark.slow
def test_clients_hear_that_a_slow_fetch_goes_on(nodes: Nodes) -> None:
    server = nodes.server(bandwidth_per_host="128k")
    mirror = nodes.mirror("mirror", [server.address])
    client = nodes.client("client", [mirror.address])
    nodes.start()
    content = bytes(range(256)) * 7000
    server.put("large.dat", content)  # takes 14 seconds; a provider that says nothing for longer than 10 is asked how far it is
    arrived(client, {"large.dat": content})
    for node in (mirror, client):
        steps = str(node.find("SELECT steps FROM files")[0][0])
        assert steps.count('"requested"') == 1 and "failed" not in steps, steps


def test_a_section_that_is_changed_goes_on_with_what_is_asked_for(nodes: Nodes) -> None:
    server = nodes.server(bandwidth_per_host="400k")
    mirror = nodes.mirror("mirror", [server.address])
    client = nodes.client("client", [mirror.address])
    nodes.start()
    content = bytes(range(256)) * 6000
    server.put("large.dat", content)
    eventually(lambda: mirror.states() == {"large.dat": "requested"}, PATIENCE, message="it is being fetched")
    mark = mirror.program.mark()
    mirror.configure(remove_delay="0.7")
    mirror.program.wait_for(r"\[section\] mirrors", since=mark)
    arrived(client, {"large.dat": content})
    eventually(gone(mirror), PATIENCE, message="and released")


def test_a_server_that_lost_its_journal_is_asked_for_what_it_announces_anew(nodes: Nodes) -> None:
    server = nodes.server()
    mirror = nodes.mirror("mirror", [server.address])
    nodes.start()
    names = [f"f{number}.dat" for number in range(5)]
    for name in names:
        server.put(name)
    eventually(lambda: set(mirror.states()) == set(names), PATIENCE, message="all are announced")
    server.program.kill()
    for path in server.folder.glob("server.journal*"):
        path.unlink()
    server.start()
    epoch = str(server.find("SELECT value FROM meta WHERE name = 'epoch'")[0][0])
    eventually(lambda: mirror.find(f"SELECT count(*) FROM sources WHERE message LIKE '%{epoch}%'") == [(5,)], PATIENCE,
               message="the mirror has heard all anew")
    client = nodes.client("client", [mirror.address]).start()
    arrived(client, dict.fromkeys(names, b"content"))
    assert mirror.find("SELECT count(*) FROM announcements") == [(5,)], "announced once"


def test_new_content_under_an_old_name_is_passed_on(nodes: Nodes) -> None:
    server = nodes.server()
    mirror = nodes.mirror("mirror", [server.address], remove_delay="600")
    client = nodes.client("client", [mirror.address])
    nodes.start()
    for content in (b"first", b"second one", b"third"):
        server.put("one.dat", content)
        eventually(lambda content=content: (client.files / "one.dat").read_bytes() == content, PATIENCE, message="it arrives")


def test_what_could_not_be_fetched_is_nobodys_loss_once_newer_content_is_announced(nodes: Nodes) -> None:
    server = nodes.server()
    mirror = nodes.mirror("mirror", [server.address])
    nodes.start()
    server.put("one.dat", b"first")
    eventually(lambda: mirror.states() == {"one.dat": "announced"}, PATIENCE, message="it is announced")
    with (server.files / "one.dat").open("wb") as file:
        file.write(b"second")
        file.flush()
        client = nodes.client("client", [mirror.address]).start()
        eventually(lambda: mirror.states() == {"one.dat": "failed"}, PATIENCE, message="the mirror cannot have it now")
        file.write(b" one")
    arrived(client, {"one.dat": b"second one"})
    assert [state for state, in mirror.find("SELECT state FROM files ORDER BY id")][0] == "covered"


def test_old_content_that_is_heard_after_newer_one_is_not_announced(nodes: Nodes) -> None:
    """What was missed is heard after what is new; clients would take it for newer, and could not have it."""
    port, address = free_port(), f"127.0.0.1:{free_port()}"
    mirror = nodes.mirror("mirror", [f"127.0.0.1:{port}"]).start()

    def announces(name: str, offset: int, directory: str = "/data") -> bytes:
        said = {"version": 1, "epoch": "e:1", "offset": offset, "previous": 0, "key": f"k:{offset}", "address": address}
        data = {"uid": name, "uri": f"{directory}/{name}", "request_address": address, "trollmoves": said}
        return Envelope("u@h").encode(TOPIC, "file", data)

    def heard(name: str) -> bool:
        for message in messages:
            publisher.send(message)
        return name in mirror.states()

    with zmq.Context() as context, context.socket(zmq.PUB) as publisher:
        publisher.bind(f"tcp://127.0.0.1:{port}")
        messages = [announces("one.dat", 5)]
        eventually(lambda: heard("one.dat"), PATIENCE, message="the newer content is heard")
        messages = [announces("one.dat", 4), announces("one.dat", 3, "/other"), announces("two.dat", 6)]
        eventually(lambda: heard("two.dat"), PATIENCE, message="another file is heard")
    keys = [key for key, in mirror.find("SELECT key FROM files ORDER BY key")]
    assert keys == ["k:3", "k:5", "k:6"], "what was in another directory is another file"


def test_a_client_that_hears_a_mirror_late_keeps_the_newer_content_that_it_had_from_the_server(nodes: Nodes) -> None:
    server = nodes.server()
    mirror = nodes.mirror("mirror", [server.address], remove_delay="600")
    behind = nodes.client("behind", [mirror.address])
    client = nodes.client("client", [server.address])
    nodes.start()
    server.put("one.dat", b"first")
    for node in (behind, client):
        arrived(node, {"one.dat": b"first"})
    behind.stop()  # so that the mirror keeps the first content
    server.put("one.dat", b"second one")
    arrived(client, {"one.dat": b"second one"})
    eventually(lambda: mirror.find("SELECT count(*) FROM announcements") == [(2,)], PATIENCE, message="the mirror announces both")
    server.stop()
    client.stop()
    client.configure(providers=f"{server.address} {mirror.address}")
    client.start()

    def hears_the_mirror() -> bool:
        return client.find(f"SELECT position FROM cursors WHERE provider = '{mirror.address}'") == [(2,)]
    eventually(hears_the_mirror, PATIENCE, message="what the mirror announced is heard")
    never(lambda: (client.files / "one.dat").read_bytes() != b"second one", 3)
    assert client.find("SELECT count(*) FROM announcements") == [(2,)], "nothing is published again"


def test_new_content_of_the_same_size_that_only_the_second_server_has_is_no_copy(nodes: Nodes) -> None:
    """The first one has failed: what it had before is known, and the second had that, too."""
    first, second = nodes.server("first"), nodes.server("second")
    mirror = nodes.mirror("mirror", [first.address, second.address])
    client = nodes.client("client", [first.address, second.address])
    behind = nodes.client("behind", [mirror.address])
    nodes.start()
    first.put("one.dat", b"first")
    for node in (client, behind):
        arrived(node, {"one.dat": b"first"})
    second.put("one.dat", b"first")

    def hear_the_second() -> bool:
        cursors = [node.find(f"SELECT position FROM cursors WHERE provider = '{second.address}'") for node in (client, mirror)]
        return cursors == [[(1,)], [(1,)]]
    eventually(hear_the_second, PATIENCE, message="the second server is heard")
    first.stop()
    second.put("one.dat", b"other")
    for node in (client, behind):
        arrived(node, {"one.dat": b"other"})


def test_newer_content_of_a_second_server_waits_for_older_content_that_is_being_moved(nodes: Nodes) -> None:
    """Else what is slower arrives last, and stays."""
    first, second = nodes.server("first", bandwidth_per_host="100k", checksum="never"), nodes.server("second")
    client = nodes.client("client", [first.address, second.address])
    nodes.start()
    first.put("one.dat", bytes(500_000))
    eventually(lambda: client.states().get("one.dat") == "requested", PATIENCE, message="it is asked for")
    second.put("one.dat", b"newer")
    eventually(lambda: client.find("SELECT state FROM files") == [("published",)] * 2, PATIENCE, message="both are published")
    never(lambda: (client.files / "one.dat").read_bytes() != b"newer", 7)


def test_for_a_stranger_nothing_is_fetched(nodes: Nodes) -> None:
    server = nodes.server()
    mirror = nodes.mirror("mirror", [server.address])
    client = nodes.client("client", [mirror.address], destination="sftp://192.0.2.77/data/in/", create_target_directory="false")
    nodes.start()
    server.put("one.dat")
    said = client.program.wait_for("to allow it, add to section .section. of the server", PATIENCE)
    assert said
    assert mirror.names() == set()
    assert '"requested"' not in str(mirror.find("SELECT steps FROM files")[0][0])


def test_delay_holds_announcements_back_also_over_a_kill(nodes: Nodes) -> None:
    server = nodes.server()
    mirror = nodes.mirror("mirror", [server.address], delay="4")
    client = nodes.client("client", [mirror.address])
    nodes.start()
    server.put("one.dat")
    eventually(lambda: mirror.states() == {"one.dat": "seen"}, PATIENCE, message="it is heard")
    mirror.program.kill()
    mirror.start()
    arrived(client, {"one.dat": b"content"})
    (heard,), (announced,) = (mirror.find(f"SELECT {column} FROM {table}") for column, table in
                              (("created", "files"), ("time", "announcements")))
    assert float(str(announced[0])) - float(str(heard[0])) >= 4


def test_each_provider_may_have_a_topic_of_its_own(nodes: Nodes) -> None:
    one, other = nodes.server("one", topic="/one"), nodes.server("other", topic="/other/files")
    mirror = nodes.mirror("mirror", [one.address, f"{other.address}/other"], client_topic="/one")
    client = nodes.client("client", [mirror.address], topic=None)
    nodes.start()
    one.put("a.dat")
    other.put("b.dat")
    arrived(client, {"a.dat": b"content", "b.dat": b"content"})
    subjects = {str(row[0]) for row in mirror.find("SELECT subject FROM announcements")}
    assert subjects == {"/one", "/other/files"}


def test_origin_lets_through_the_names_it_matches(nodes: Nodes) -> None:
    server = nodes.server()
    mirror = nodes.mirror("mirror", [server.address], origin="/anywhere/good_{number:02d}.dat")
    client = nodes.client("client", [mirror.address])
    nodes.start()
    server.put("bad_01.dat")
    server.put("good_01.dat")
    arrived(client, {"good_01.dat": b"content"})
    assert mirror.states().keys() == {"good_01.dat"}


def test_sections_share_a_port_and_are_reloaded(nodes: Nodes) -> None:
    server = nodes.server()
    mirror = nodes.mirror("mirror", [server.address], client_topic="/nothing")
    client = nodes.client("client", [mirror.address])
    nodes.start()
    server.put("early.dat")
    never(lambda: mirror.states(), 1.0, message="a file of another topic is heard")
    mark = mirror.program.mark()
    mirror.configure(client_topic=TOPIC)
    mirror.config.write_text(mirror.config.read_text() + mirror.config.read_text().replace("[section]", "[twin]").replace(
        TOPIC, "/twin"))
    mirror.program.signal(signal.SIGHUP)
    mirror.program.wait_for(r"\[twin\] mirrors /twin", since=mark)
    server.put("one.dat")
    arrived(client, {"one.dat": b"content"})
    mirror.config.write_text(mirror.config.read_text().replace("providers", "provders"))
    mirror.program.wait_for("providers: is missing", since=mark)
    server.put("two.dat")
    arrived(client, {"two.dat": b"content"})


def test_a_mirror_is_reached_under_another_address_when_the_first_fails(nodes: Nodes, tmp_path: Path) -> None:
    server = nodes.server(allowed_destinations="any")
    dead, live = free_port(), free_port()
    mirror = nodes.mirror("mirror", [server.address], destination=f"ftp://127.0.0.1:{dead}/kept/",
                          backup_targets=f"127.0.0.1:{live}", ftp_root=tmp_path / "mirror" / "files")
    client = nodes.client("client", [mirror.address])
    ftp = Program([sys.executable, "-m", "pyftpdlib", "-i", "127.0.0.1", "-p", str(live), "-w", "-d", mirror.files],
                  tmp_path / "ftp.log")
    with ftp:
        ftp.wait_for("starting FTP server")
        nodes.start()
        server.put("one.dat")
        arrived(client, {"one.dat": b"content"})
        eventually(gone(mirror), PATIENCE, message="the copy is removed")
    steps = str(mirror.find("SELECT steps FROM files")[0][0])
    assert steps.count('"requested"') == 1 and "failed" not in steps, steps


def test_copies_are_kept_as_the_section_says(nodes: Nodes) -> None:
    server = nodes.server()
    kept = nodes.mirror("kept", [server.address], delete="false")
    old = nodes.mirror("old", [server.address], remove_delay="600", delete_after="1")
    clients = [nodes.client(f"of_{mirror.folder.name}", [mirror.address]) for mirror in (kept, old)]
    nodes.start()
    server.put("one.dat")
    for client in clients:
        arrived(client, {"one.dat": b"content"})
    eventually(gone(old), PATIENCE, message="delete_after removes it")
    audited(old.journal, "removed", wait_for=1)
    eventually(lambda: kept.find("SELECT count(*) FROM copies") == [(0,)], PATIENCE, message="it is left to others")
    assert kept.names() == {"one.dat"}


def test_a_file_waits_for_every_known_client(nodes: Nodes) -> None:
    server = nodes.server(delete="true", remove_delay="0.2")
    mirror = nodes.mirror("mirror", [server.address])
    one, other = (nodes.client(name, [mirror.address]) for name in ("one", "other"))
    nodes.start()
    server.put("first.dat")
    for client in (one, other):
        arrived(client, {"first.dat": b"content"})
    eventually(gone(mirror), PATIENCE, message="what both have is removed")
    other.program.kill()
    server.put("second.dat")
    arrived(one, {"second.dat": b"content"})
    never(gone(mirror), 2.5, message="the copy is removed before all have it")
    other.start()
    arrived(other, {"second.dat": b"content"})
    eventually(gone(mirror, server), PATIENCE, message="now it is removed, here and at the server")
    first, second = audited(mirror.journal, "removed", wait_for=2)
    assert (first["uid"], second["uid"]) == ("first.dat", "second.dat")
    assert "one" in second["confirmed"] and "other" in second["confirmed"]


def test_what_a_mirror_could_not_fetch_and_its_client_has_from_elsewhere_is_removed(nodes: Nodes) -> None:
    server = nodes.server(delete="true", remove_delay="0.2", trusted_acks="127.0.0.1")
    mirror = nodes.mirror("mirror", [server.address], trusted_acks="127.0.0.1")
    client = nodes.client("client", [mirror.address])
    nodes.start()
    server.put("first.dat")
    arrived(client, {"first.dat": b"content"})
    eventually(gone(mirror, server), PATIENCE, message="both know who has to have what they announce")
    mirror.files.rmdir()
    mirror.files.write_text("in the way of everything that is fetched")
    server.put("second.dat")
    eventually(lambda: mirror.find("SELECT identity FROM files WHERE steps LIKE '%\"failed\"%'") == [("second.dat",)], PATIENCE,
               message="the mirror cannot fetch it")
    client.stop()
    client.configure(providers=f"{mirror.address} {server.address}")
    client.start()
    arrived(client, {"second.dat": b"content"})
    eventually(gone(server), PATIENCE, message="the server hears that the mirror needs it no more")


def test_a_row_of_three(nodes: Nodes) -> None:
    server = nodes.server(delete="true", remove_delay="0.2")
    mirrors, provider = [], server.address
    for number in range(3):
        mirrors.append(nodes.mirror(f"mirror{number}", [provider]))
        provider = mirrors[-1].address
    client = nodes.client("client", [provider])
    nodes.start()
    wanted = {f"f{number:02}.dat": b"content %d" % number for number in range(30)}
    for name, content in wanted.items():
        server.put(name, content)
    arrived(client, wanted)
    eventually(gone(server, *mirrors), PATIENCE, message="acknowledgements pass through all three")
    via = payload_of(str(mirrors[-1].find("SELECT message FROM announcements LIMIT 1")[0][0]))["trollmoves"]
    assert isinstance(via, dict) and len(via["via"]) == 3


def test_a_ring_of_three_stops(nodes: Nodes) -> None:
    server = nodes.server()
    ports = [free_port() for _ in range(3)]
    mirrors = []
    for number in range(3):
        before = f"127.0.0.1:{ports[number - 1]}"
        mirror = nodes.mirror(f"mirror{number}", [server.address, before] if number == 0 else [before])
        mirror.port = ports[number]
        mirror.armed("")
        mirrors.append(mirror)
    client = nodes.client("client", [mirrors[2].address])
    nodes.start()
    wanted = {f"f{number:02}.dat": b"content %d" % number for number in range(20)}
    for name, content in wanted.items():
        server.put(name, content)
    arrived(client, wanted)
    eventually(lambda: dropped(mirrors[0]) >= 20, PATIENCE, message="what has come back is dropped, and counted")
    assert [mirror.find("SELECT count(*) FROM announcements") for mirror in mirrors] == [[(20,)]] * 3


def dropped(mirror: object) -> int:
    found = mirror.find("SELECT value FROM meta WHERE name = 'dropped:section'")  # type: ignore[attr-defined]
    return int(found[0][0]) if found else 0


def test_the_example_runs(tmp_path: Path) -> None:
    ports = {old: str(free_port()) for old in ("9010", "9011", "9015", "9094", "9095")}
    programs = []
    (tmp_path / "outgoing").mkdir()
    for name in ("server", "mirror", "client"):
        text = (CHECKOUT / "examples" / f"{name}.ini").read_text().replace("/tmp/trollmoves-example", str(tmp_path))
        if name == "client":
            text = text.replace("127.0.0.1:9010", "127.0.0.1:9015")
        for old, new in ports.items():
            text = text.replace(old, new)
        (tmp_path / f"{name}.ini").write_text(text + "listen_address = 127.0.0.1\n")
        port = {"server": ["-p", ports["9010"]], "mirror": ["-p", ports["9015"]], "client": []}[name]
        programs.append(Program.ours(name, *port, "--journal", tmp_path / f"{name}.journal", tmp_path / f"{name}.ini",
                                     log=tmp_path / f"{name}.log"))
    with programs[0], programs[1], programs[2]:
        for program, line in zip(programs, ("watches", "mirrors", "listens to"), strict=True):
            program.wait_for(line)
        (tmp_path / "staged").write_text("hello\n")
        (tmp_path / "staged").rename(tmp_path / "outgoing" / "demo_20260101120000_00001.dat")
        arrived_at = tmp_path / "incoming" / "demo" / "demo_20260101120000_00001.dat"
        eventually(lambda: arrived_at.read_text() == "hello\n", message="the file crosses")
        assert [program.stop() for program in reversed(programs)] == [0, 0, 0]


def test_an_aged_copy_that_cannot_be_removed_is_told_once_and_removed_when_it_can(nodes: Nodes) -> None:
    server = nodes.server()
    mirror = nodes.mirror("mirror", [server.address], remove_delay="600", delete_after="5")
    client = nodes.client("client", [mirror.address])
    nodes.start()
    server.put("one.dat")
    arrived(client, {"one.dat": b"content"})
    copy = mirror.files / "one.dat"
    if os.geteuid() or subprocess.run(["mount", "--bind", copy, copy], capture_output=True).returncode:
        pytest.skip("needs root to mount a file on itself")
    try:
        mirror.program.wait_for("a copy cannot be removed")
        never(lambda: not mirror.program.running, 3.0, message="the mirror ends")
        assert [record["path"] for record in audited(mirror.journal, "not removed", wait_for=1)] == [str(copy)]
        assert mirror.program.output().count("cannot be removed") == 1, "it is tried once a minute"
    finally:
        subprocess.run(["umount", "-l", copy], check=True)
    eventually(gone(mirror), 2 * PATIENCE, message="it goes when it can")


def test_a_file_that_was_away_when_one_of_two_clients_asked_is_announced_again_when_the_other_has_it(
        nodes: Nodes, tmp_path: Path) -> None:
    """The mirror hears that it is back only when it has fetched it for the other one."""
    server = nodes.server()
    with TcpProxy("127.0.0.1", server.port) as heard:
        mirror = nodes.mirror("mirror", [f"127.0.0.1:{heard.port}"])
        one, two = (nodes.client(name, [mirror.address]) for name in ("one", "two"))
        for node in (server, mirror):
            node.start()
        server.put("a.dat")
        eventually(lambda: mirror.states().get("a.dat") == "announced", PATIENCE, message="it is announced")
        with heard.black():
            away = tmp_path / "away"
            server.files.rename(away)
            one.start()
            eventually(lambda: one.states().get("a.dat") == "given_up", PATIENCE, message="it is gone")
            away.rename(server.files)
            two.start()
            arrived(two, {"a.dat": b"content"})
        arrived(one, {"a.dat": b"content"})
