"""Plans come from their seed alone; names fit their patterns; copies of configurations name nothing of the originals."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from trollmoves.config.reading import read_client_config, read_server_config
from trollmoves.errors import ConfigurationError
from trollmoves.faults.borrowing import Borrowed
from trollmoves.faults.naming import names_for
from trollmoves.faults.planning import FAULTS, Plan, make_plan
from trollmoves.patterns import Pattern


def plan(seed: int) -> Plan:
    return make_plan(seed, files=50, seconds=20, strikes=30, faults=tuple(FAULTS), programs=3)


def test_the_same_seed_makes_the_same_plan() -> None:
    assert plan(7) == plan(7) != plan(8)
    assert plan(7).content(3) == plan(7).content(3) != plan(7).content(4)
    assert [len(plan(7).content(number)) for number in range(50)] == list(plan(7).sizes)


def test_strikes_come_in_time_and_hit_somebody() -> None:
    strikes = plan(7).strikes
    assert [strike.at for strike in strikes] == sorted(strike.at for strike in strikes)
    assert all(0 < strike.at <= 20 for strike in strikes)
    assert {strike.fault for strike in strikes} == set(FAULTS)
    assert all(bool(strike.victims) == (strike.fault in ("kill", "end", "stop")) for strike in strikes)


@pytest.mark.parametrize("text", [
    "{name}.bin", "{platform}_{start_time:%Y%m%d%H%M}_{segment:3d}.dat", "{time:%Y%m%d}/H-000-{platform:_<6s}-{n:06d}-C_",
    "{a:3s}{b:2d}{day:%j}.{x:04x}", "{orbit:05d}-{level:3.1f}"])
def test_names_fit_their_pattern(text: str) -> None:
    pattern = Pattern(text)
    names = names_for(pattern, 30)
    assert len({name.rpartition("/")[2] for name in names}) == 30
    assert all(pattern.parse(name) is not None for name in names)


def test_a_pattern_without_room_is_named() -> None:
    with pytest.raises(ConfigurationError, match="only 8 different file names"):
        names_for(Pattern("segment{n:1d}.dat"), 20)
    with pytest.raises(ConfigurationError, match="only 1 different"):
        names_for(Pattern("{time:%Y%m%d%H%M}/same.dat"), 2)


SERVER = """
[DEFAULT]
origin = /data/hrit/{platform}_{start_time:%Y%m%d%H%M}_{segment:3d}.dat

[hrit]
topic = /1b/hrit
request_port = 9094
request_address = server.example.org
delete = true
allowed_destinations = sftp://ingest@archive.example.org/data/**
connection_parameters__password = s3cr3t
prog = /opt/decompress
compression = xrit
working_directory = /data/working
"""
CLIENT = """
[hrit]
providers = server.example.org:9010 second.example.org:9010/1b
topic = /1b/hrit
destination = sftp://user:s3cr3t@client.example.org/data/in/{platform}/
login = user:s3cr3t
publish_port = 9011
nameservers = name.example.org
xritdecompressor = /opt/decompress
sensor = s3cr3t
"""
SPARE = CLIENT.replace("publish_port = 9011", "publish_port = 9012\nprocessing_delay = 5").replace(
    "providers = ", "providers = primary.example.org:9011 ")


def borrowed(root: Path, server: str = SERVER, *clients: str) -> Borrowed:
    originals, scratch = root / "originals", root / "scratch"
    originals.mkdir()
    (scratch / "destination").mkdir(parents=True)
    (originals / "server.ini").write_text(server)
    for number, text in enumerate(clients or (CLIENT,)):
        (originals / f"client{number}.ini").write_text(text)
    return Borrowed(scratch, [originals / "server.ini"], sorted(originals.glob("client*")), scratch / "destination", 20)


def test_a_copy_names_no_place_of_the_original(tmp_path: Path) -> None:
    network = borrowed(tmp_path, SERVER, CLIENT, SPARE)
    copies = sorted((tmp_path / "scratch").glob("*.ini"))
    assert len(copies) == 3
    for path in copies:
        text = path.read_text()
        places = re.findall(r"(?<![\w}])/[^\s{]*", text.replace("file://", "").replace("/1b/hrit", "").replace("/1b", ""))
        assert places and all(place.startswith(str(tmp_path / "scratch")) for place in places), places
        assert not re.search(r"s3cr3t|example\.org|9010|9011|9012|9094|/opt", text), text
        assert set(re.findall(r"\d+\.\d+\.\d+\.\d+", text)) <= {"127.0.0.1", "127.0.0.2"}
    server, (client, spare) = read_server_config(copies[2]), map(read_client_config, copies[:2])
    assert not server.problems and not client.problems and not spare.problems
    assert server.chains["hrit"].delete == "all" and spare.chains["hrit"].processing_delay == 5
    assert client.chains["hrit"].publish_port in [provider.port for provider in spare.chains["hrit"].providers]
    assert len(client.chains["hrit"].providers) == 2  # the same server, with one topic and with another
    assert any("allowed_destinations, compression, connection_parameters__password" in text for text in network.left_out)
    assert any("[hrit] login, sensor, xritdecompressor" in text for text in network.left_out)


@pytest.mark.parametrize(("server", "client", "complaint"), [
    (SERVER.replace("origin = ", "listen = /a\n# "), CLIENT, "fed by"),
    (SERVER.replace("{platform}_", "{platform}/../../../../tmp/"), CLIENT, "origin leads upwards"),
    (SERVER.replace("/1b/hrit", "/other"), CLIENT, "no section of a client asks"),
    (SERVER, CLIENT.replace("publish_port = 9011", "retention = never"), "retention"),
])
def test_what_cannot_be_tried_is_refused(tmp_path: Path, server: str, client: str, complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        borrowed(tmp_path, server, client)
