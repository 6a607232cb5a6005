"""Field for field, what ours say is what upstream's say; only the key `trollmoves` is added.

Upstream's words are in `recorded/`; where upstream can be installed, they are also recorded anew and compared.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.compatibility.network import Make
from tests.compatibility.recording import SCENARIOS, Entry, Recording, record, recorded, without_extension

OURS, UPSTREAM = Make.OURS, Make.UPSTREAM
NAMES = [scenario.name for scenario in SCENARIOS]
WORDS = [("server", "file"), ("client", "push"), ("request", "push"), ("reply", "file"), ("client", "ack"), ("client", "file")]
OF_SERVERS = [("server", "file"), ("reply", "file")]
OF_CLIENTS = [("client", "push"), ("request", "push"), ("client", "ack"), ("client", "file")]


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    return record(OURS, OURS, tmp_path_factory.mktemp("ours") / "run")


@pytest.fixture(scope="module")
def our_server(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """Our server, and what it says to an upstream client."""
    return record(OURS, UPSTREAM, tmp_path_factory.mktemp("our-server") / "run")


@pytest.fixture(scope="module")
def our_client(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """Our client, and what it says to an upstream server."""
    return record(UPSTREAM, OURS, tmp_path_factory.mktemp("our-client") / "run")


@pytest.fixture(scope="module")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    return record(UPSTREAM, UPSTREAM, tmp_path_factory.mktemp("upstream") / "run")


def said(recording: Recording, scenario: str, channel: str, kind: str) -> Entry:
    """The first message of that kind, without our extension; `ours` below has it and upstream has not."""
    entry = recording.first(scenario, channel, kind)
    assert entry is not None, f"no {kind} in {channel} of {scenario}: {recording.scenarios[scenario]}"
    return without_extension(entry)


@pytest.mark.parametrize("scenario", NAMES)
def test_the_record_is_what_upstream_says(upstream: Recording, scenario: str) -> None:
    assert [said(upstream, scenario, *word) for word in WORDS] == [said(recorded(), scenario, *word) for word in WORDS]


@pytest.mark.parametrize("scenario", NAMES)
def test_ours_say_to_each_other_what_upstream_says(ours: Recording, scenario: str) -> None:
    assert [said(ours, scenario, *word) for word in WORDS] == [said(recorded(), scenario, *word) for word in WORDS]


@pytest.mark.parametrize("scenario", NAMES)
def test_our_server_says_to_upstream_what_upstream_says(our_server: Recording, scenario: str) -> None:
    for word in (*OF_SERVERS, *OF_CLIENTS):  # upstream's client does with it what it always does
        assert said(our_server, scenario, *word) == said(recorded(), scenario, *word)


@pytest.mark.parametrize("scenario", NAMES)
def test_our_client_says_to_upstream_what_upstream_says(our_client: Recording, scenario: str) -> None:
    for word in (*OF_CLIENTS, *OF_SERVERS):
        assert said(our_client, scenario, *word) == said(recorded(), scenario, *word)


@pytest.mark.parametrize("scenario", NAMES)
def test_an_upstream_server_sees_no_extension_of_ours_in_requests(our_client: Recording, scenario: str) -> None:
    request = our_client.first(scenario, "request", "push")
    assert request == recorded().first(scenario, "request", "push")


@pytest.mark.parametrize("scenario", NAMES)
def test_the_order_of_what_is_said_is_upstreams(ours: Recording, scenario: str) -> None:
    def order(recording: Recording) -> list[str]:
        """Of what one publisher says; between programs there is no order."""
        return [entry["type"] for entry in recording.scenarios[scenario] if entry["channel"] == "client"]
    assert order(ours) == order(recorded()) == ["push", "ack", "file"]


def test_beats_are_upstreams(ours: Recording, upstream: Recording) -> None:
    assert [without_extension(beat) for beat in ours.beats] == upstream.beats == recorded().beats


def answer(recording: Recording, question: str) -> Any:
    """Without what differs from run to run."""
    reply = recording.replies[question]
    if reply is None or not isinstance(reply["data"], list):
        return reply
    return {**reply, "data": [item for item in reply["data"] if item[0] != "uptime"]}


SAME = ["ping", "ping with data", "info of one", "info of a prefix", "info of nothing", "ack", "ack with destination",
        "ack of a strange file", "push of a strange file", "strange type", "beat", "four frames"]


@pytest.mark.parametrize("question", SAME)
def test_replies_are_upstreams(our_server: Recording, upstream: Recording, question: str) -> None:
    assert answer(our_server, question) == answer(upstream, question) == answer(recorded(), question)


@pytest.mark.parametrize("question", ["push without destination", "push by an unknown scheme"])
def test_refusals_are_upstreams_but_say_more(our_server: Recording, upstream: Recording, question: str) -> None:
    """Upstream's text is that of some exception (`'bogus'`), and nobody reads it but people."""
    mine, theirs = answer(our_server, question), answer(upstream, question)
    assert (mine["subject"], mine["type"], type(mine["data"])) == (theirs["subject"], theirs["type"], type(theirs["data"]))
    assert mine["type"] == "err" and len(mine["data"]) > len(theirs["data"])


def test_info_tells_the_uptime_as_upstream_does(our_server: Recording, upstream: Recording) -> None:
    def kinds(recording: Recording) -> list[tuple[str, str]]:
        reply = recording.replies["info"]
        assert reply is not None
        return [(name, type(value).__name__) for name, value in reply["data"]]
    assert kinds(our_server) == kinds(upstream) == [("files", "list"), ("max_count", "int"), ("uptime", "str")]
