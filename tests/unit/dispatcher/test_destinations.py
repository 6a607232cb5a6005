"""Where a file goes, and which files a message speaks of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.cli.asking import ask
from tests.unit.dispatcher.test_reading import read
from trollmoves.dispatcher.destinations import Route
from trollmoves.errors import ConfigurationError, DestinationInvalid
from trollmoves.messages import Envelope, decode
from trollmoves.queueing.triggers import read_trigger, triggers_of

FIELDS: dict[str, Any] = {"uid": "20240101", "sensor": "viirs", "start_time": "2024-01-01T12:34:56+00:00", "orbit": 42,
                          "product": "snow", "sensors": ["a", "b"], "up": "../../etc", "ups": ["../../etc"],
                          "root": "/etc/passwd", "nul": "a\0b"}
SUMMER_1970 = 20_000_000.0
"""The year of this time of a file is the same in every time zone."""


def route(tmp_path: Path, target: str) -> Route:
    found = read(tmp_path, "target:\n" + "".join(f"  {line}\n" for line in target.splitlines())
                 + "  dispatch_configs: [{topics: [/a]}]\n")
    assert found.problems == ()
    return Route(found.chains["target"].dispatch_configs[0])


@pytest.mark.parametrize("target, destination", [
    ("host: ftp://u:secret@h:2121\ndirectory: /in/{sensor}", "ftp://u@h:2121/in/viirs/name.nc"),
    ("host: ftp://u:secret@h/ignored/path\ndirectory: in", "ftp://u@h/in/name.nc"),
    ("host: ''\ndirectory: /in/", "/in/name.nc"),
    ("host: ''\ndirectory: /in\nfilepattern: '{orbit:05d}_{start_time:%Y%m%dT%H%M}.nc'", "/in/00042_20240101T1234.nc"),
    ("host: ''\ndirectory: /in\nfilepattern: '{uid}'", "/in/20240101"),
    ("host: ''\ndirectory: /in\nfilepattern: '{file_creation_time:%Y}'", "/in/1970"),
    ("host: ''\ndirectory: /in\nfilepattern: '{sensors}'", "/in/['a', 'b']"),
    ("host: ''\ndirectory: /in/{sensors[1]}\nfilepattern: '{sensors[0]}.nc'", "/in/b/a.nc"),
    ("host: ''\ndirectory: /in/{root}", "/in/etc/passwd/name.nc"),
    ("host: ''\ndirectory: /in\nfilepattern: ''", "/in/"),
    ("host: file://\ndirectory: /in", "file:///in/name.nc"),
    ("host: s3://Bucket\ndirectory: in", "s3://Bucket/in/name.nc"),
    ("host: ''\ndirectory: /{product}\naliases: {product: {snow: white}}", "/white/name.nc"),
    ("host: ''\ndirectory: /{product}\naliases: {product: {rain: wet}, sensors: {a: b}, lost: {a: b}}", "/snow/name.nc"),
    ("host: ''\ndirectory: /{kind}/{product}\naliases: {product: [{_alias_name: kind, snow: ice}, {snow: s}]}", "/ice/s/name.nc"),
    ("host: ''\ndirectory: /{kind}/{product}\naliases: {product: [{snow: s}, {_alias_name: kind, rain: r}]}", "/snow/s/name.nc"),
    ("host: ''\ndirectory: /{orbit}\naliases: {orbit: {42: x, '42': y}}", "/x/name.nc"),
])
def test_destinations(target: str, destination: str, tmp_path: Path) -> None:
    found = route(tmp_path, target)
    for _ in range(2):  # the first use changes nothing
        assert str(found.destination(FIELDS, "name.nc", SUMMER_1970)) == destination
    assert "secret" not in found.label + found.place + repr(found.host)


@pytest.mark.parametrize("directory, error", [
    ("/in/{ups[0]}", DestinationInvalid), ("/in/{ups[1]}", ConfigurationError),
    ("/in/{up}", DestinationInvalid), ("/in/{nul}", DestinationInvalid), ("/in/{missing}", ConfigurationError),
    ("/in/{orbit:%Y}", ConfigurationError), ("/{file_creation_time}", ConfigurationError),
])
def test_messages_that_lead_nowhere(directory: str, error: type[Exception], tmp_path: Path) -> None:
    with pytest.raises(error):
        route(tmp_path, f"host: ''\ndirectory: '{directory}'\nfilepattern: x").destination(FIELDS, "name.nc", None)


def test_names_with_braces_are_no_templates(tmp_path: Path) -> None:
    found = route(tmp_path, "host: ''\ndirectory: /in")
    assert found.destination(FIELDS, "{uid}{", None).path == "/in/{uid}{"
    with pytest.raises(DestinationInvalid):
        found.destination(FIELDS, "..", None)


def test_a_trigger_comes_back_from_the_journal() -> None:
    raw = Envelope("a@b").encode("/s", "dataset", {"x": "20240101", "trollmoves": {"epoch": "e"}, "dataset": [
        {"uid": "20240102", "uri": "/d/20240102"}, {"uid": "b", "uri": "file://h/d/b", "y": 1}]})
    first, second = triggers_of(decode(raw))
    assert (first.identity, first.path, dict(first.fields)) == (
        "20240102", "/d/20240102", {"x": "20240101", "uid": "20240102", "uri": "/d/20240102"})
    assert (second.path, second.fields["y"], second.sender) == ("/d/b", 1, "a@b") and first.key != second.key
    for version in ("v1.01", "v1.2"):
        assert read_trigger(second.encoded(version), second.key) == second


MESSAGE = ('pytroll://a/b file me@here 2024-01-01T00:00:00 v1.01 application/json '
           '{"uid": "x.nc", "uri": "/data/x.nc", "sensor": "viirs"}')
CONFIG = """
one:
  host: sftp://me:geheim@h
  directory: /in/{sensor}
  dispatch_configs:
    - topics: [/a]
      conditions: [{sensor: modis}, {sensor: viirs, except: {uid: y.nc}}]
    - topics: [/c]
    - topics: [/a]
      directory: /in/{lost}
"""
EXPLAINED = """\
/data/x.nc under /a/b
  [one]
    item 1: yes, topic /a
      set 1: sensor is 'viirs', wanted is 'modis'
      set 2: sensor is 'viirs', wanted is 'viirs'; not excepted: uid is 'x.nc', wanted is 'y.nc'
      -> sftp://me@h/in/viirs/x.nc
    item 2: no, the topic is none of /c
    item 3: yes, topic /a
      there are no conditions
      -> nowhere: '/in/{lost}' needs 'lost', which is not among the fields
"""


def test_explaining(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(CONFIG)
    (tmp_path / "message.txt").write_text(MESSAGE + "\n")
    for sample in (MESSAGE, "message.txt"):
        answer = ask("dispatcher.py", "--explain", sample, "x.yaml", state=tmp_path)
        assert (answer.status, answer.out, answer.err) == (0, EXPLAINED, "")
    assert ask("trollmoves", "dispatcher", "--explain", MESSAGE, "x.yaml", state=tmp_path).out == EXPLAINED
    (tmp_path / "x.nc").write_bytes(b"\xff\x00")
    answer = ask("dispatcher.py", "--explain", "x.nc", "x.yaml", state=tmp_path)
    assert answer.status == 0 and answer.out.startswith(f"{tmp_path}/x.nc (no message: topics are not looked at)\n")
    assert "set 1: sensor is missing in the message" in answer.out


@pytest.mark.parametrize("sample, complaint", [
    ("nowhere.nc", "nowhere.nc: is neither a file nor a message"), ("pytroll://a", "the message cannot be read: "),
    (MESSAGE.replace(" file ", " ack "), "the message names no file"),
])
def test_what_cannot_be_explained(sample: str, complaint: str, tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(CONFIG)
    answer = ask("dispatcher.py", "--explain", sample, "x.yaml", state=tmp_path)
    assert answer.status == 1 and answer.last_line.startswith(f"dispatcher.py: {complaint}")
