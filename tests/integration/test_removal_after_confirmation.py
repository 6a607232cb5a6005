"""An origin goes when those have confirmed that `delete` asks for, and only while it is the very file that was delivered."""

from __future__ import annotations

import gzip
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import product
from pathlib import Path

import pytest

from tests.compatibility.network import ask
from tests.faults.checker import rows
from tests.faults.network import Network
from tests.integration.requesting import ENVELOPE, Scene
from tests.support.auditing import audited
from tests.support.eventually import eventually, never
from tests.support.ftp_server import FtpScript, ScriptedFtpServer
from tests.support.programs import CHECKOUT
from trollmoves.bus.requesting import new_request
from trollmoves.messages import EXTENSION, Message, decode

BLIND = FtpScript(unknown={"SIZE", "MLST", "MLSD"})


@contextmanager
def serving(root: Path, delete: str, **options: str) -> Iterator[Scene]:
    with Network(root, server_options={"delete": delete, "remove_delay": "0.5", **options}) as network:
        scene = Scene(network)
        try:
            yield scene
        finally:
            scene.close()


def is_there(scene: Scene, name: str) -> bool:
    return (scene.network.origins[0] / name).exists()


def delivered(scene: Scene, announcement: Message, client: str, confirmed: bool = True) -> str:
    """Have the file delivered to a client of its own group, and confirmed."""
    request = new_request()
    assert scene.outcome(announcement, request, client=client, group=client).type == "file"
    if confirmed:
        scene.confirm(announcement, request)
    return request


def test_a_delivery_alone_removes_nothing(tmp_path: Path) -> None:
    with serving(tmp_path, "true") as scene:
        announcement = scene.announced("a.bin")
        request = delivered(scene, announcement, "recv@one/a", confirmed=False)
        never(lambda: not is_there(scene, "a.bin"), 3.0, message="it goes although nobody confirmed it")
        scene.confirm(announcement, request)
        eventually(lambda: not is_there(scene, "a.bin"), message="it goes when that is confirmed")


def test_all_known_consumers_have_to_confirm(tmp_path: Path) -> None:
    with serving(tmp_path, "all") as scene:
        for name in ("recv@one/a", "recv@two/b"):
            delivered(scene, scene.announced(f"{name[5:8]}.bin"), name, confirmed=False)
        announcement = scene.announced("a.bin")
        delivered(scene, announcement, "recv@one/a")
        never(lambda: not is_there(scene, "a.bin"), 3.0, message="it goes before the other consumer has it")
        delivered(scene, announcement, "recv@two/b")
        eventually(lambda: not is_there(scene, "a.bin"), message="it goes when both have confirmed")
        record = audited(scene.network.server_journal(), "removed", wait_for=1)[-1]
        assert (record["uid"], record["why"], record["path"]) == ("a.bin", "delivered", str(scene.network.origins[0] / "a.bin"))
        assert record["confirmed"] == "recv@one/a (127.0.0.1), recv@two/b (127.0.0.1)"
        scene.network.servers[0].wait_for(rf"a\.bin removed \(delivered\) \(audit {record['number']}\)")


def test_the_first_one_suffices(tmp_path: Path) -> None:
    with serving(tmp_path, "first") as scene:
        for name in ("recv@one/a", "recv@two/b"):
            delivered(scene, scene.announced(f"{name[5:8]}.bin"), name, confirmed=False)
        delivered(scene, scene.announced("a.bin"), "recv@two/b")
        eventually(lambda: not is_there(scene, "a.bin"), message="it goes when one has confirmed")


@pytest.mark.parametrize("last", ["recv@two/b", "recv@one/a"])
def test_those_that_are_named_have_to_confirm(tmp_path: Path, last: str) -> None:
    first = "recv@one/a" if last == "recv@two/b" else "recv@two/b"
    with serving(tmp_path, "recv@one recv@two") as scene:
        announcement = scene.announced("a.bin")
        for name in (first, "recv@three/c"):  # one that is not named does not count
            delivered(scene, announcement, name)
        never(lambda: not is_there(scene, "a.bin"), 3.0, message="it goes before all that are named have it")
        delivered(scene, announcement, last)
        eventually(lambda: not is_there(scene, "a.bin"), message="it goes when all have confirmed")


def test_another_file_of_the_same_name_stays(tmp_path: Path) -> None:
    with serving(tmp_path, "true") as scene:
        announcement = scene.announced("a.bin")
        request = delivered(scene, announcement, "recv@one/a", confirmed=False)
        scene.network.write("a.bin", b"another one, which nobody has")
        scene.confirm(announcement, request)
        never(lambda: not is_there(scene, "a.bin"), 3.0, message="the new file goes for the old one")


@pytest.mark.parametrize("replaced", [True, False], ids=["replaced", "removed by its owner"])
def test_a_file_that_is_no_more_is_not_to_be_removed(tmp_path: Path, replaced: bool) -> None:
    """Also where somebody has not confirmed it, and never will: it would be looked at, and remembered, for ever."""
    with serving(tmp_path, "true") as scene:
        for name in ("recv@one/a", "recv@two/b"):
            delivered(scene, scene.announced(f"{name[5:8]}.bin"), name, confirmed=False)
        announcement = scene.announced("a.bin")
        delivered(scene, announcement, "recv@one/a")
        waiting = "SELECT 1 FROM removals JOIN files ON files.id = file WHERE identity = 'a.bin'"
        journal = scene.network.server_journal()
        eventually(lambda: rows(journal, waiting), message="it waits for the other consumer")
        never(lambda: not is_there(scene, "a.bin") or not rows(journal, waiting), 3.0, message="it goes, or is forgotten")
        if replaced:
            scene.network.write("a.bin", b"newer content, which nobody has")
        else:
            (scene.network.origins[0] / "a.bin").unlink()
        eventually(lambda: not rows(journal, waiting), message="nothing waits any more")
        never(lambda: is_there(scene, "a.bin") != replaced, 2.0, message="the newer one goes")


def test_an_unpacked_file_that_was_replaced_is_not_to_be_removed(tmp_path: Path) -> None:
    """Nor when the newer one, which came out of the rewritten archive, is removed by then."""
    options = {"origin": f"{tmp_path}/origin0/{{name}}.bin.gz", "compression": "gzip", "working_directory": f"{tmp_path}/work"}
    due = "SELECT removals.due FROM removals JOIN files ON files.id = file WHERE identity = 'a.bin'"
    with serving(tmp_path, "true", **options | {"remove_delay": "0"}) as scene:
        journal = scene.network.server_journal()

        def announced(name: str, size: int) -> Message:
            scene.network.write(f"{name}.gz", gzip.compress(bytes(size)))
            return eventually(lambda: next(message for text in scene.recorder.texts if f'"{name}"' in text
                                           if (message := decode(text.encode())).extension["size"] == size))

        for name in ("recv@one/a", "recv@two/b"):
            delivered(scene, announced(f"{name[5:8]}.bin", 7), name, confirmed=False)
        older = announced("a.bin", 8)
        delivered(scene, older, "recv@one/a")
        before = eventually(lambda: rows(journal, due), message="it waits for the other consumer")
        eventually(lambda: rows(journal, due) != before, message="it was just looked at, and not soon again")
        newer = announced("a.bin", 9)
        for name in ("recv@one/a", "recv@two/b"):
            delivered(scene, newer, name)
        eventually(lambda: not is_there(scene, "a.bin.gz"), message="the newer one goes")
        eventually(lambda: not rows(journal, due), message="nothing waits any more")


def test_a_file_that_is_away_for_a_moment_waits_on_when_it_is_there_again(tmp_path: Path) -> None:
    with serving(tmp_path, "true", reconcile="1") as scene:
        for name in ("recv@one/a", "recv@two/b"):
            delivered(scene, scene.announced(f"{name[5:8]}.bin"), name, confirmed=False)
        announcement = scene.announced("a.bin")
        delivered(scene, announcement, "recv@one/a")
        waiting = "SELECT 1 FROM removals JOIN files ON files.id = file WHERE identity = 'a.bin'"
        journal, place = scene.network.server_journal(), scene.network.origins[0] / "a.bin"
        eventually(lambda: rows(journal, waiting), message="it waits for the other consumer")
        place.rename(tmp_path / "away.bin")
        eventually(lambda: not rows(journal, waiting), message="it is gone")
        (tmp_path / "away.bin").rename(place)
        eventually(lambda: rows(journal, waiting), message="it waits again")
        never(lambda: not is_there(scene, "a.bin"), 3.0, message="it goes before the other consumer has it")
        delivered(scene, announcement, "recv@two/b")
        eventually(lambda: not is_there(scene, "a.bin"), message="it goes when both have it")


def test_what_one_client_was_refused_while_it_was_away_is_announced_again_though_another_one_has_it(tmp_path: Path) -> None:
    """The other one confirms it after that, which is what the journal tells of the file then."""
    with serving(tmp_path, "true") as scene:
        delivered(scene, scene.announced("b.bin"), "recv@two/b")
        announcement = scene.announced("a.bin")
        request = delivered(scene, announcement, "recv@one/a", confirmed=False)
        scene.network.origins[0].rename(tmp_path / "away")
        scene.network.servers[0].wait_for("does not exist: waiting for it")
        asked = {"client": "recv@two/b", "group": "recv@two/b"}
        assert scene.outcome(announcement, new_request(), **asked).extension["code"] == "gone"
        scene.confirm(announcement, request)
        (tmp_path / "away").rename(scene.network.origins[0])
        texts = scene.recorder.texts
        again = eventually(lambda: [text for text in texts if '"a.bin"' in text][1], message="it is announced again")
        delivered(scene, decode(again.encode()), "recv@two/b")
        eventually(lambda: not is_there(scene, "a.bin"), message="it goes when both have it")


def test_a_client_that_is_named_by_its_address_cannot_be_spoken_for(tmp_path: Path) -> None:
    with serving(tmp_path, "192.0.2.7") as scene:
        announcement = scene.announced("a.bin")
        for name in ("recv@192.0.2.7/a", "192.0.2.7", "192.0.2.7/a"):
            delivered(scene, announcement, name)
        never(lambda: not is_there(scene, "a.bin"), 3.0, message="a name counts for an address")


@pytest.mark.parametrize("delete", ["all", "first"])
def test_who_was_not_served_cannot_confirm(tmp_path: Path, delete: str) -> None:
    """Not by a made-up request, nor by saying that it is somebody who was served (its name, or its address), even from the same
    machine."""
    with serving(tmp_path, delete) as scene:
        announcement = scene.announced("a.bin")
        request = delivered(scene, announcement, "recv@one/a", confirmed=False)
        scene.confirm(announcement, new_request())
        scene.confirm(announcement, "r:")
        for client, said in product(("recv@one/a", "127.0.0.1"), ({}, {"request": new_request()})):
            extension = {**announcement.extension, "client": client, "group": "recv@one/a", **said}
            data = {**announcement.fields, EXTENSION: extension}
            assert ask(scene.network.request_ports[0], ENVELOPE.encode(announcement.subject, "ack", data)) is not None
        never(lambda: not is_there(scene, "a.bin"), 4.0, message="a stranger's word counts")
        scene.confirm(announcement, request)
        eventually(lambda: not is_there(scene, "a.bin"), 20, message="it goes when who was served confirms")


def test_what_a_destination_cannot_vouch_for_is_removed_for_no_confirmation(tmp_path: Path) -> None:
    with ScriptedFtpServer(tmp_path / "ftp", BLIND) as server, serving(tmp_path, "first") as scene:
        place = f"ftp://reader:a%20secret%3Aword@127.0.0.1:{server.port}/"
        blind, seen = scene.announced("blind.bin"), scene.announced("seen.bin")
        request = new_request()
        reply = scene.outcome(blind, request, client="recv@one/a", group="recv@one/a", destination=place)
        assert reply.type == "file", reply.data
        scene.confirm(blind, request)
        delivered(scene, seen, "recv@one/a")
        eventually(lambda: not is_there(scene, "seen.bin"), message="what was verified goes")
        assert (server.root / "blind.bin").read_bytes() == (scene.network.origins[0] / "blind.bin").read_bytes()
        never(lambda: not is_there(scene, "blind.bin"), 2.0, message="it goes although nobody could say that it arrived")
        scene.server.wait_for("does not say what arrives there")
        assert "secret" not in scene.server.output()
        delivered(scene, blind, "recv@two/b")
        eventually(lambda: not is_there(scene, "blind.bin"), message="somebody else has it for sure")


OURS = {"client": "recv@one/a", "group": "us"}


@pytest.mark.parametrize(("served", "acks"), [
    pytest.param({}, {}, id="upstream"), pytest.param(OURS, OURS, id="ours"), pytest.param(OURS, {}, id="no name, same machine"),
    pytest.param(OURS, {"client": "recv@one/b", "group": "us"}, id="same group")])
def test_an_ack_vouches_for_no_destination_that_cannot(tmp_path: Path, served: dict[str, str], acks: dict[str, str]) -> None:
    """Not of an upstream client that was served, nor of one whose acks are trusted; what is too old goes."""
    with ScriptedFtpServer(tmp_path / "ftp", BLIND) as server, serving(
            tmp_path, "first", trusted_acks="127.0.0.1", delete_after="10") as scene:

        def ask_as(who: dict[str, str], kind: str, announcement: Message) -> None:
            said = {**announcement.extension, **who, "request": new_request()}
            data = {**announcement.fields, "destination": f"ftp://reader:a%20secret%3Aword@127.0.0.1:{server.port}/",
                    **({EXTENSION: said} if who else {})}
            reply = ask(scene.network.request_ports[0], ENVELOPE.encode(announcement.subject, kind, data))
            assert reply is not None
            assert decode(reply).type != "err", reply
        blind, unserved = scene.announced("blind.bin"), scene.announced("unserved.bin")
        ask_as(served, "push", blind)
        ask_as(acks, "ack", blind)
        ask_as(acks, "ack", unserved)
        eventually(lambda: not is_there(scene, "unserved.bin"), message="what it has from elsewhere goes")
        never(lambda: not is_there(scene, "blind.bin"), 3.0, message="it goes although nobody could say that it arrived")
        assert (server.root / "blind.bin").exists()
        eventually(lambda: not is_there(scene, "blind.bin"), message="it is too old")


def test_an_ack_that_was_meant_for_a_lost_journal_counts_for_that_content_only(tmp_path: Path) -> None:
    """Its position says nothing any more, and under its name may be what nobody has."""
    with serving(tmp_path, "true", trusted_acks="127.0.0.1") as scene:
        def ack(announcement: Message) -> None:
            said = {**announcement.extension, **OURS, "epoch": "e:0123456789abcdef", "request": new_request()}
            data = {**announcement.fields, EXTENSION: said}
            assert ask(scene.network.request_ports[0], ENVELOPE.encode(announcement.subject, "ack", data))

        older = scene.announced("a.bin")
        scene.network.write("a.bin", b"newer content, which nobody has")
        newer = eventually(lambda: next(message for text in scene.recorder.texts if '"a.bin"' in text
                                        and (message := decode(text.encode())).extension["key"] != older.extension["key"]))
        ack(older)
        never(lambda: not is_there(scene, "a.bin"), 3.0, message="the newer content goes for the older")
        ack(newer)
        eventually(lambda: not is_there(scene, "a.bin"), message="it goes when somebody has it")


def test_a_stranger_takes_nothing_from_a_group_whose_name_it_does_not_know(tmp_path: Path) -> None:
    """Where strangers may have files anywhere: it says that it is the client, of the group that it would be of by default, asks
    first, publishes nothing and confirms."""
    options = {"delete": "true", "remove_delay": "0.5", "allowed_destinations": "any"}
    with Network(tmp_path, server_options=options, client_options={"group": "recv of a secret name"}) as network:
        scene = Scene(network)
        try:
            network.client.start()
            network.write("before.bin", b"before")
            eventually(lambda: not is_there(scene, "before.bin"), message="the client confirms what it publishes")
            name = rows(network.server_journal(), "SELECT client FROM transfers")[0][0]
            network.client.stop()
            announcement, request = scene.announced("a.bin"), new_request()
            destination = rows(network.server_journal(), "SELECT destination FROM transfers")[0][0]
            reply = scene.outcome(announcement, request, client=name, group="recv", destination=destination)
            assert reply.type == "file"
            scene.confirm(announcement, request)
            never(lambda: not is_there(scene, "a.bin"), 3.0, message="it goes for a stranger's word")
            network.client.start()
            eventually(lambda: ("published",) in rows(network.client_journal, "SELECT state FROM files WHERE identity = 'a.bin'"),
                       message="the group publishes")
            eventually(lambda: not is_there(scene, "a.bin"), message="it goes when the group has confirmed")
            recorder = network.recorder
            assert not [text for text in recorder.texts if "secret name" in text], "the name of a group is told to providers only"
            assert recorder.beats()
        finally:
            scene.close()


def lose(journal: Path) -> None:
    """Remove a journal and what belongs to it."""
    for path in list(journal.parent.glob(f"{journal.name}*")):
        path.unlink()


def origins(network: Network) -> set[str]:
    return {path.name for path in network.origins[0].iterdir()}


def test_what_a_lost_journal_knew_as_delivered_stays_until_an_operator_says_whose_acks_count(tmp_path: Path) -> None:
    """The new journal does not know to whom it was delivered, and takes nobody's word for it; new files are removed as ever."""
    with Network(tmp_path, server_options={"delete": "true", "remove_delay": "60"}, killed=True) as network:
        network.begin(3)
        before = origins(network)
        network.stop()
        lose(network.server_journal())
        network.server_options |= {"remove_delay": "0.2"}
        network.write_server_config()
        network.start()
        network.servers[0].wait_for("did not deliver to it: the file is kept .to let it be removed, set trusted_acks = 127.0.0.1")
        network.write_many(3, "after")
        network.settle()
        eventually(lambda: origins(network) == before, message="what came later goes")
        never(lambda: origins(network) != before, 3.0, message="what was delivered before goes")
        network.server_options |= {"trusted_acks": "127.0.0.1"}
        mark = network.servers[0].mark()
        network.write_server_config()
        network.servers[0].wait_for("reload|watches", since=mark)
        assert retry_since(network.server_journal()) == 0
        eventually(lambda: not origins(network), message="they go when the client's word counts and they are announced again")


def retry_since(journal: Path) -> int:
    return subprocess.run([sys.executable, "-m", "trollmoves.cli.umbrella", "retry", "--since", "1h", "--journal", str(journal)],
                          cwd=CHECKOUT, timeout=60, stdout=subprocess.DEVNULL).returncode


def test_who_was_known_to_a_lost_journal_is_not_waited_for_unless_named(tmp_path: Path) -> None:
    for delete, waits in (("true", False), ("recv@one recv@two", True)):
        root = tmp_path / str(waits)
        root.mkdir()
        with serving(root, delete) as scene:
            first = scene.announced("a.bin")
            for name in ("recv@one/a", "recv@two/b"):
                delivered(scene, first, name)
            eventually(lambda: not origins(scene.network), message="both have it")
            server = scene.network.servers[0]
            assert server.stop() == 0
            lose(scene.network.server_journal())
            server.start()
            delivered(scene, scene.announced("b.bin"), "recv@one/a")
            if waits:
                never(lambda: not origins(scene.network), 3.0, message="it goes before the other one that is named has it")
            else:
                eventually(lambda: not origins(scene.network), message="nobody else is known")


def test_a_client_that_lost_its_journal_publishes_what_it_had_again_although_the_origins_are_gone(tmp_path: Path) -> None:
    with Network(tmp_path, server_options={"delete": "true", "remove_delay": "0.2"}, killed=True) as network:
        network.start()
        network.write_many(3)
        network.settle(deletes=True)
        before = {path: path.stat().st_ino for path in network.destination.iterdir()}
        network.stop()
        lose(network.client_journal)
        network.start()
        eventually(lambda: network.states(network.client_journal) == {"published": 3}, 30, message="all are published again")
        assert {path: path.stat().st_ino for path in network.destination.iterdir()} == before


def test_a_confirmed_file_goes_also_when_its_announcement_was_forgotten_before(tmp_path: Path) -> None:
    """The journal keeps fewer files than wait for their destination."""
    place = tmp_path / "destination" / "in"
    with Network(tmp_path, server_options={"delete": "true", "remove_delay": "0.5", "retention_entries": "3"},
                 client_options={"destination": f"file://{place}/"}) as network:
        place.write_text("in the place of the directory")
        server = network.servers[0]
        often = "import trollmoves.journal.cleaning as cleaning; cleaning.EVERY = 1.0"
        begin = server.argv.index("-m")
        server.argv[begin:begin + 2] = ["-c", f"{often}; from trollmoves.cli.server import main; main()"]
        network.start()
        network.write_many(20)
        eventually(lambda: network.states(network.client_journal) == {"failed": 20}, message="all wait")
        announced = "SELECT count(*) FROM announcements"
        eventually(lambda: rows(network.server_journal(), announced) == [(3,)], message="most are forgotten")
        place.unlink()
        network.settle(deletes=True)


def rename(scene: Scene, stopped: bool) -> None:
    """Give the section another name, while it runs or is *stopped*."""
    config = scene.network.server_config()
    if stopped:
        scene.server.stop()
    config.write_text(config.read_text().replace("[send]", "[sent]"))
    if stopped:
        scene.server.start()
    scene.server.wait_for(r"\[sent\] watches")


@pytest.mark.parametrize("stopped", [False, True])
def test_a_renamed_section_waits_for_those_it_served(tmp_path: Path, stopped: bool) -> None:
    """Renamed while it runs, or *stopped*: a consumer that is away meanwhile has not confirmed what is there, and what comes."""
    with serving(tmp_path, "true") as scene:
        for name in ("recv@one/a", "recv@two/b"):
            delivered(scene, scene.announced(f"{name[5:8]}.bin"), name, confirmed=False)
        rename(scene, stopped)
        announcement = scene.announced("a.bin")
        delivered(scene, announcement, "recv@one/a")
        never(lambda: not is_there(scene, "a.bin"), 4.0, message="it goes before the other consumer has it")
        delivered(scene, announcement, "recv@two/b")
        eventually(lambda: not is_there(scene, "a.bin"), message="it goes when both have confirmed")


def test_what_was_confirmed_to_a_section_counts_when_it_has_another_name(tmp_path: Path) -> None:
    """Of what both have, and of what the other consumer gets only then; also after another start."""
    with serving(tmp_path, "true", remove_delay="4") as scene:
        for name in ("recv@one/a", "recv@two/b"):
            delivered(scene, scene.announced(f"{name[5:8]}.bin"), name, confirmed=False)
        both, one = scene.announced("both.bin"), scene.announced("a.bin")
        for name in ("recv@one/a", "recv@two/b"):
            delivered(scene, both, name)
        delivered(scene, one, "recv@one/a")
        rename(scene, stopped=False)
        eventually(lambda: not is_there(scene, "both.bin"), message="what both have goes")
        rename(scene, stopped=True)
        delivered(scene, one, "recv@two/b")
        eventually(lambda: not is_there(scene, "a.bin"), message="it goes when both have confirmed")


def test_a_delivery_is_confirmed_by_the_place_of_a_later_announcement_of_the_same(tmp_path: Path) -> None:
    """A mirror that announced again what had been away, or a client that was away, goes by the later one."""
    with serving(tmp_path, "true") as scene:
        announcement = scene.announced("a.bin")
        request = delivered(scene, announcement, "recv@one/a", confirmed=False)
        config = scene.network.server_config()
        config.write_text(config.read_text() + "\n" + config.read_text().replace("[send]", "[too]"))
        again = eventually(lambda: [decode(text.encode()) for text in scene.recorder.texts if '"a.bin"' in text][1])
        assert again.extension["offset"] != announcement.extension["offset"]
        assert again.extension["key"] == announcement.extension["key"]
        scene.confirm(again, new_request())  # which nobody has made
        never(lambda: not is_there(scene, "a.bin"), 3.0, message="it goes though nobody confirmed it")
        scene.confirm(again, request)
        eventually(lambda: not is_there(scene, "a.bin"), message="it goes when that is confirmed")


def test_a_section_that_is_renamed_back_before_the_journal_knows_has_its_files_removed(tmp_path: Path) -> None:
    with serving(tmp_path, "true") as scene:
        announcement = scene.announced("a.bin")
        request = delivered(scene, announcement, "recv@one/a", confirmed=False)
        config, text = scene.network.server_config(), scene.network.server_config().read_text()
        with closing(sqlite3.connect(scene.network.server_journal(), isolation_level=None)) as journal:
            journal.execute("BEGIN IMMEDIATE")  # nobody else can write
            config.write_text(text.replace("[send]", "[sent]"))
            scene.server.wait_for(r"\[sent\] has the place of")
            mark = scene.server.mark()
            config.write_text(text)
            scene.server.wait_for("reloading", since=mark)
            journal.execute("ROLLBACK")
        scene.server.wait_for(r"\[send\] watches", since=mark)
        scene.confirm(announcement, request)
        eventually(lambda: not is_there(scene, "a.bin"), message="it goes when that is confirmed")
