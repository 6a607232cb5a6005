"""move_it_req as operators run it: asked of servers of either make, of nobody, and of hostile ones."""

from __future__ import annotations

import json
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import zmq

from tests.compatibility.network import HOST, PATIENCE, Make, Network, Server
from tests.compatibility.tapping import Looping
from tests.support.eventually import eventually
from tests.support.ports import free_port
from tests.support.programs import Program
from tests.unit.cli.asking import Answer, ask
from trollmoves.messages import EXTENSION, Envelope, Message, decode

NAMES = ("one_202401020304.txt", "two_202401020304.txt")
ENVELOPE = Envelope("me@host")


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that has announced two files."""
    with Network(tmp_path_factory.mktemp("req")) as network:
        server = network.server(Make.OURS, listen_address=HOST, connect_timeout=60)
        for name in NAMES:
            server.put(name)
            eventually(lambda name=name: name in req(server, "--info", "/test").out, PATIENCE, message="it is announced")
        yield server


@pytest.fixture(scope="module")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Network(tmp_path_factory.mktemp("upstream")) as network:
        server = network.server(Make.UPSTREAM)
        server.put(NAMES[0])
        eventually(lambda: NAMES[0] in req(server, "--info", "/test").out, PATIENCE, message="it is announced")
        yield server


def req(server: Server | int, *words: str, program: str = "move_it_req.py") -> Answer:
    port = server if isinstance(server, int) else server.request_port
    return ask(program, *words, f"{HOST}:{port}", state=Path.cwd())


def objects(answer: Answer) -> list[dict[str, Any]]:
    return [json.loads(line) for line in answer.out.splitlines()]


@pytest.mark.parametrize("words", [["--ping"], ["ping"]])
def test_ping(ours: Server, words: list[str]) -> None:
    answer = req(ours, *words)
    assert (answer.status, answer.err) == (0, "")
    assert answer.out.startswith(f"{HOST}:{ours.request_port} is there: station here, ")
    assert answer.out.endswith("  announced so far: 2; queued or running: 0; can replay, status, commit, cancel\n")
    [found] = objects(req(ours, *words, "--json"))
    assert found["station"] == "here" and found[EXTENSION]["head"] == 2


def test_an_upstream_server_answers_too(upstream: Server) -> None:
    answer = req(upstream, "--ping")
    assert answer.status == 0 and "station here" in answer.out and answer.out.count("\n") == 1
    info = req(upstream, "--info", "/test")
    assert info.status == 0 and info.out.splitlines()[0] == f"/test/files/{NAMES[0]}"
    for words in (["replay"], ["status", "r:1"]):
        answer = req(upstream, *words)
        assert (answer.status, answer.out) == (1, "")
        assert "does not know this question (an upstream server answers ping and info only)" in answer.err


def test_info(ours: Server) -> None:
    lines = req(ours, "--info", "test/files").out.splitlines()
    assert lines[:2] == [f"/test/files/{NAMES[1]}", f"/test/files/{NAMES[0]}"]
    assert lines[2].startswith("2 announced file(s), newest first; the server has run for 0:0")
    [found] = objects(req(ours, "info", "/test", "--extra", "max_count:1,more:text", "--json"))
    assert found["files"] == [f"/test/files/{NAMES[1]}"] and found["max_count"] == 1
    assert objects(req(ours, "--info", "/tests", "--json"))[0]["files"] == []


def test_replay(ours: Server) -> None:
    answer = req(ours, "req", "replay", "--since", "2h", "--topic", "/test", program="trollmoves")
    assert (answer.status, answer.err) == (0, "2 message(s)\n")
    assert [line.split("  ")[1:] for line in answer.out.splitlines()] == [["/test/files file", name] for name in NAMES]
    found = objects(req(ours, "--replay", "--json"))
    assert [message["data"]["uid"] for message in found] == list(NAMES)
    assert found[0].keys() == {"subject", "type", "sender", "time", "data"}
    assert req(ours, "replay", "--topic", "elsewhere", "--topic", "/no") == Answer(0, "", "0 message(s)\n")
    assert f"{ours.incoming}/{NAMES[0]}" in req(ours, "replay", "--verbose").out


def test_many_pages_are_replayed(tmp_path: Path) -> None:
    with Network(tmp_path) as network:
        server = network.server(Make.OURS, listen_address=HOST)
        names = [f"f{number:04d}_202401020304.txt" for number in range(1200)]  # a page holds 500
        for name in names:
            server.put(name)
        eventually(lambda: "  announced so far: 1200;" in req(server, "ping").out, PATIENCE, message="all are announced")
        found = objects(req(server, "replay", "--json"))
        assert sorted(message["data"]["uid"] for message in found) == names
        assert req(server, "replay", "--since", "0").out == ""


@pytest.mark.slow
def test_status(ours: Server) -> None:
    """A move to an ftp server that takes the connection and says nothing."""
    unknown = req(ours, "status", "r:nobody")
    assert unknown.status == 1 and "is not busy with r:nobody: it is over (`trollmoves trace` shows how it ended)" in unknown.err
    announcement = objects(req(ours, "replay", "--json"))[0]
    with socket.create_server((HOST, 0)) as silent, zmq.Context() as context, context.socket(zmq.DEALER) as dealer:
        dealer.linger = 0
        dealer.connect(f"tcp://{HOST}:{ours.request_port}")
        data = announcement["data"] | {"destination": f"ftp://{HOST}:{silent.getsockname()[1]}/"}
        data[EXTENSION] |= {"request": "r:pending"}
        dealer.send_multipart([b"", ENVELOPE.encode(announcement["subject"], "push", data)])
        connection, _ = silent.accept()
        assert req(ours, "status", "r:pending") == Answer(0, "r:pending is under way: 0 of 7 bytes\n", "")
        connection.close()


def test_nobody_answers() -> None:
    port = free_port()
    answer = req(port, "--ping", "--timeout", "0.1")
    assert (answer.status, answer.out) == (1, "")
    assert answer.err == (f"move_it_req.py: {HOST}:{port} does not answer (3 tries of 0.1 s); is this its request_port?\n")


class Answering(Looping):
    """Answers requests with what a function makes of them; None for silence."""

    def __init__(self, reply: Callable[[Message], bytes | None]):
        super().__init__()
        self.port = free_port()
        self.asked: list[Message] = []
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.bind(f"tcp://{HOST}:{self.port}")
        self._reply = reply
        self._watch(self._socket, self._answer)

    def _answer(self) -> None:
        identity, _, raw = self._socket.recv_multipart()
        self.asked.append(decode(raw))
        reply = self._reply(self.asked[-1])
        if reply is not None:
            self._socket.send_multipart([identity, b"", reply])


@contextmanager
def answering(reply: Callable[[Message], bytes | None]) -> Iterator[Answering]:
    with Answering(reply) as found:
        yield found


def extended(kind: str, **said: object) -> Callable[[Message], bytes]:
    return lambda asked: ENVELOPE.encode(asked.subject, kind, {EXTENSION: said})


def test_what_is_asked() -> None:
    with answering(lambda asked: ENVELOPE.encode(asked.subject, "pong", {"station": "x"})) as server:
        assert req(server.port, "--ping", "--extra", "a:1,b:[1;2],c:x:y,d:None").status == 0
        assert req(server.port, "--ping", "--timeout", "5").status == 0
        [first, second] = server.asked
    assert (first.subject, first.type) == ("ping/pong", "ping")
    assert {**first.fields, EXTENSION: 0} == {"a": 1, "b": "[1;2]", "c": "x:y", "d": None, EXTENSION: 0}
    assert first.extension["request"] != second.extension["request"]


def test_a_question_is_asked_three_times() -> None:
    with answering(lambda asked: None) as server:
        assert req(server.port, "--ping", "--timeout", "0.3").status == 1
        eventually(lambda: len(server.asked) == 3, message="three questions came")
    with answering(lambda asked: None if len(server.asked) < 3 else ENVELOPE.encode("/", "pong", {"station": "late"})) as server:
        assert "station late" in req(server.port, "--ping", "--timeout", "3").out


@pytest.mark.parametrize(("words", "reply", "complaint"), [
    (["--ping"], lambda asked: b"garbage", "does not begin with 'pytroll:/'"),
    (["--ping"], lambda asked: ENVELOPE.encode("/", "err", "go away"), "answered err: go away"),
    (["--ping"], lambda asked: ENVELOPE.encode("/", "error"), "answered error"),
    (["--info", "/"], lambda asked: ENVELOPE.encode("/", "info", {"files": "x"}), "answered without a list of files"),
    (["replay"], extended("replay", messages="x", to=1), "answered with something that is no page of messages"),
    (["replay"], extended("replay", messages=[], to=-1), "answered with something that is no page of messages"),
    (["replay"], extended("replay", messages=[], to=0, more=True), "says there is more after 0, and does not tell it"),
    (["replay"], extended("replay", messages=["nonsense"], to=1), "would tell something that is no message"),
    (["status", "r:1"], extended("results", results=[1, {"request": "r:2"}]), "the answer is about other requests"),
    (["status", "r:1"], lambda asked: ENVELOPE.encode("/", "err", "no"), "answered err: no"),
])
def test_answers_that_are_none(words: list[str], reply: Callable[[Message], bytes], complaint: str) -> None:
    with answering(reply) as server:
        answer = req(server.port, *words, "--timeout", "5")
    assert answer.status == 1 and complaint in answer.err and answer.err.count("\n") == 1


@pytest.mark.parametrize(("reply", "status", "text"), [
    (extended("pending", done=10, total=100), 0, "r:1 is under way: 10 of 100 bytes"),
    (extended("file", state="delivered", destination_uri="sftp://h/d/a", verified="size"), 0,
     "r:1 is delivered: sftp://h/d/a, verified: size"),
    (extended("results", results=[{"request": "r:1", "state": "delivered", "destination_uri": "/d/a"}]), 0,
     "r:1 is delivered: /d/a"),
    (extended("results", results=[{"request": "r:1", "error": "full"}]), 1, "r:1 failed: full"),
    (lambda asked: ENVELOPE.encode("/", "err", {"error": "denied", EXTENSION: {"code": "denied"}}), 1,
     "r:1 failed: denied (denied)"),
])
def test_how_a_request_stands(reply: Callable[[Message], bytes], status: int, text: str) -> None:
    with answering(reply) as server:
        answer = req(server.port, "status", "r:1")
        assert (answer.status, answer.out, answer.err) == (status, f"{text}\n", "")
        assert objects(req(server.port, "status", "r:1", "--json"))[0]["request"] == "r:1"


def test_what_strangers_write_is_not_sent_to_the_terminal_as_it_is() -> None:
    with answering(lambda asked: ENVELOPE.encode("/", "info", {"files": ["a\x1b[31mb\nc", "ftp://me:secret@h/x"]})) as server:
        out = req(server.port, "--info", "/").out
    assert out.splitlines()[:2] == ["a\\x1b[31mb\\nc", "ftp://***@h/x"]
    with answering(extended("replay", messages=[], to=1, truncated=True, oldest="\x1b[2J")) as server:
        answer = req(server.port, "replay")
    assert (answer.status, answer.err.splitlines()[0]) == (0, "note: what was announced before number \\x1b[2J is no longer kept")


def test_answers_may_hold_anything_where_a_list_belongs() -> None:
    with answering(extended("pong", epoch="e:1", capabilities=5)) as server:
        assert req(server.port, "--ping").status == 0
    with answering(extended("ack", cancelled=5)) as server:
        assert "is not busy with r:1" in req(server.port, "cancel", "r:1").out


def test_again_and_again(tmp_path: Path) -> None:
    with answering(lambda asked: ENVELOPE.encode(asked.subject, "pong", {"station": "x"})) as server:
        program = Program.ours("req", "--ping", "--spam", "0.1", "--timeout", "10", f"tcp://{HOST}:{server.port}",
                               log=tmp_path / "log")
        with program:
            eventually(lambda: program.output().count("is there") >= 3, PATIENCE, message="three answers")
            program.signal(signal.SIGINT)
            assert program.wait() in (0, 130)
    assert "Traceback" not in program.output()


@pytest.mark.parametrize(("words", "complaint"), [
    ([], "one of the arguments --ping --info --replay --status --cancel is required"),
    (["--ping", "--info", "/a"], "argument --info: not allowed with argument --ping"),
    (["--info"], "argument --info: expected one argument"),
    (["--ping", "nowhere"], "argument server: 'nowhere' is not an address like host:port"),
    (["--ping", "--extra", "a"], "argument --extra: 'a' is not key:value,key:value"),
    (["--ping", "--spam", "0"], "argument --spam: '0' is not a number of seconds, more than 0 and at most 86400"),
    (["cancel", "host:9094"], "argument --cancel: 'host:9094' is not the id of a request; write it first, then the address: "
     "r:... host:port (`trollmoves status` shows the ids of long moves)"),
    (["info", "host:9094"], "argument --info: 'host:9094' is an address; write the topic first (/ for all), then the address"),
    (["replay", "--since", "soon"],
     "argument --since: 'soon' is not a time from 0 seconds to 3650 days; write seconds, or a unit as in 30m, 12h, 7d"),
])
def test_wrong_words(words: list[str], complaint: str, tmp_path: Path) -> None:
    answer = ask("move_it_req.py", *words, state=tmp_path)
    assert (answer.status, answer.out, answer.last_line) == (2, "", f"move_it_req.py: error: {complaint}")
