"""Messages of pytroll-collectors, pytroll-watchers and trollflow2: their programs and their functions, beside ours.

What they publish, a listening server announces and a client fetches; what a client publishes, they read.
"""

from __future__ import annotations

import json
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tests.compatibility.network import section
from tests.faults.network import Recorder
from tests.integration.listening import HEARD, Listening
from tests.support.eventually import eventually
from tests.support.neighbours import neighbours_run, start_neighbour
from tests.support.ports import free_ports
from tests.support.programs import Program
from trollmoves.messages import EXTENSION, Message, decode

GATHERER = """
patterns:
  hrit:
    pattern: "{{orig_platform_name}}_{{segment}}_{{start_time:%Y%m%d%H%M}}.dat"
    critical_files: ":01-02"
    wanted_files: ":01-02"
    all_files: ":01-02"
    is_critical_set: true
timeliness: 60
time_name: start_time
posttroll:
  topics: [/segments]
  publish_topic: /slots
  publish_port: {port}
  nameservers: false
  addresses: [tcp://127.0.0.1:{provider}]
"""
READ = """
import json, sys
from posttroll.message import Message
from trollflow2.launcher import _extract_filenames, message_to_jobs
product_list = {"product_list": {"areas": {"euro4": {"priority": 1, "products": {"overview": {}}}}}}
found = []
for raw in json.loads(sys.argv[1]):
    message = Message(rawstr=raw)
    [job] = message_to_jobs(message, product_list).values()
    assert job["input_mda"] == message.data
    found.append([getattr(name, "_filename", name) for name in _extract_filenames(message)])
print(json.dumps([[str(name) for name in names] for names in found]))
"""
ZIP = """
import json, os, sys
from posttroll.message import Message
from pytroll_collectors.scripts import zipcollector_runner
raw, folder = map(json.loads, sys.argv[1:])
os.mkdir(folder)
options = {"destination_output_dir": folder, "local_output_dir": folder,
           "requested_timeslots": [f"{minute:02d}" for minute in range(60)],
           "archive_filename": "{satid}_{start_time:%Y%m%d%H%M}.tgz",
           "monitoring_hook": lambda good, text: print(json.dumps([good, text]))}
zipcollector_runner.start_zipcollector({}, Message(rawstr=raw), options)
"""
GEOGRAPHIC = """
import datetime, json, sys
from pytroll_collectors.triggers._base import Trigger
class Printing:
    def send(self, text):
        print(json.dumps(text))
granules = [{"uri": uri, "uid": uri.rpartition("/")[2], "sensor": "viirs", "collection_area_id": "euro4",
             "start_time": datetime.datetime(2026, 1, 1, number), "end_time": datetime.datetime(2026, 1, 1, number, 5)}
            for number, uri in enumerate(json.loads(sys.argv[1]))]
Trigger([lambda metadata: granules], Printing(), "/heard/{sensor}")._process_metadata({"any": 1})
"""
FSSPEC = """
import json, sys
from fsspec.implementations.local import LocalFileSystem
from pytroll_collectors import fsspec_to_message as made, s3stalker
path, archive = map(json.loads, sys.argv[1:])
local = LocalFileSystem()
messages = [made.extract_local_files_to_message_for_remote_use(path, "/heard"),
            made.extract_local_files_to_message_for_remote_use(archive, "/heard", "tar"),
            *made.filelist_to_messages(local, [local.info(path)], "/heard"),
            *made.filelist_unzip_to_messages(local, [local.info(archive)], "/heard")]
print(json.dumps([str(message) for message in messages]))
"""
PRODUCT = """
import json, sys
from posttroll.message import Message
from trollflow2.plugins import FilePublisher
[path] = map(json.loads, sys.argv[1:])
topic, data = FilePublisher.create_message(
    {"publish_topic": "/heard/{area}/{product}", "filename": path, "product": "overview", "area": "euro4", "format": "tif",
     "productname": "overview", "areaname": "euro4"}, {"platform_name": "NOAA-20", "sensor": "viirs"})
print(json.dumps(str(Message(topic, "file", data))))
"""


def published(recorder: Recorder, kind: str) -> list[str]:
    return [text for text in list(recorder.texts) if text.split(" ", 2)[1] == kind and "request_address" not in text]


def fields_of(message: Message) -> dict[str, Any]:
    return {key: value for key, value in message.fields.items() if key != EXTENSION}


@pytest.mark.slow
def test_a_chain_of_their_programs_and_ours(tmp_path: Path) -> None:
    """trollstalker -> server -> client -> segment gatherer -> server -> client -> zipcollector and trollflow2."""
    stalked, told, asked, fetched, gathered, slots = free_ports(6)
    incoming = tmp_path / "incoming"
    incoming.mkdir()
    local = {"nameservers": False, "listen_address": "127.0.0.1"}
    served = {"nameserver": False, "request_port": asked, "request_address": "127.0.0.1", "listen_address": "127.0.0.1"}
    (tmp_path / "stalker.ini").write_text(section("hrit", {
        "topic": "/stalked", "directory": incoming, "posttroll_port": stalked, "instruments": "seviri", "nameservers": "false",
        "filepattern": "{platform_name}_{segment}_{start_time:%Y%m%d%H%M}.dat",
        "alias_platform_name": "M10:Meteosat-10"}))
    (tmp_path / "gatherer.yaml").write_text(GATHERER.format(port=gathered, provider=fetched))
    (tmp_path / "server.ini").write_text(
        section("segments", {"listen": "/stalked", "topic": "/segments", "addresses": f"tcp://127.0.0.1:{stalked}", **served})
        + section("slots", {"listen": "/slots", "topic": "/served", "addresses": f"tcp://127.0.0.1:{gathered}", **served}))
    (tmp_path / "client.ini").write_text(
        section("segments", {"providers": f"127.0.0.1:{told}", "topic": "/segments", "publish_port": fetched,
                             "destination": f"file://{tmp_path}/segments/", **local})
        + section("slots", {"providers": f"127.0.0.1:{told}", "topic": "/served", "publish_port": slots,
                            "destination": f"file://{tmp_path}/slots/{{start_time:%Y%m%d}}/", **local}))
    stalker = start_neighbour("trollstalker.py", "-c", tmp_path / "stalker.ini", "-C", "hrit", log=tmp_path / "stalker.log")
    gatherer = start_neighbour("segment_gatherer.py", "-c", tmp_path / "gatherer.yaml", log=tmp_path / "gatherer.log")
    server = Program.ours("server", "-p", str(told), "--journal", tmp_path / "s.journal", tmp_path / "server.ini",
                          log=tmp_path / "server.log")
    client = Program.ours("client", "--journal", tmp_path / "c.journal", tmp_path / "client.ini", log=tmp_path / "client.log")
    with stalker, gatherer, server, client:
        segments, sets = Recorder(fetched), Recorder(slots)
        try:
            minutes = iter(range(600))

            def gathers() -> bool:  # nobody tells when all of them are connected
                minute = next(minutes)
                for segment in ("01", "02"):  # written in place: trollstalker does not see what is moved in
                    path = incoming / f"M10_{segment}_20260101{minute // 60:02d}{minute % 60:02d}.dat"
                    path.write_text(f"content {minute} {segment}")
                return bool(published(sets, "dataset"))

            eventually(gathers, 90, interval=1.0, message="a set of segments comes through")
            texts = [published(segments, "file")[-1], published(sets, "dataset")[-1]]
            file, dataset = (decode(text.encode()).fields for text in texts)
            assert file["platform_name"] == "Meteosat-10" and file["orig_platform_name"] == "M10" and file["sensor"] == ["seviri"]
            assert Path(file["uri"]).parent == tmp_path / "segments" and len(dataset["dataset"]) == 2
            names = neighbours_run(READ, texts)
            assert names == [[file["uri"]], [item["uri"] for item in dataset["dataset"]]]
            assert all(Path(name).read_text().startswith("content") for found in names for name in found)
            assert neighbours_run(ZIP, texts[1], str(tmp_path / "zip")) == [True, "File successfully created"]
            [packed] = (tmp_path / "zip").glob("met10_*.tgz_original")
            with tarfile.open(packed) as archive:
                assert archive.getnames() == [item["uid"] for item in dataset["dataset"]]
        finally:
            segments.close()
            sets.close()


def test_a_collection_of_the_geographic_gatherer(tmp_path: Path) -> None:
    with Listening(tmp_path) as server:
        paths = [server.file(name) for name in ("one.h5", "two.h5")]
        raw = neighbours_run(GEOGRAPHIC, [str(path) for path in paths])
        server.source.send(raw.encode())
        [message] = server.announces(1)
        theirs = decode(raw.encode())
        assert message.type == "collection"
        assert fields_of(message) == {**theirs.fields, "request_address": f"127.0.0.1:{server.request_port}"}
        reply = server.push(fields_of(message), tmp_path / "here")
        assert reply.type == "collection" and sorted(os.listdir(tmp_path / "here")) == ["one.h5", "two.h5"]
        names = neighbours_run(READ, [reply.raw.decode()])
        assert names == [[str(path) for path in paths]]


def test_messages_with_a_filesystem(tmp_path: Path) -> None:
    """What s3stalker and upstream's stand-alone servers publish: a file of ours is announced, what is inside archives is not."""
    with Listening(tmp_path) as server:
        path, archive = server.file("one.txt"), tmp_path / "two.tar"
        with tarfile.open(archive, "w") as made:
            made.add(path, "one.txt")
        raws = neighbours_run(FSSPEC, str(path), str(archive))
        for raw in raws:
            server.source.send(raw.encode())
        messages = sorted(server.announces(2), key=lambda message: message.fields["filesystem"]["protocol"], reverse=True)
        server.program.wait_for(r"is not announced: tar://one.txt::ssh://\S+ is not on this machine")
        heard = [decode(raw.encode()).fields for raw in (raws[0], raws[2])]
        assert [{**fields_of(message), "request_address": None} for message in messages] == [
            {**fields, "request_address": None} for fields in heard]
        assert messages[0].fields["filesystem"]["protocol"] == "ssh"
        for number, message in enumerate(messages):
            assert server.push(fields_of(message), tmp_path / str(number)).type == "file"
            assert (tmp_path / str(number) / "one.txt").read_bytes() == path.read_bytes()


def test_a_product_of_trollflow2(tmp_path: Path) -> None:
    with Listening(tmp_path) as server:
        path = server.file("overview.tif")
        server.source.send(neighbours_run(PRODUCT, str(path)).encode())
        [message] = server.announces(1)
        assert fields_of(message) == {
            "platform_name": "NOAA-20", "sensor": "viirs", "uri": str(path), "uid": "overview.tif", "product": "overview",
            "area": "euro4", "productname": "overview", "areaname": "euro4", "format": "tif",
            "request_address": f"127.0.0.1:{server.request_port}"}
        assert server.push(fields_of(message), tmp_path / "here").type == "file"


def test_pytroll_watcher_is_heard(tmp_path: Path) -> None:
    [port] = free_ports(1)
    incoming = tmp_path / "incoming"
    incoming.mkdir()
    (tmp_path / "watcher.yaml").write_text(json.dumps({
        "backend": "local", "fs_config": {"directory": str(incoming), "file_pattern": "{platform_name}_{number:d}.dat"},
        "publisher_config": {"name": "watcher", "port": port, "nameservers": False},
        "message_config": {"subject": HEARD, "atype": "file", "data": {"sensor": "seviri"}}}))
    with start_neighbour("pytroll-watcher", tmp_path / "watcher.yaml", log=tmp_path / "watcher.log") as watcher, \
            Listening(tmp_path) as server:
        server.write_config(addresses=f"tcp://127.0.0.1:{server.source.port} tcp://127.0.0.1:{port}")
        numbers = iter(range(600))

        def heard() -> bool:
            assert watcher.running, watcher.output()
            staged = tmp_path / "staged"
            staged.write_text("content")
            staged.rename(incoming / f"M10_{next(numbers)}.dat")
            return bool(server.told())

        eventually(heard, 60, interval=0.5, message="the watcher is heard")
        fields = server.fields()[0]
        assert fields["platform_name"] == "M10" and fields["sensor"] == "seviri" and Path(fields["uri"]).parent == incoming
        assert server.push(fields, tmp_path / "here").type == "file"
        assert (tmp_path / "here" / fields["uid"]).read_text() == "content"
