"""posttroll as the judge of our messages, and we of its."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from posttroll.message import Message as PosttrollMessage

from trollmoves.errors import MalformedMessage
from trollmoves.messages import (
    Envelope,
    Message,
    content_key,
    decode,
    identity_of,
    moment,
    read_announcement,
    translate,
    uids_of,
    uris_of,
)

VERSIONS = ["v1.01", "v1.2"]
OFTEN = settings(max_examples=200)

words = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Z")), min_size=1, max_size=20)
subjects = words.map(lambda word: "/" + word)
texts = st.text(st.characters(codec="utf-8"), max_size=30)
scalars = st.none() | st.booleans() | st.integers(-2**63, 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False) | texts
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4))
data = st.dictionaries(texts, values, min_size=1, max_size=6)
KEYS = st.sampled_from(["uid", "uri", "dataset", "collection", "request_address", "destination", "trollmoves", "epoch", "offset"])
strange = st.recursive(scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS | texts, inner, max_size=5))


def with_datetimes(value: Any) -> Any:
    """A value as posttroll's decoder gives it: text that reads as a date is a datetime, also within dicts and lists of dicts."""
    if isinstance(value, dict):
        return {key: with_datetimes(item) for key, item in value.items()}
    if isinstance(value, list):
        return [with_datetimes(item) for item in value]
    return moment(value)


@pytest.mark.parametrize("version", VERSIONS)
@OFTEN
@given(subject=subjects, kind=words, content=data)
def test_posttroll_reads_what_we_write(version: str, subject: str, kind: str, content: dict[str, Any]) -> None:
    raw = Envelope("somebody@somewhere", version).encode(subject, kind, content)
    theirs = PosttrollMessage(rawstr=raw.decode())
    assert (theirs.subject, theirs.type, theirs.sender, theirs.version) == (subject, kind, "somebody@somewhere", version)
    assert theirs.data == with_datetimes(content)
    assert abs((aware(theirs.time) - datetime.now(UTC)).total_seconds()) < 600


@pytest.mark.parametrize("version", VERSIONS)
@OFTEN
@given(subject=subjects, kind=words, content=data)
def test_we_read_what_posttroll_writes(version: str, subject: str, kind: str, content: dict[str, Any]) -> None:
    mine = decode(str(PosttrollMessage(subject, kind, content, version=version)).encode())
    assert (mine.subject, mine.type, mine.version, mine.data) == (subject, kind, version, content)
    assert isinstance(moment(mine.time), datetime)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("content", ["", "some text", "text  with  spaces", {}, None])
def test_text_and_nothing_are_the_same_to_both(version: str, content: Any) -> None:
    raw = Envelope("a@b", version).encode("/s", "err", content)
    assert PosttrollMessage(rawstr=raw.decode()).data == decode(raw).data == (content or "")
    assert decode(str(PosttrollMessage("/s", "err", content or "", version=version)).encode()).data == (content or "")


@pytest.mark.parametrize("version", VERSIONS)
def test_datetimes_are_written_by_both_alike(version: str) -> None:
    when = datetime(2024, 1, 2, 3, 4, 5, 678)
    theirs = str(PosttrollMessage("/s", "file", {"start_time": when}, version=version))
    mine = Envelope("a@b", version).encode("/s", "file", {"start_time": when})
    assert decode(mine).data == decode(theirs.encode()).data == {"start_time": "2024-01-02T03:04:05.000678"}
    assert PosttrollMessage(rawstr=mine.decode()).data == {"start_time": when}


def test_v1_01_carries_no_offset() -> None:
    when = datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)
    theirs = str(PosttrollMessage("/s", "file", {"start_time": when}, version="v1.01"))
    assert decode(Envelope("a@b", "v1.01").encode("/s", "file", {"start_time": when})).data == decode(theirs.encode()).data


def test_a_uid_that_reads_as_a_date_stays_text() -> None:
    raw = Envelope("a@b").encode("/s", "file", {"uid": "20240101", "uri": "/d/20240101"})
    assert isinstance(PosttrollMessage(rawstr=raw.decode()).data["uid"], datetime)
    assert uids_of(decode(raw).data) == ("20240101",)


def test_infinities_of_a_peer_are_read() -> None:
    raw = str(PosttrollMessage("/s", "file", {"value": float("inf")}))
    assert decode(raw.encode()).data == {"value": float("inf")}


def test_a_binary_message_is_read() -> None:
    raw = str(PosttrollMessage("/s", "file", "binary stuff", binary=True))
    assert decode(raw.encode()).data == "binary stuff"


@OFTEN
@given(st.binary(max_size=300))
@example(b"pytroll://s t a@b 2024-01-01T00:00:00 v1.2 application/json " + b"[" * 100_000)
@example(b"pytroll://s t a@b 2024-01-01T00:00:00 v1.2 application/json " + b'{"a":' * 100_000)
@example(b"pytroll://s t a@b nodate v1.2")
@example(b"pytroll://s t a@b 2024-01-01T00:00:00 v9")
@example(b"pytroll://s t a@b 2024-01-01T00:00:00 v1.2 application/json " + b"9" * 5000)
@example(b"pytroll://\xff t a@b 2024-01-01T00:00:00 v1.2 application/json \xff")
def test_bytes_are_read_or_refused(raw: bytes) -> None:
    refused_or_read(raw)


@OFTEN
@given(st.lists(st.text(max_size=12), max_size=9), st.sampled_from(["", "pytroll:/", "pytroll://"]))
def test_text_is_read_or_refused(parts: list[str], start: str) -> None:
    refused_or_read((start + " ".join(parts)).encode("utf-8", "surrogatepass"))


@OFTEN
@given(st.sampled_from(["application/json", "text/ascii", "binary/octet-stream", "x/y"]), st.text(max_size=60))
def test_payloads_are_read_or_refused(mime: str, payload: str) -> None:
    refused_or_read(f"pytroll://s file a@b 2024-01-01T00:00:00 v1.2 {mime} {payload}".encode("utf-8", "surrogatepass"))


@OFTEN
@given(strange)
def test_views_of_strange_data_are_made_or_refused(content: Any) -> None:
    message = refused_or_read(b"pytroll://s file a@b 2024-01-01T00:00:00 v1.2 application/json " + json.dumps(content).encode())
    if message is None:
        return
    assert isinstance(message.extension, dict)
    assert all(isinstance(text, str) for text in (*uids_of(message.data), *uris_of(message.data), identity_of(message.data)))
    translate(message.data, "uri", lambda item: "new")
    with suppress(MalformedMessage):
        assert 0 < read_announcement(message).port < 65536


@OFTEN
@given(subjects, st.lists(texts, min_size=1, max_size=3), st.integers(0, 2**40), st.integers(0, 2**60))
def test_the_key_depends_on_content_alone(subject: str, uids: list[str], size: int, mtime: int) -> None:
    def key(names: list[str], of_size: int) -> str:
        return content_key(subject, tuple(names), (of_size,) * len(names), (mtime,) * len(names))
    assert key(uids, size) == key(list(reversed(uids)), size) != key(uids, size + 1)


def refused_or_read(raw: bytes) -> Message | None:
    """`decode` raises nothing but `MalformedMessage`."""
    try:
        return decode(raw)
    except MalformedMessage as error:
        assert str(error)
        return None


def aware(when: datetime) -> datetime:
    return when if when.tzinfo else when.replace(tzinfo=UTC)
