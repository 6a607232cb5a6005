"""What goes over the wire for a set of scenarios, free of what differs from run to run.

Run as a program it records upstream into `recorded/`:  python -m tests.compatibility.recording
"""

from __future__ import annotations

import json
import re
import socket
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.compatibility.network import HOST, PATIENCE, Make, ask, section, start_program, wait_for_ports
from tests.compatibility.tapping import Record, Relay, Tap
from tests.support.eventually import eventually
from tests.support.ports import free_port
from trollmoves.messages import EXTENSION, decode

RECORDED = Path(__file__).parent / "recorded"
NAME = "M9_202401020304_00017_abc.txt"
"""Name of the file in each scenario, behind the name of the scenario."""
ELSEWHERE = "192.0.2.1"
"""Nobody's address; files for it are written here all the same, because the scheme is `file`."""

Entry = dict[str, Any]
"""channel, subject, type, data (items as pairs, in their order)."""


@dataclass(frozen=True)
class Scenario:
    """One section of a server and of a client, and one file."""

    name: str
    destination: str
    """`{outgoing}` is the directory, `{host}` this machine's name."""
    server: dict[str, object] = field(default_factory=dict)
    client: dict[str, object] = field(default_factory=dict)
    pattern: str = "{platform}_{start_time:%Y%m%d%H%M}_{orbit:05d}_{rest}.txt"

    @property
    def topic(self) -> str:
        return f"/compatibility/{self.name}/files"

    @property
    def file(self) -> str:
        return f"{self.name}-{NAME}"


SCENARIOS = (
    Scenario("plain", "file://{outgoing}/", {"info": "sensor=seviri;variant=0DEG;channels=vis006,vis008"}),
    Scenario("host", "file://{host}{outgoing}/"),
    Scenario("path", "{outgoing}/"),
    Scenario("file", "file://{outgoing}/"),
    Scenario("upper", "file://LOCALHOST{outgoing}/"),
    Scenario("query", "file://{outgoing}/?a=b"),
    Scenario("login", "file://{outgoing}/", client={"login": "somebody:pass"}),
    Scenario("elsewhere", f"file://{ELSEWHERE}{{outgoing}}/"),
    Scenario("elsewhere-login", f"file://{ELSEWHERE}{{outgoing}}/", client={"login": "somebody:pass"}),
    Scenario("elsewhere-port", f"file://{ELSEWHERE}:2121{{outgoing}}/", client={"login": "somebody:pass"}),
    Scenario("backups", "file://{outgoing}/", client={"backup_targets": "second third"}),
    Scenario("template", "file://{outgoing}/{{start_time:%Y%m%d}}/{{sensor}}/{{orbit:06d}}/", {"info": "sensor=seviri"}),
    Scenario("replaced", "file://{outgoing}/", {"info": "sensor=seviri;variant=0DEG;other=kept"},
             {"sensor": "seviri:SEVIRI|avhrr:AVHRR", "variant": "fixed"}),
    Scenario("quiet", "file://{outgoing}/", client={"create_target_directory": "false", "heartbeat": "false"}),
    Scenario("bare", "file://{outgoing}/", client={"topic": "compatibility/bare/files"}),
    Scenario("temporary", "file://{outgoing}/", {"connection_parameters__use_tmp_on_transfer": "true"}),
    Scenario("dates", "file://{outgoing}/", {"info": "empty=;number=17"},
             pattern="{platform}_{start_time:%Y%m%d%H%M}_{orbit:05d}_{rest:_<5s}xt"),
)


@dataclass
class Recording:
    """What was said in one run: for each scenario in the channels `server`, `client`, `request`, `reply`."""

    scenarios: dict[str, list[Entry]]
    beats: list[Entry]
    replies: dict[str, Entry | None]
    """To questions that we put directly."""

    def first(self, scenario: str, channel: str, kind: str) -> Entry | None:
        """The first message of that type, None if there was none."""
        return next((entry for entry in self.scenarios[scenario] if (entry["channel"], entry["type"]) == (channel, kind)), None)


def record(server_make: Make, client_make: Make, folder: Path) -> Recording:
    """Run all scenarios at once."""
    run = Run(folder)
    heard = run.run(server_make, client_make)
    return Recording({scenario.name: list(run.entries_of(scenario, heard)) for scenario in SCENARIOS},
                     run.beats_in(heard), run.replies)


class Run:
    """One server and one client with a section for each scenario, and a relay between them."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.port = free_port()
        self.request_ports = {scenario.name: free_port() for scenario in SCENARIOS}
        self.publish_ports = {scenario.name: free_port() for scenario in SCENARIOS}
        self.served: dict[int, int] = {}
        self.replies: dict[str, Entry | None] = {}
        """What the server answers to each question."""
        for scenario in SCENARIOS:
            self.incoming(scenario).mkdir(parents=True)
            self.outgoing(scenario).mkdir(parents=True)

    def incoming(self, scenario: Scenario) -> Path:
        return self.folder / "incoming" / scenario.name

    def outgoing(self, scenario: Scenario) -> Path:
        return self.folder / "outgoing" / scenario.name

    def run(self, server_make: Make, client_make: Make) -> Record:
        heard = Record()
        server = start_program(server_make, "server", self.folder, self._server_config(), "-p", str(self.port),
                               "--disable-backlog")  # or upstream announces some files twice
        with server, Relay(self.port, list(self.request_ports.values()), heard) as relay:
            self.served = dict(relay.request_ports)
            wait_for_ports(server, self.port, *self.request_ports.values())
            client = start_program(client_make, "client", self.folder, self._client_config(relay.port))
            taps = {f"client {name}": port for name, port in self.publish_ports.items()}
            with client, Tap(heard, server=self.port, **taps):
                wait_for_ports(client, *self.publish_ports.values())
                self._connect(heard)
                self._put_files(heard)
                eventually(lambda: self._all_beat(heard), PATIENCE, message="all beat")
                self.replies = {name: self._reply_to(frames) for name, frames in self._questions().items()}
        return heard

    def _server_config(self) -> Path:
        path = self.folder / "server.ini"
        path.write_text("\n".join(section(scenario.name, {
            "origin": f"{self.incoming(scenario)}/{scenario.name}-{scenario.pattern}", "topic": scenario.topic,
            "request_port": self.request_ports[scenario.name], "request_address": HOST, **scenario.server,
        }) for scenario in SCENARIOS))
        return path

    def _client_config(self, port: int) -> Path:
        path = self.folder / "client.ini"
        path.write_text("\n".join(section(scenario.name, {
            "providers": f"{HOST}:{port}", "topic": scenario.topic, "nameservers": False,
            "publish_port": self.publish_ports[scenario.name],
            "destination": scenario.destination.format(outgoing=self.outgoing(scenario), host=socket.gethostname()),
            **scenario.client,
        }) for scenario in SCENARIOS))
        return path

    def _connect(self, heard: Record) -> None:
        """Until a first file of each scenario has gone all the way to our taps."""
        tries = 0

        def connected() -> bool:
            nonlocal tries
            tries += 1
            missing = [scenario for scenario in SCENARIOS if not self._finished(heard, scenario)]
            for scenario in missing:
                self._put(scenario, scenario.file.replace("abc", f"w{tries:02d}"))
            return not missing
        eventually(connected, PATIENCE, interval=1.5, message="all scenarios are connected")

    def _put(self, scenario: Scenario, name: str) -> None:
        hidden = self.folder / name
        hidden.write_text("content")
        hidden.rename(self.incoming(scenario) / name)

    def _put_files(self, heard: Record) -> None:
        for scenario in SCENARIOS:
            self._put(scenario, scenario.file)
        for scenario in SCENARIOS:
            eventually(lambda scenario=scenario: self._finished(heard, scenario, scenario.file), PATIENCE,
                       message=f"{scenario.name} is published")

    def _all_beat(self, heard: Record) -> bool:
        beating = {entry.channel for entry in list(heard.entries) if entry.message.type == "beat"}
        return beating >= {"server", *(f"client {scenario.name}" for scenario in SCENARIOS)}

    def _finished(self, heard: Record, scenario: Scenario, name: str = "") -> bool:
        return any(not name or message.fields.get("uid") == name for message in heard.of(f"client {scenario.name}", "file"))

    def _questions(self) -> dict[str, list[bytes]]:
        """Requests as frames, some of them such as nobody should send."""
        plain = SCENARIOS[0]
        path = f"{self.incoming(plain)}/{plain.file}"
        known = {"uri": path, "uid": plain.file, "request_address": f"{HOST}:{self.request_ports[plain.name]}"}
        unknown = {**known, "uri": f"{self.folder}/incoming/strange.bin", "uid": "strange.bin"}
        messages = {
            "ping": ("/anything", "ping", None), "ping with data": ("/anything", "ping", {"some": "thing"}),
            "info": (plain.topic, "info", None), "info of one": (plain.topic, "info", {"max_count": 1}),
            "info of a prefix": ("/compatibility/plain/fi", "info", {"max_count": 1}),
            "info of nothing": ("/nothing", "info", None),
            "ack": (plain.topic, "ack", known), "ack with destination": (plain.topic, "ack", {
                **known, "destination": f"file://somebody:pass@Host:21{self.outgoing(plain)}/"}),
            "ack of a strange file": (plain.topic, "ack", unknown),
            "push of a strange file": (plain.topic, "push", {**unknown, "destination": f"file://{self.outgoing(plain)}/"}),
            "push without destination": (plain.topic, "push", known),
            "push by an unknown scheme": (plain.topic, "push", {**known, "destination": "bogus://host/d/"}),
            "strange type": (plain.topic, "dance", known), "beat": ("/heartbeat/x", "beat", {"min_interval": 30}),
        }
        questions = {name: [b"", envelope_of(*message)] for name, message in messages.items()}
        return {**questions, "four frames": [b"", envelope_of("/a", "ping", None), b""]}

    def _reply_to(self, frames: list[bytes]) -> Entry | None:
        raw = ask(self.request_ports[SCENARIOS[0].name], *frames)
        if raw is None:
            return None
        message = decode(raw)
        data = [list(item) for item in message.data.items()] if isinstance(message.data, dict) else message.data
        return self.templated({"subject": message.subject, "type": message.type, "data": data}, SCENARIOS[0])

    def beats_in(self, heard: Record) -> list[Entry]:
        """The first heartbeat of each publisher."""
        found = {entry.channel: entry.message for entry in reversed(heard.entries) if entry.message.type == "beat"}
        return [{"channel": channel, "subject": message.subject, "type": message.type,
                 "data": [list(item) for item in message.fields.items()]} for channel, message in sorted(found.items())]

    def entries_of(self, scenario: Scenario, heard: Record) -> Iterator[Entry]:
        """What was said about the file of *scenario*."""
        for entry in heard.entries:
            message = entry.message
            if message.fields.get("uid") == scenario.file:
                channel = "client" if entry.channel.startswith("client") else entry.channel
                yield self.templated({"channel": channel, "subject": message.subject, "type": message.type,
                                      "data": [list(item) for item in message.fields.items()]}, scenario)

    def templated(self, entry: Entry, scenario: Scenario) -> Entry:
        """*entry* with names for what is of this machine and this run."""
        text = json.dumps(entry)
        for found, name in ((str(self.incoming(scenario)), "INCOMING"), (str(self.outgoing(scenario)), "OUTGOING"),
                            (str(self.folder), "FOLDER"), (f"{HOST}:{self.request_ports[scenario.name]}", "SERVER"),
                            (f"{HOST}:{self.served[self.request_ports[scenario.name]]}", "SERVER")):
            text = text.replace(found, f"<{name}>")
        return json.loads(re.sub(rf"//((?:[\w:]+@)?){re.escape(socket.gethostname())}(?=[:/<])", r"//\1<HOST>", text))


def without_extension(entry: Entry) -> Entry:
    """*entry* without what our peers add."""
    return {**entry, "data": [item for item in entry["data"] if item[0] != EXTENSION]}


def envelope_of(subject: str, kind: str, data: Any) -> bytes:
    """A message as upstream's programs write it."""
    head = f"pytroll:/{subject} {kind} somebody@somewhere 2024-01-02T03:04:05.678901+00:00 v1.2"
    return (f"{head} application/json {json.dumps(data)}" if data else head).encode()


def recorded() -> Recording:
    """What upstream said, from the files."""
    def read(name: str) -> Any:
        return json.loads((RECORDED / f"{name}.json").read_text())
    return Recording({scenario.name: read(scenario.name) for scenario in SCENARIOS}, read("beats"), read("replies"))


def write(recording: Recording) -> None:
    """Into the files, one message a line."""
    for name, entries in {**recording.scenarios, "beats": recording.beats}.items():
        text = ",\n  ".join(json.dumps(entry) for entry in entries)
        (RECORDED / f"{name}.json").write_text(f"[\n  {text}\n]\n")
    text = ",\n  ".join(f"{json.dumps(name)}: {json.dumps(entry)}" for name, entry in recording.replies.items())
    (RECORDED / "replies.json").write_text(f"{{\n  {text}\n}}\n")


def main() -> None:
    """Record upstream anew."""
    with tempfile.TemporaryDirectory() as folder:
        write(record(Make.UPSTREAM, Make.UPSTREAM, Path(folder)))


if __name__ == "__main__":
    main()
