"""Our codec and our views, against what upstream said once: needs no upstream."""

from __future__ import annotations

import json
from datetime import datetime

import pytest
from posttroll.message import Message as PosttrollMessage

from tests.compatibility.recording import SCENARIOS, Entry, envelope_of, recorded
from trollmoves.client.deciding import Notice, read_notice
from trollmoves.messages import Message, decode, identity_of, moment, read_announcement, uids_of, uris_of

ENTRIES = [pytest.param(entry, id=f"{scenario}-{entry['channel']}-{entry['type']}")
           for scenario, entries in recorded().scenarios.items() for entry in entries]
ADDRESS = "192.0.2.7:9094"


def on_the_wire(entry: Entry) -> bytes:
    """The message as upstream sent it, from a server at ADDRESS."""
    data = json.loads(json.dumps(dict(map(tuple, entry["data"]))).replace("<SERVER>", ADDRESS))
    return envelope_of(entry["subject"], entry["type"], data)


def announcement(scenario: str) -> Message:
    entry = recorded().first(scenario, "server", "file")
    assert entry is not None
    return decode(on_the_wire(entry))


@pytest.mark.parametrize("entry", ENTRIES)
def test_every_message_is_read_as_posttroll_reads_it(entry: Entry) -> None:
    raw = on_the_wire(entry)
    mine, theirs = decode(raw), PosttrollMessage(rawstr=raw.decode())
    assert (mine.subject, mine.type, mine.sender, mine.version) == (theirs.subject, theirs.type, theirs.sender, theirs.version)
    assert {key: moment(value) for key, value in mine.fields.items()} == theirs.data


@pytest.mark.parametrize("entry", ENTRIES)
def test_what_a_peer_client_says_is_a_notice_and_nothing_else_is(entry: Entry) -> None:
    notice = read_notice(decode(on_the_wire(entry)))
    told = {("client", "push"): Notice.ASKED, ("client", "ack"): Notice.HAS, ("client", "file"): Notice.HAS}
    if entry["channel"] in ("client", "server"):
        assert notice is told.get((entry["channel"], entry["type"]))


@pytest.mark.parametrize("scenario", [scenario.name for scenario in SCENARIOS])
def test_an_announcement_says_whom_to_ask_for_what(scenario: str) -> None:
    found = read_announcement(announcement(scenario))
    name = f"{scenario}-M9_202401020304_00017_abc.txt"
    assert (found.host, found.port, found.address) == ("192.0.2.7", 9094, ADDRESS)
    assert found.uids == (name,) and found.identity == name
    assert (found.epoch, found.offset, found.key, found.size) == ("", 0, "", None)


@pytest.mark.parametrize("scenario", [scenario.name for scenario in SCENARIOS])
def test_all_that_is_said_about_one_file_has_one_identity(scenario: str) -> None:
    messages = [decode(on_the_wire(entry)) for entry in recorded().scenarios[scenario]]
    assert len({identity_of(message.fields) for message in messages}) == 1
    assert all(len(uids_of(message.fields)) == len(uris_of(message.fields)) == 1 for message in messages)


def test_times_can_be_read() -> None:
    assert moment(announcement("plain").fields["start_time"]) == datetime(2024, 1, 2, 3, 4)


def test_beats_are_read() -> None:
    for beat in recorded().beats:
        message = decode(on_the_wire(beat))
        assert message.type == "beat" and message.subject.startswith("/heartbeat/move_it_")
        assert message.fields == {"min_interval": 30} and message.extension == {}
