"""Nothing a message contains stops a dispatcher, or leads a file astray."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.integration.dispatching import SUBJECT, Dispatching, arrives
from tests.integration.hostile import text
from tests.support.eventually import eventually
from trollmoves.messages import MOST_ITEMS

TARGET = f"""
here:
  host: ""
  directory: {{root}}/here/{{{{platform}}}}
  filepattern: '{{{{uid}}}}_{{{{start_time:%Y%m%d}}}}'
  aliases: {{{{platform: {{{{npp: suomi}}}}}}}}
  publish_topic: /dispatched/{{{{platform}}}}
  failure_topic: /failed
  dispatch_configs:
    - topics: [{SUBJECT}]
      conditions:
        - {{{{level: '<30', when: '>=2024-01-01', sensor: [viirs, [viirs]], except: {{{{bad: yes}}}}}}}}
"""
GOOD: dict[str, Any] = {"platform": "npp", "start_time": "2024-01-01T00:00:00", "level": 1, "when": "2024-02-01",
                        "sensor": "viirs", "bad": False}
STRANGE: list[Any] = [
    None, [], {}, [[[]]], "", "x" * 50_000, "../../../../etc/x", "a/../../b", "\u0000", "a\nb", "/etc/passwd", -1, 1e308, 2**63,
    True, "nan", "{0.__class__.__mro__}", "%s%n%d", "0001-01-01T00:00:00+14:00", {"uid": "y"}, "é" * 300]
NO_FILES = ["file:///etc", "file://nowhere.invalid/etc/passwd", "http://127.0.0.1/etc/passwd", "s3://bucket/etc", "relative",
            "ssh://", "file://[::::]/x", "tar://a::ssh://h/b", "://", "file:", "/dev/zero", "/"]


def test_strange_messages(tmp_path: Path) -> None:
    with Dispatching(tmp_path, TARGET.format(root=tmp_path)) as dispatching:
        dispatching.start()
        origin = dispatching.file("good")
        os.mkfifo(tmp_path / "fifo")
        good = {**GOOD, "uid": "x", "uri": str(origin)}
        changed: list[dict[str, Any]] = [{key: value} for key in good for value in STRANGE]
        uris = [f"{tmp_path}/fifo", f"{tmp_path}/missing", *NO_FILES]
        for change in changed + [{"uri": uri} for uri in uris]:
            dispatching.source.publish({**good, **change})
        for raw in (b"", b"pytroll:/" + SUBJECT.encode(), b"pytroll:/" + SUBJECT.encode() + os.urandom(3000),
                    text("file", "[" * 100_000, subject=SUBJECT), text("file", [1], subject=SUBJECT),
                    text("file", json.dumps(good)[:-1] + ', "level": NaN, "n": ' + "9" * 400 + "}", subject=SUBJECT),
                    text("file", json.dumps(good)[:-1] + ', "platform": "\\ud800"}', subject=SUBJECT),
                    text("file", json.dumps({**good, "uri": "Ã" * 10}).replace("\\u00c3", "\xe9"), subject=SUBJECT)):
            dispatching.source.send(raw)
        inner: Any = good
        for _ in range(15):
            inner = {"dataset": [inner], "collection": [inner]}
        for kind in ("dataset", "collection"):
            for value in (None, 7, "x", {}, [], [None, 7, [], {}], [inner], [{"dataset": 7}], [{"uri": 7}]):
                dispatching.source.publish({**GOOD, kind: value}, kind=kind)
        last = dispatching.file("last")
        dispatching.source.publish({**GOOD, "uid": "last", "uri": str(last)})
        arrives(tmp_path / "here" / "suomi" / "last_20240101", last, 60)
        dispatching.program.restart()  # what was journaled must not end the next process either
        dispatching.source.wait_for_subscriber()
        dispatching.source.publish({**GOOD, "uid": "again", "uri": str(last)})
        arrives(tmp_path / "here" / "suomi" / "again_20240101", last, 60)
        eventually(lambda: set(dispatching.states().values()) <= {"published", "given_up"}, 60)
        wanted = {*(f"dispatcher.journal{ending}" for ending in ("", "-shm", "-wal", ".lock", ".audit.jsonl")), "dispatcher.log",
                  "dispatcher.yaml", "fifo", "here", "incoming"}
        eventually(lambda: wanted <= {path.name for path in tmp_path.iterdir()}, message="what is given up is audited")
        assert {path.name for path in tmp_path.iterdir()} == wanted
        assert "Traceback" not in dispatching.program.output()
        assert dispatching.program.stop() == 0


def test_messages_of_no_files_do_not_fill_the_log(tmp_path: Path) -> None:
    with Dispatching(tmp_path, TARGET.format(root=tmp_path)) as dispatching:
        dispatching.start()
        for number in range(1000):
            dispatching.source.publish({**GOOD, "uid": str(number), "uri": "/a\u0000b"})
        last = dispatching.file("last")
        dispatching.source.publish({**GOOD, "uid": "last", "uri": str(last)})
        arrives(tmp_path / "here" / "suomi" / "last_20240101", last, 60)
        assert 0 < dispatching.program.output().count("is not used") < 300


def test_only_allowed_origins_are_read(tmp_path: Path) -> None:
    target = f"""
    here:
      host: ""
      directory: {tmp_path}/here
      allowed_origins: [{tmp_path}/incoming]
      failure_topic: /failed
      publish_topic: /done
      dispatch_configs:
        - topics: [{SUBJECT}]
    """
    with Dispatching(tmp_path, target) as dispatching:
        dispatching.start()
        (tmp_path / "secret").write_text("secret")
        (dispatching.incoming / "link").symlink_to(tmp_path / "secret")
        (tmp_path / "incoming-too").mkdir()
        (tmp_path / "incoming-too" / "file").write_text("secret")
        for uri in (tmp_path / "secret", dispatching.incoming / "link", dispatching.incoming / ".." / "secret",
                    tmp_path / "incoming-too" / "file"):
            dispatching.source.publish({"uid": "x", "uri": str(uri)})
        dispatching.source.publish({"uid": "gone", "uri": str(dispatching.incoming / "gone")})
        arrives(tmp_path / "here" / "good", dispatching.announce("good"))
        failed = eventually(lambda: len(found := dispatching.published("err")) == 5 and found)
        assert sum("is in none of the" in data["error"] for _, data in failed) == 4
        assert all(data["final"] is True for _, data in failed)
        assert [path.name for path in (tmp_path / "here").iterdir()] == ["good"]
        eventually(lambda: dispatching.states() == {"here x": "given_up", "here gone": "given_up", "here good": "published"})


@pytest.mark.parametrize("uri", ["file://{path}", "file://localhost{path}", "ssh://{host}{path}", "{path}"])
def test_files_of_this_machine_by_any_name(uri: str, tmp_path: Path) -> None:
    target = f"""
    here:
      host: "file://"
      directory: {tmp_path}/here
      dispatch_configs: [{{topics: [{SUBJECT}]}}]
    """
    with Dispatching(tmp_path, target, publishing=False) as dispatching:
        dispatching.start()
        path = dispatching.file("a b%20")
        dispatching.source.publish({"uid": "x", "uri": uri.format(path=path, host=socket.gethostname())})
        arrives(tmp_path / "here" / "a b%20", path)


@pytest.mark.parametrize("more", [{"area": "a" * 1500}, {"many": [0] * (MOST_ITEMS - 5)}], ids=["subject", "values"])
def test_what_makes_a_publication_too_long_to_be_read_ends_no_dispatcher(more: dict[str, Any], tmp_path: Path) -> None:
    """The most values that a message may have, and a subject made of a field that is longer than one may be."""
    target = f"""
    here:
      host: ""
      directory: {tmp_path}/here
      publish_topic: /done/{{area}}
      dispatch_configs: [{{topics: [{SUBJECT}]}}]
    """
    with Dispatching(tmp_path, target) as dispatching:
        dispatching.start()
        arrives(tmp_path / "here" / "large", dispatching.announce("large", **{"area": "x", **more}))
        arrives(tmp_path / "here" / "next", dispatching.announce("next", area="x"))
        eventually(lambda: dispatching.states() == {"here large": "published", "here next": "published"})
        assert dispatching.program.stop() == 0
