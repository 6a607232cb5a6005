"""Unpacking in a network of real programs: before announcing, after delivery, across kills, with hostile archives."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import os
import tarfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from tests.contract.test_unpackers import CASES, NAME, PIXELS, XRIT, Case, segment, tar_of
from tests.faults.checker import payload_of, rows, tree
from tests.faults.network import Network
from tests.faults.test_disks_and_stops import replace, small_disk
from tests.integration.hostile import Peer, text
from tests.support.eventually import eventually
from tests.support.ports import free_port
from tests.support.programs import Program

__all__ = ["small_disk"]  # a fixture

QUICKLY = {"delete": "true", "remove_delay": "0.5"}


def network_of(root: Path, ending: str, *, server: Mapping[str, str] | None = None, client: Mapping[str, str] | None = None,
               destination: Path | None = None) -> Network:
    """A server that announces files with *ending*, and a client."""
    options = {"origin": f"{root}/origin0/{{name}}{ending}", **(server or {})}
    network = Network(root, server_options=options, client_options=client, destination=destination)
    network.killed = True
    return network


def published(network: Network) -> list[tuple[str, dict[str, object]]]:
    """Type and data of what the client published of files."""
    texts = [text for text in list(network.recorder.texts) if text.split(" ", 2)[1] in ("file", "dataset", "collection")]
    return [(text.split(" ", 2)[1], payload_of(text)) for text in texts]


def uids_published(network: Network) -> set[str]:
    return {str(item["uid"]) for _, data in published(network) for item in data.get("dataset", [data])}  # type: ignore[attr-defined]


def wait_published(network: Network, *uids: str, seconds: float = 45) -> None:
    eventually(lambda: set(uids) <= uids_published(network), seconds, message=f"{uids} published")


def wait_recorded(network: Network, uid: str) -> None:
    """Until the client's journal says so: after a restart nobody may have listened yet."""
    query = "SELECT announcements.message FROM announcements JOIN files ON files.id = file WHERE state = 'published'"
    eventually(lambda: uid in [payload_of(str(row[0]))["uid"] for row in rows(network.client_journal, query)], 45,
               message=f"{uid} published")


def history(journal: Path, identity: str) -> list[list[object]]:
    """All steps of the newest row of *identity*."""
    (steps,), *_ = rows(journal, f"SELECT steps FROM files WHERE identity = '{identity}' ORDER BY id DESC")
    return [json.loads(line) for line in str(steps).splitlines()]


def states(journal: Path, identity: str) -> list[str]:
    return [str(row[0]) for row in rows(journal, f"SELECT state FROM files WHERE identity = '{identity}' ORDER BY id")]


def alarms(journal: Path) -> str:
    return "\n".join(str(row[0]) for row in rows(journal, "SELECT text FROM alarms"))


def names_in(directory: Path) -> set[str]:
    """All files and directories below, hidden ones too."""
    return {str(path.relative_to(directory)) for path in directory.rglob("*")}


def program(place: Path, text: str) -> Path:
    """A decompressor: gets the packed file as its argument, leaves the result in the directory it runs in."""
    place.write_text(f"#!/bin/sh\n{text}\ncp \"$1\" \"$(basename \"$1\" C_)__\"\n")
    place.chmod(0o755)
    return place


# Every kind of packed file, on either side.

@pytest.fixture
def programs(tmp_path: Path) -> Iterator[Callable[[str, list[str], list[str]], tuple[Path, Path]]]:
    """Starts a server and a client with these sections; the journals of both."""
    running: list[Program] = []

    def start(kind: str, server: list[str], client: list[str]) -> tuple[Path, Path]:
        journals = []
        port = free_port()
        for role, lines in (("server", server), ("client", client)):
            config, journal = tmp_path / f"{role}.ini", tmp_path / f"{role}.journal"
            config.write_text("\n".join(lines).replace("PUBLISH", str(port)) + "\n")
            options = ["-p", str(port)] if role == "server" else []
            running.append(Program.ours(role, *options, "--journal", journal, config, log=tmp_path / f"{role}.log").start())
            running[-1].wait_for("watches" if role == "server" else "listens to", seconds=60)
            journals.append(journal)
        return journals[0], journals[1]

    yield start
    for one in running:
        one.kill()


def every_kind() -> dict[str, Case]:
    return {name.replace(" ", "-"): case for name, case in {**CASES, "xrit": XRIT}.items()}


def sections(root: Path, side: str) -> tuple[list[str], list[str]]:
    """A section of the server and one of the client for each kind; *side* unpacks."""
    port = free_port()
    server, client = list[str](), list[str]()
    for name, case in every_kind().items():
        (root / "origin" / name).mkdir(parents=True)
        packed = [f"compression = {case.unpacker}"]
        server += [f"[{name}]", f"origin = {root}/origin/{name}/{{name}}", f"topic = /{name}/files", f"request_port = {port}",
                   "request_address = 127.0.0.1", "listen_address = 127.0.0.1",
                   *([*packed, f"working_directory = {root}/working/{name}"] if side == "server" else [])]
        client += [f"[{name}]", "providers = 127.0.0.1:PUBLISH", f"topic = /{name}/files", "nameservers = False",
                   f"destination = file://{root}/incoming/{name}/", f"publish_port = {free_port()}",
                   *(packed if side == "client" else [])]
    return server, client


@pytest.mark.slow
@pytest.mark.parametrize("side", ["server", "client"])
def test_every_kind_is_unpacked_on_either_side(tmp_path: Path, side: str, programs: Callable[..., tuple[Path, Path]]) -> None:
    _, journal = programs(side, *sections(tmp_path, side))
    for name, case in every_kind().items():
        temporary = tmp_path / "temporary"
        temporary.write_bytes(case.packed)
        temporary.rename(tmp_path / "origin" / name / case.file)
    for name, case in every_kind().items():
        wanted = {Path(member).name if side == "server" else member for member in case.members}
        if side == "server":  # an empty file is never announced
            wanted = {Path(member).name for member, data in case.members.items() if data}
        place = tmp_path / "incoming" / name
        eventually(lambda: wanted <= names_in(place), 60, message=f"{name}: {wanted}")  # noqa: B023 - called at once
        for member, data in case.members.items():
            delivered = place / (Path(member).name if side == "server" else member)
            if case.exact and delivered.name in {Path(one).name for one in wanted}:
                assert delivered.read_bytes() == data, (name, member)
        query = "SELECT announcements.message FROM announcements JOIN files ON files.id = file WHERE chain = '" + name + "'"

        def said(query: str = query) -> set[str]:
            messages = [payload_of(str(row[0])) for row in rows(journal, query)]
            return {str(item["uid"]) for data in messages for item in data.get("dataset", [data])}  # type: ignore[attr-defined]

        uids = {Path(member).name for member in wanted}
        eventually(lambda: said() == uids, 60, message=f"{name}: {uids} published")  # noqa: B023 - called at once
    assert not [path for path in names_in(tmp_path / "incoming") if "/.unpack" in path or path.endswith(".part")]


def test_members_with_names_of_another_encoding_are_published_and_survive_a_restart(tmp_path: Path) -> None:
    packed = tar_of({"m_nster.dat": b"1" * 5000, "two.dat": b"2"}).replace(b"m_nster", b"m\xfcnster")
    packed = with_checksums(packed)
    with network_of(tmp_path, ".tar", client={"compression": "tar"}) as network:
        network.start()
        network.write("several.tar", packed)
        wait_published(network, "m\u00fcnster.dat", "two.dat")
        assert (network.destination / "m\u00fcnster.dat").read_bytes() == b"1" * 5000
        network.client.restart()
        network.write("after.tar", tar_of({"after.dat": b"after"}))
        wait_published(network, "after.dat")
        assert network.stop() == [0, 0]


def with_checksums(archive: bytes) -> bytes:
    """A tar archive whose first header was changed, made right again."""
    header = archive[:148] + b" " * 8 + archive[156:512]
    return archive[:148] + b"%06o\0 " % sum(header) + archive[156:]


# The client, after delivery.

def test_a_tar_with_several_members_is_published_as_a_dataset(tmp_path: Path) -> None:
    with network_of(tmp_path, ".tar", client={"compression": "tar"}) as network:
        network.start()
        network.write("several.tar", tar_of({"one.dat": b"1" * 5000, "two.dat": b"2" * 7000, "below/three.dat": b"3"}))
        network.write("single.tar", tar_of({"alone.dat": b"alone"}))
        wait_published(network, "one.dat", "alone.dat")
        (kind, data), = [(kind, data) for kind, data in published(network) if "dataset" in data]
        assert kind == "dataset" and data["name"] == "several" and data["origin"] == f"127.0.0.1:{network.request_ports[0]}"
        assert not {"uid", "uri", "request_address", "destination"} & data.keys()
        assert data["dataset"] == [{"uid": uid, "uri": f"{network.destination}/{path}"} for uid, path in (
            ("one.dat", "one.dat"), ("two.dat", "two.dat"), ("three.dat", "below/three.dat"))]
        (kind, data), = [(kind, data) for kind, data in published(network) if "dataset" not in data]
        assert (kind, data["uid"], data["uri"]) == ("file", "alone.dat", f"{network.destination}/alone.dat")
        assert network.stop() == [0, 0]
        assert (network.destination / "two.dat").read_bytes() == b"2" * 7000
        assert names_in(network.destination) == {
            "several.tar", "single.tar", "one.dat", "two.dat", "below", "below/three.dat", "alone.dat"}


def test_a_packed_file_is_removed_when_what_was_in_it_is_published(tmp_path: Path) -> None:
    with network_of(tmp_path, "", client={"compression": "gzip", "delete": "true", "block_size": "1024"}) as network:
        network.start()
        network.write("a.txt.gz", gzip.compress(b"packed" * 9000))
        network.write("plain.txt", b"not packed")
        wait_published(network, "a.txt", "plain.txt")
        eventually(lambda: names_in(network.destination) == {"a.txt", "plain.txt"}, message="the packed file is removed")
        eventually(lambda: not rows(network.client_journal, "SELECT * FROM packed"), message="and the journal knows")
        assert (network.destination / "a.txt").read_bytes() == b"packed" * 9000
        data = next(data for _, data in published(network) if data["uid"] == "a.txt")
        assert data["uri"] == f"{network.destination}/a.txt" and data["name"] == "a.txt.gz"
        assert [step[0] for step in history(network.client_journal, "a.txt.gz")][-3:] == ["moved", "publishing", "published"]
        query = "SELECT count(*) FROM transfers WHERE state = 'acknowledged'"
        eventually(lambda: rows(network.server_journal(), query) == [(2,)], message="the server is told")


@pytest.mark.parametrize("point", ["client.unpacked", "client.publishing", "client.published"])
def test_a_packed_file_is_not_forgotten_in_a_crash(tmp_path: Path, point: str) -> None:
    """It is unpacked, published and removed, whatever of that was done before the crash; and delivered once."""
    with network_of(tmp_path, ".gz", client={"compression": "gzip", "delete": "true"}) as network:
        armed = network.arm(point, 1)
        network.start()
        network.write("a.txt.gz", gzip.compress(b"packed" * 9000))
        assert armed.wait(30) == -9
        assert (network.destination / "a.txt.gz").exists()
        network.disarm()
        network.client.start()
        wait_recorded(network, "a.txt")
        eventually(lambda: names_in(network.destination) == {"a.txt"}, message="the packed file is removed")
        assert (network.destination / "a.txt").read_bytes() == b"packed" * 9000
        assert rows(network.server_journal(), "SELECT attempt FROM transfers") == [(1,)]


def test_a_client_that_is_killed_while_it_unpacks_unpacks_again(tmp_path: Path) -> None:
    started = tmp_path / "started"
    half = 'head -c 100 "$1" > "$(basename "$1" C_)__"'
    slow = program(tmp_path / "slow", f'[ -e "{started}" ] || {{ {half}; touch "{started}"; sleep 60; }}')
    with network_of(tmp_path, "C_", client={"compression": "xrit", "xritdecompressor": str(slow)}) as network:
        network.start()
        network.write(f"{NAME}C_", segment(PIXELS))
        eventually(started.exists, message="the program runs")
        eventually(lambda: states(network.client_journal, f"{NAME}C_") == ["moved"], message="the delivery is journaled")
        network.client.kill()
        assert not (network.destination / f"{NAME}__").exists()
        network.client.start()
        wait_recorded(network, f"{NAME}__")
        assert (network.destination / f"{NAME}__").read_bytes() == segment(PIXELS)
        assert names_in(network.destination) == {f"{NAME}C_", f"{NAME}__"}
        assert rows(network.server_journal(), "SELECT attempt FROM transfers") == [(1,)]


@pytest.mark.parametrize("side", ["server", "client"])
def test_nothing_stays_of_a_packed_file_that_is_gone_when_its_unpacking_is_taken_up(tmp_path: Path, side: str) -> None:
    started = tmp_path / "started"
    half = 'head -c 100 "$1" > "$(basename "$1" C_)__"'
    slow = str(program(tmp_path / "slow", f'{half}; touch "{started}"; exec sleep 60'))
    options = {"compression": "xrit", "prog" if side == "server" else "xritdecompressor": slow}
    with network_of(tmp_path, "C_", **{side: options}) as network:
        network.start()
        network.write(f"{NAME}C_", segment(PIXELS))
        eventually(started.exists, message="the program runs")
        running = network.servers[0] if side == "server" else network.client
        directory = network.origins[0] if side == "server" else network.destination
        journal = network.server_journal() if side == "server" else network.client_journal
        wanted = ["seen"] if side == "server" else ["moved"]
        eventually(lambda: states(journal, f"{NAME}C_") == wanted, message="it is journaled")
        running.kill()
        assert [name for name in names_in(directory) if name.startswith(".unpack-")]
        (network.origins[0] / f"{NAME}C_").unlink()
        (directory / f"{NAME}C_").unlink(missing_ok=True)
        running.start()
        eventually(lambda: not names_in(directory), message="nothing is left")


def test_what_is_missing_for_unpacking_is_waited_for(tmp_path: Path) -> None:
    """The operator mends it, and the file is published without another transfer."""
    later = tmp_path / "later"
    with network_of(tmp_path, "C_", client={"compression": "xrit", "xritdecompressor": str(later)}) as network:
        network.start()
        network.write(f"{NAME}C_", segment(PIXELS))
        eventually(lambda: "no such program" in alarms(network.client_journal), message="an alarm")
        program(later, "")
        wait_published(network, f"{NAME}__")
        assert rows(network.server_journal(), "SELECT attempt FROM transfers") == [(1,)]
        assert "failed" in [step[0] for step in history(network.client_journal, f"{NAME}C_")]


def test_a_delivery_is_published_as_it_is_where_nothing_is_unpacked_any_more(tmp_path: Path) -> None:
    with network_of(tmp_path, "C_", client={"compression": "xrit", "xritdecompressor": str(tmp_path / "none")}) as network:
        network.start()
        network.write(f"{NAME}C_", segment(PIXELS))
        eventually(lambda: states(network.client_journal, f"{NAME}C_") == ["moved"], message="it waits")
        network.client.kill()
        network.client_options.clear()
        network.write_client_config()
        network.client.start()
        wait_recorded(network, f"{NAME}C_")


def hostile_tar(*members: tarfile.TarInfo) -> bytes:
    """A good member first, then bad ones, of which none has more than a block."""
    good = member("first.dat", size=512)
    return b"".join(one.tobuf() + bytes(512 if one.size else 0) for one in (good, *members)) + bytes(1024)


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", size: int = 0, mode: int = 0o644) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size, info.mode = kind, link, size, mode
    return info


HOSTILE: dict[str, Callable[[Path], bytes]] = {
    "climbs": lambda root: hostile_tar(member("../../outside/planted", size=10)),
    "absolute": lambda root: hostile_tar(member(f"{root}/outside/planted", size=10)),
    "link": lambda root: hostile_tar(member("out", tarfile.SYMTYPE, str(root / "outside")), member("out/planted", size=10)),
    "hard link": lambda root: hostile_tar(member("stolen", tarfile.LNKTYPE, str(root / "outside" / "secret"))),
    "device": lambda root: hostile_tar(member("null", tarfile.CHRTYPE)),
    "pipe": lambda root: hostile_tar(member("pipe", tarfile.FIFOTYPE)),
    "setuid": lambda root: hostile_tar(member("shell", size=10, mode=0o4755)),
    "bomb": lambda root: hostile_tar(member("bomb", size=2**43)),
    "truncated": lambda root: tar_of({"first.dat": bytes(1000), "second.dat": bytes(90_000)})[:20_000],
    "no tar": lambda root: b"not a tar at all " * 100,
}


def test_hostile_archives_leave_no_trace_and_stop_nothing(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("secret")
    (tmp_path / "origin0").mkdir()
    before = tree([outside])
    with network_of(tmp_path, ".tar", client={"compression": "tar", "delete": "true"}) as network:
        network.start()
        for name, make in HOSTILE.items():
            network.write(f"{name}.tar", make(tmp_path))
        network.write("good.tar", tar_of({"good.dat": b"good"}))
        wait_published(network, "good.dat")
        for name in HOSTILE:
            eventually(lambda name=name: states(network.client_journal, f"{name}.tar") == ["given_up"],  # type: ignore[misc]
                       message=f"{name} is given up")
            assert history(network.client_journal, f"{name}.tar")[-1][4], "without a reason"
        assert tree([outside]) == before
        eventually(lambda: names_in(network.destination) == {"good.dat", *(f"{name}.tar" for name in HOSTILE)},
                   message="nothing else is there")
        assert "cannot be unpacked" in alarms(network.client_journal)
        assert uids_published(network) == {"good.dat"}
        assert network.stop() == [0, 0]


def test_a_damaged_archive_is_had_from_another_provider(tmp_path: Path) -> None:
    good = gzip.compress(tar_of({"one.dat": os.urandom(5000)}))
    network = Network(tmp_path, servers=2, client_options={"compression": "tar"})
    network.killed = True
    with network:
        for number in range(2):
            network.server_options["origin"] = f"{network.origins[number]}/{{name}}.tar.gz"
            network.write_server_config(number)
            network.servers[number].start()
        network.write("a.tar.gz", good[:3000] + bytes(10) + good[3010:], 0)
        network.write("a.tar.gz", good, 1)
        for number in range(2):
            eventually(lambda number=number: rows(network.server_journal(number), "SELECT * FROM announcements"),  # type: ignore[misc]
                       message="announced")
        network.client.start()
        wait_recorded(network, "one.dat")
        assert len(rows(network.client_journal, "SELECT * FROM files WHERE state = 'published'")) == 1


# The server, before announcing.

def announced(network: Network) -> list[dict[str, object]]:
    query = "SELECT message FROM announcements ORDER BY position"
    return [payload_of(str(row[0])) for row in rows(network.server_journal(), query)]


def test_what_is_in_a_packed_file_is_announced_once(tmp_path: Path) -> None:
    """Also when the packed file is seen again and again, and the watcher sees what came out."""
    with network_of(tmp_path, "", server={"compression": "bzip", "reconcile": "0.5", "remove_delay": "600"}) as network:
        network.start()
        for number in range(20):
            network.write(f"words{number}.txt.bz2", bz2.compress(b"words" * 5000))
        wait_published(network, *(f"words{number}.txt" for number in range(20)))
        time.sleep(2)
        network.servers[0].restart()
        network.write("after.txt.bz2", bz2.compress(b"after"))
        wait_published(network, "after.txt")
        time.sleep(2)
        uids = [str(data["uid"]) for data in announced(network)]
        assert sorted(uids) == sorted([*(f"words{number}.txt" for number in range(20)), "after.txt"])
        assert names_in(network.destination) == set(uids)
        assert (network.destination / "words3.txt").read_bytes() == b"words" * 5000
        assert states(network.server_journal(), "after.txt.bz2") == ["covered"]
        assert {str(path.suffix) for path in network.origins[0].iterdir()} == {".txt", ".bz2"}


def test_a_copy_is_removed_and_its_origin_stays(tmp_path: Path) -> None:
    """Without `delete`; metadata are those of the packed file's name."""
    working = tmp_path / "working"
    options = {"compression": "bzip", "working_directory": str(working), "remove_delay": "0.5"}
    with network_of(tmp_path, ".txt.bz2", server=options) as network:
        network.start()
        network.write("words.txt.bz2", bz2.compress(b"words" * 5000))
        wait_published(network, "words.txt")
        (data,) = announced(network)
        assert (data["name"], data["uid"], data["uri"]) == ("words", "words.txt", f"{working}/words.txt")
        eventually(lambda: not names_in(working), message="the copy is removed")
        assert names_in(network.origins[0]) == {"words.txt.bz2"}
        assert (network.destination / "words.txt").read_bytes() == b"words" * 5000


def test_a_packed_origin_is_removed_with_what_was_delivered_of_it(tmp_path: Path) -> None:
    working = tmp_path / "working"
    options = {"compression": "xrit", "prog": str(program(tmp_path / "prog", "")), "working_directory": str(working), **QUICKLY}
    with network_of(tmp_path, "{compressed:_<2s}", server=options) as network:
        network.servers[0].start()
        network.write(f"{NAME}C_", segment(PIXELS))
        eventually(lambda: announced(network), message="announced")
        assert (announced(network)[0]["uid"], announced(network)[0]["compressed"]) == (f"{NAME}__", "C")
        time.sleep(2)
        assert names_in(network.origins[0]) == {f"{NAME}C_"} and names_in(working) == {f"{NAME}__"}
        network.client.start()
        wait_recorded(network, f"{NAME}__")
        eventually(lambda: not names_in(network.origins[0]) and not names_in(working), message="both are removed")
        assert (network.destination / f"{NAME}__").read_bytes() == segment(PIXELS)


@pytest.mark.parametrize("beside", [False, True], ids=["elsewhere", "beside it"])
def test_a_packed_origin_whose_directory_is_away_goes_when_it_is_back(tmp_path: Path, beside: bool) -> None:
    """The copy is not removed before: nothing would tell of the packed file any more."""
    working = {} if beside else {"working_directory": str(tmp_path / "working")}
    options = {"compression": "gzip", "delete": "true", "remove_delay": "2", **working}
    with network_of(tmp_path, ".gz", server=options) as network:
        network.start()
        network.write("words.bin.gz", gzip.compress(b"words" * 100))
        eventually(lambda: states(network.server_journal(), "words.bin") == ["acknowledged"], message="it is delivered")
        origin, away = network.origins[0], tmp_path / "away"
        origin.rename(away)
        time.sleep(7)  # it is due after two, and what is away for three more is believed to be gone
        assert names_in(away) == ({"words.bin", "words.bin.gz"} if beside else {"words.bin.gz"})
        away.rename(origin)
        eventually(lambda: not names_in(origin) and not rows(network.server_journal(), "SELECT 1 FROM removals"), 30,
                   message="it goes")
        assert beside or not names_in(tmp_path / "working")


def test_what_cannot_be_unpacked_is_announced_as_it_is(tmp_path: Path) -> None:
    packed = bz2.compress(os.urandom(9000))
    with network_of(tmp_path, ".bz2", server={"compression": "bzip", **QUICKLY}) as network:
        network.start()
        network.write("damaged.bz2", packed[:5000])
        network.write("good.bz2", packed)
        wait_published(network, "damaged.bz2", "good")
        assert (network.destination / "damaged.bz2").read_bytes() == packed[:5000]
        assert "damaged.bz2 cannot be unpacked" in alarms(network.server_journal())
        steps = history(network.server_journal(), "damaged.bz2")
        assert [step[0] for step in steps][:3] == ["seen", "failed", "announced"] and "truncated" in str(steps[1][4])
        eventually(lambda: not names_in(network.origins[0]), message="all are removed")


def test_a_full_working_directory_is_waited_out(tmp_path: Path, small_disk: Path) -> None:
    data = os.urandom(1_500_000)
    with network_of(tmp_path, ".gz", server={"compression": "gzip", "working_directory": str(small_disk)}) as network:
        (small_disk / "filler").write_bytes(bytes(6_000_000))
        network.start()
        network.write("large.dat.gz", gzip.compress(data))
        network.servers[0].wait_for("large.dat.gz.*again (with)?in")
        assert names_in(small_disk) == {"filler"} and not announced(network)
        (small_disk / "filler").unlink()
        wait_published(network, "large.dat")
        assert (network.destination / "large.dat").read_bytes() == data


def test_a_full_destination_is_waited_out(tmp_path: Path, small_disk: Path) -> None:
    """The packed file had room, what is in it has none."""
    data = os.urandom(1000) * 1500
    with network_of(tmp_path, ".gz", client={"compression": "gzip"}, destination=small_disk) as network:
        (small_disk / ".filler").write_bytes(bytes(7_000_000))
        network.start()
        network.write("large.dat.gz", gzip.compress(data))
        network.client.wait_for("large.dat.gz.*again (with)?in")
        assert names_in(small_disk) == {".filler", "large.dat.gz"}
        assert not published(network)
        (small_disk / ".filler").unlink()
        wait_published(network, "large.dat")
        assert (small_disk / "large.dat").read_bytes() == data


def test_a_packed_file_cannot_be_asked_for(tmp_path: Path) -> None:
    """It was not announced; what came out of it was."""
    with network_of(tmp_path, ".bz2", server={"compression": "bzip"}) as network:
        network.start()
        network.write("words.bz2", bz2.compress(b"words" * 5000))
        wait_published(network, "words")
        with Peer(network.request_ports[0]) as peer:
            for name, answer in (("words.bz2", "not reachable"), ("words", " file ")):
                data = {"uri": str(network.origins[0] / name), "uid": name, "destination": f"file://{tmp_path}/asked/"}
                assert answer in peer.ask(text("push", data))
        assert names_in(tmp_path / "asked") == {"words"}


@pytest.mark.parametrize("point", ["server.unpacked", "server.announced", "server.published"])
def test_a_server_that_crashes_goes_on_with_what_it_had_seen(tmp_path: Path, point: str) -> None:
    with network_of(tmp_path, ".bz2", server={"compression": "bzip", **QUICKLY}) as network:
        armed = network.arm(point, 1)
        network.start()
        for number in range(10):
            network.write(f"words{number}.bz2", bz2.compress(b"words%d" % number * 5000))
        assert armed.wait(30) == -9
        network.disarm()
        network.servers[0].start()
        eventually(lambda: names_in(network.destination) == {f"words{number}" for number in range(10)}, message="all arrive")
        eventually(lambda: not names_in(network.origins[0]), message="origins and copies are removed")
        assert all((network.destination / f"words{number}").read_bytes() == b"words%d" % number * 5000 for number in range(10))
        assert sorted(str(data["uid"]) for data in announced(network)) == sorted(names_in(network.destination))


def test_what_was_seen_is_announced_as_it_is_where_nothing_is_unpacked_any_more(tmp_path: Path) -> None:
    with network_of(tmp_path, ".bz2", server={"compression": "bzip"}) as network:
        armed = network.arm("server.unpacked", 1)
        network.start()
        network.write("words.bz2", bz2.compress(b"words" * 5000))
        assert armed.wait(30) == -9
        network.disarm()
        del network.server_options["compression"]
        network.write_server_config()
        network.servers[0].start()
        wait_published(network, "words.bz2")


def test_new_content_of_a_packed_file_is_unpacked_again(tmp_path: Path) -> None:
    with network_of(tmp_path, ".bz2", server={"compression": "bzip"}) as network:
        network.start()
        for version in (b"first", b"second", b"third!"):
            network.write("same.bz2", bz2.compress(version * 5000))
            eventually(lambda version=version: (network.destination / "same").read_bytes() == version * 5000,  # type: ignore[misc]
                       message=f"{version!r} arrives")
        assert len(announced(network)) == 3


def test_new_content_of_the_same_size_arrives_when_the_times_in_archives_are_all_the_same(tmp_path: Path) -> None:
    """As Python's tarfile writes them, unless told otherwise: what came before must not be taken for it."""
    with network_of(tmp_path, ".tar", server={"compression": "tar", **QUICKLY}) as network:
        network.start()
        for version in (b"first", b"again", b"third"):
            held = io.BytesIO()
            with tarfile.open(fileobj=held, mode="w") as archive:
                info = tarfile.TarInfo("same")
                info.size = len(version)
                archive.addfile(info, io.BytesIO(version))
            network.write("same.tar", held.getvalue())
            eventually(lambda version=version: (network.destination / "same").read_bytes() == version,  # type: ignore[misc]
                       message=f"{version!r} arrives")
        eventually(lambda: not names_in(network.origins[0]), message="origins and copies are removed")


@pytest.mark.parametrize("side", ["server", "client"])
def test_a_reload_while_a_program_runs_unpacks_again_and_publishes_once(tmp_path: Path, side: str) -> None:
    started = tmp_path / "started"
    slow = str(program(tmp_path / "slow", f'[ -e "{started}" ] || {{ touch "{started}"; sleep 3; }}'))
    server = {"compression": "xrit", "prog": slow} if side == "server" else {}
    client = {"compression": "xrit", "xritdecompressor": slow} if side == "client" else {}
    with network_of(tmp_path, "C_", server=server, client=client) as network:
        network.start()
        network.write(f"{NAME}C_", segment(PIXELS))
        eventually(started.exists, message="the program runs")
        running = network.servers[0] if side == "server" else network.client
        path = network.server_config() if side == "server" else network.client_config
        mark = running.mark()
        replace(path, f"{path.read_text().rstrip()}\nretention = 3d\n")
        running.wait_for("reloading", since=mark)
        wait_recorded(network, f"{NAME}__")
        time.sleep(4)
        assert len(announced(network)) == 1
        assert rows(network.client_journal, "SELECT count(*) FROM announcements") == [(1,)]
        assert (network.destination / f"{NAME}__").read_bytes() == segment(PIXELS)
        assert not [name for name in names_in(tmp_path) if ".unpack-" in name]
