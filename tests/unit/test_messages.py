from __future__ import annotations

import json
import socket
from datetime import datetime

import posttroll.message
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trollmoves.errors import MalformedMessage
from trollmoves.messages import (
    DEEPEST,
    EXTENSION,
    LARGEST_WHOLE,
    MOST_ITEMS,
    Envelope,
    content_key,
    decode,
    digest_of,
    dumps,
    identity_of,
    loads,
    moment,
    read_announcement,
    renewed,
    translate,
    uids_of,
    uris_of,
    values_of,
)

HEAD = b"pytroll://1b/x file user@host 2026-01-01T00:00:00 v1.01"
JSON = HEAD + b" application/json "
ENVELOPE = Envelope("user@host")
VALUES = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
                      lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=12)


def test_the_parts_of_a_message() -> None:
    message = decode(JSON + b'{"uid": "a", "uri": "/d/a"}')
    assert (message.subject, message.type, message.sender, message.time, message.version) == (
        "/1b/x", "file", "user@host", "2026-01-01T00:00:00", "v1.01")
    assert message.data == message.fields == {"uid": "a", "uri": "/d/a"} and message.extension == {}


@pytest.mark.parametrize("rest, data", [
    (b"", ""), (b" text/ascii some  words here", "some  words here"), (b" binary/octet-stream x y", "x y"),
    (b' application/json "text"', "text"), (b" APPLICATION/JSON []", []),
    (b' application/json {"a": "20260101", "b": "2026-01-01T00:00:00"}', {"a": "20260101", "b": "2026-01-01T00:00:00"}),
])
def test_payloads_stay_as_they_came(rest: bytes, data: object) -> None:
    assert decode(HEAD + rest).data == data


@pytest.mark.parametrize("raw", [
    b"", b"hello", b"pytroll:/", b"pytroll://a file u@h 2026-01-01T00:00:00", b"pytroll://a file u@h yesterday v1.01",
    b"pytroll://a file u@h 2026-01-01T00:00:00 v1.3", b"pytroll://a file u@h 2026-01-01T00:00:00 v2",
    HEAD + b" image/png x", HEAD + b" application/json {", JSON, JSON + b'{"a": "\\ud800"}', b"\xff\xfe\x00",
    JSON + b"[" * 50_000, JSON + b"[" * (DEEPEST + 2) + b"]" * (DEEPEST + 2), JSON + b"[" + b"1," * (MOST_ITEMS + 1) + b"1]",
    JSON + b"9" * 10_000, HEAD.replace(b"@", b"@" + b"h" * 1000),
    HEAD.replace(b" file ", b"/" + b"a" * 1000 + b" file "), HEAD.replace(b" file ", b" " + b"f" * 1001 + b" "),
])
def test_what_is_no_message(raw: bytes) -> None:
    with pytest.raises(MalformedMessage):
        decode(raw)


def test_what_is_accepted_is_acceptable_with_our_extension() -> None:
    largest = {"uid": "a", "many": [0] * (MOST_ITEMS - 2)}
    assert decode(Envelope("u@h").encode("/a", "file", largest)).fields == largest
    ours = {"trollmoves": {"version": 1, "offset": 1}}
    assert decode(Envelope("u@h").encode("/a", "file", {**largest, **ours})).extension == ours["trollmoves"]
    for more in ({"more": 1}, {"trollmoves": {"many": [0] * MOST_ITEMS}}):
        with pytest.raises(MalformedMessage):
            decode(Envelope("u@h").encode("/a", "file", {**largest, **more}))


def test_no_message_is_written_with_a_subject_that_nobody_could_read() -> None:
    decode(Envelope("u@h").encode("/" + "a" * 999, "file", {}))
    with pytest.raises(MalformedMessage):
        Envelope("u@h").encode("/" + "a" * 1000, "file", {})


@given(st.one_of(st.binary(), st.binary().map(HEAD.__add__), st.binary().map(JSON.__add__),
                 st.text().map(lambda text: JSON + text.encode("utf-8", "surrogatepass"))))
def test_decoding_raises_nothing_but_malformed_message(raw: bytes) -> None:
    try:
        message = decode(raw)
    except MalformedMessage:
        return
    assert decode(message.raw).data == message.data or "nan" in repr(message.data)


@given(st.dictionaries(st.text(), VALUES))
def test_reading_an_announcement_raises_nothing_but_malformed_message(data: dict[str, object]) -> None:
    message = decode(JSON + json.dumps(data).encode("utf-8", "replace")) if _decodes(data) else decode(HEAD)
    try:
        announcement = read_announcement(message)
    except MalformedMessage:
        return
    assert announcement.address == f"{announcement.host}:{announcement.port}"


def _decodes(data: object) -> bool:
    try:
        decode(JSON + json.dumps(data).encode())
    except MalformedMessage:  # half a character, or nested too deeply
        return False
    return True


@given(st.dictionaries(st.text(st.characters(codec="utf-8")), st.text(st.characters(codec="utf-8")), min_size=1))
def test_what_is_written_is_read(data: dict[str, str]) -> None:
    message = decode(ENVELOPE.encode("/1b/x", "file", data))
    assert (message.subject, message.type, message.sender, message.data) == ("/1b/x", "file", "user@host", data)


@pytest.mark.parametrize("version, offset", [("v1.01", ""), ("v1.2", "+00:00")])
def test_both_versions_are_written_as_posttroll_reads_them(version: str, offset: str) -> None:
    raw = Envelope("user@host", version).encode("/1b/x", "file", {"uid": "a", "start_time": "2026-01-01T00:00:00"})
    ours, theirs = decode(raw), posttroll.message.Message(rawstr=raw.decode())
    assert ours.time.endswith(offset) and ours.version == version == theirs.version
    assert (theirs.subject, theirs.type, theirs.data["uid"]) == ("/1b/x", "file", "a")


def test_what_posttroll_writes_is_read() -> None:
    theirs = posttroll.message.Message("/1b/x", "file", {"uid": "a", "time": datetime(2026, 1, 1, 12), "n": 3})
    ours = decode(str(theirs).encode())
    assert ours.data["uid"] == "a" and ours.data["n"] == 3
    assert moment(ours.data["time"]).replace(tzinfo=None) == datetime(2026, 1, 1, 12)


@pytest.mark.parametrize("subject, kind", [("", "file"), ("/x", ""), ("/a b", "file"), ("/a", "fi le"), ("/a\n", "file")])
def test_subjects_that_nobody_could_read_are_not_written(subject: str, kind: str) -> None:
    with pytest.raises(MalformedMessage):
        ENVELOPE.encode(subject, kind, {"a": 1})


def test_the_sender_is_this_process() -> None:
    assert Envelope.of_this_process().sender.endswith("@" + socket.gethostname())
    assert decode(Envelope.of_this_process("v1.01").encode("/x", "beat")).version == "v1.01"


def test_numbers_no_journal_could_keep_become_floats() -> None:
    assert repr(loads(b"[1e999, NaN, %d]" % (LARGEST_WHOLE + 1))[2]) == repr(float(LARGEST_WHOLE + 1))
    assert loads(str(LARGEST_WHOLE)) == LARGEST_WHOLE


@given(VALUES)
def test_whatever_is_dumped_can_be_loaded(value: object) -> None:
    try:
        loads(dumps(value))
    except MalformedMessage:  # half a character cannot be sent
        assert "\\ud" in json.dumps(value).lower()


NESTED = {"uid": "top", "trollmoves": {"uid": "hidden", "uri": "hidden"}, "lists": [[{"uid": "deep"}]],
          "collection": [{"dataset": [{"uid": "a", "uri": "/a"}, {"uid": "b", "uri": "/b"}]}, {"uid": "c", "uri": "/c"}]}


def test_uids_and_uris_wherever_they_are() -> None:
    assert uids_of(NESTED) == ("top", "a", "b", "c")
    assert uris_of(NESTED) == ("/a", "/b", "/c")
    assert uids_of({"uid": 20260101}) == ("20260101",)
    assert uids_of({"dataset": [{"uid": 20260101}, {"uid": None}]}) == ("20260101", "None")
    assert identity_of({"dataset": [{"uid": 1}, {"uid": 2}]}) == identity_of({"dataset": [{"uid": "2"}, {"uid": "1"}]})


def numbered(subject: str = "/a", uri: str = "/in/a", **said: object) -> bytes:
    data = {"uri": uri, EXTENSION: {"epoch": "e:1", "offset": 7, **said}}
    return digest_of(decode(ENVELOPE.encode(subject, "file", data)))


def test_a_copy_of_a_publication_is_known_by_its_number() -> None:
    """Whatever else it says, such as that it was perhaps sent before; a relay has its own subject or uri."""
    assert numbered() == numbered(redelivered=True)
    others = [numbered(offset=8), numbered(epoch="e:2"), numbered(subject="/b"), numbered(uri="/elsewhere/a")]
    assert len({numbered(), *others}) == 5


def test_a_publication_without_a_number_is_known_by_its_letters() -> None:
    raw = ENVELOPE.encode("/a", "file", {"uri": "/in/a"})
    assert digest_of(decode(raw)) == digest_of(decode(raw)) != digest_of(decode(raw.replace(b"/in/a", b"/in/b")))
    strange = ENVELOPE.encode("/a", "file", {"uri": "/in/a", "n": 1, EXTENSION: {"epoch": "e:1", "offset": "7"}})
    assert digest_of(decode(strange)) != digest_of(decode(strange.replace(b'"n":1', b'"n":2'))), "no number"
    assert uids_of([]) == uids_of("text") == uids_of(None) == ()
    assert list(values_of({"uid": [{"uid": 1}], "x": {"uid": 2}}, "uid")) == [[{"uid": 1}], 2]  # a value is not searched itself


def test_translating_leaves_the_original_alone() -> None:
    before = json.dumps(NESTED)
    translated = translate(NESTED, "uri", lambda item: "new/" + item["uid"])
    assert uris_of(translated) == ("new/a", "new/b", "new/c") and translated["trollmoves"] == NESTED["trollmoves"]
    assert json.dumps(NESTED) == before
    flat = {"uid": "a", "uri": "/a"}
    assert translate(flat, "uri", lambda item: "x") == {"uid": "a", "uri": "x"} and flat["uri"] == "/a"
    assert translate({"uid": "a"}, "uri", lambda item: "x") == {"uid": "a"}


def test_identities() -> None:
    assert identity_of({"uid": "file1"}) == "file1"
    assert identity_of({"dataset": [{"uid": "b"}, {"uid": "a"}]}) == identity_of({"dataset": [{"uid": "a"}, {"uid": "b"}]})
    assert identity_of({"dataset": [{"uid": "b"}, {"uid": "a"}]}).startswith("md5:")
    assert identity_of({"uid": "x" * 5000}).startswith("md5:") and len(identity_of({"uid": "x" * 5000})) < 50
    assert identity_of({"uri": "/d/a"}) == "/d/a" and identity_of({"uri": "/d/a"}) != identity_of({"uri": "/d/b"})


@pytest.mark.parametrize("address", [None, "", "host", 9094, "host:port", ["h:1"], {"a": 1}, "h:0", "a b:1", "h" * 256 + ":1"])
def test_an_announcement_needs_an_address(address: object) -> None:
    with pytest.raises(MalformedMessage):
        read_announcement(decode(JSON + json.dumps({"uid": "a", "request_address": address}).encode()))


def test_an_announcement_needs_something_to_ask_for() -> None:
    with pytest.raises(MalformedMessage):
        read_announcement(decode(JSON + b'{"request_address": "h:1"}'))


OURS = {"version": 1, "epoch": "e:1", "offset": 7, "previous": 6, "key": "k:1", "size": 3, "address": "h:1"}


def announced(**changes: object) -> tuple[object, ...]:
    data = {"uid": "a", "uri": "/a", "request_address": "h:1", "trollmoves": {**OURS, **changes}}
    found = read_announcement(decode(JSON + json.dumps(data).encode()))
    return found.epoch, found.offset, found.previous, found.key, found.size


def test_the_extension_of_an_announcement() -> None:
    assert announced() == ("e:1", 7, 6, "k:1", 3)


@pytest.mark.parametrize("changes", [
    {"address": "other:1"}, {"address": None}, {"epoch": 3}, {"offset": "7"}, {"offset": 0}, {"offset": -1}, {"offset": True},
    {"offset": 2**70}, {"offset": [1]}, {"epoch": "e:" + "1" * 5000},
])
def test_an_extension_that_cannot_be_the_announcers_own_is_left_out(changes: dict[str, object]) -> None:
    assert announced(**changes) == ("", 0, 0, "", None)


@pytest.mark.parametrize("changes, read", [
    ({"previous": "6"}, ("e:1", 7, 0, "k:1", 3)), ({"key": 5}, ("e:1", 7, 6, "", 3)),
    ({"key": "k:" + "1" * 5000}, ("e:1", 7, 6, "", 3)), ({"size": -1}, ("e:1", 7, 6, "k:1", None)),
    ({"size": 2**70}, ("e:1", 7, 6, "k:1", None)),
])
def test_parts_of_the_extension_that_make_no_sense(changes: dict[str, object], read: tuple[object, ...]) -> None:
    assert announced(**changes) == read


def test_keys_tell_contents_apart() -> None:
    same = content_key("/x", ("a", "b"), (1, 2), (3, 4))
    assert same == content_key("/x", ("b", "a"), (1, 2), (3, 4)) and same.startswith("k:")
    others = [content_key("/y", ("a", "b"), (1, 2), (3, 4)), content_key("/x", ("a", "c"), (1, 2), (3, 4)),
              content_key("/x", ("a", "b"), (1, 3), (3, 4)), content_key("/x", ("a", "b"), (1, 2), (3, 5))]
    assert len({same, *others}) == 5


def test_an_announcement_with_a_new_address_is_the_same_in_all_else() -> None:
    said = {"epoch": "e:1", "offset": 3, "address": "a:1", "key": "k:1"}
    raw = Envelope("somebody@here").encode("/a", "file", {"uid": "x", "request_address": "a:1", "at": "2026", EXTENSION: said})
    before = decode(raw)
    after = decode(renewed(raw, {"a:1": "b:2", "b:2": "c:3"}))
    assert read_announcement(after) == read_announcement(before)._replace(message=after, address="b:2", host="b", port=2)
    assert after._replace(raw=b"", data=before.data) == before._replace(raw=b"")
    assert after.data == {**before.data, "request_address": "b:2", EXTENSION: {**said, "address": "b:2"}}
    assert list(after.data) == list(before.data)
    for moved in ({}, {"b:2": "c:3"}):
        assert renewed(raw, moved) is raw
