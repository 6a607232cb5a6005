"""Names that scripts import from upstream's package, besides the movers: they work, and are only doors."""

from __future__ import annotations

import argparse
import copy
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlparse

import pytest
from posttroll.message import Message

from trollmoves import utils
from trollmoves.dispatcher import check_conditions
from trollmoves.errors import Denied, MalformedMessage
from trollmoves.fetcher import fetch_from_message
from trollmoves.logging import add_logging_options_to_parser, setup_logging

NESTED = {"uid": "a", "collection": [{"dataset": [{"uid": "b", "uri": "/b"}, {"uid": "c"}]}, 7], "more": {"uid": "d"}}


@pytest.mark.parametrize(("url", "clean"), [
    ("sftp://user:pw@Host.Example:22/data/a?x=1#f", "sftp://host.example/data/a"), ("/data/a", "/data/a"), ("file:///a", "file:///a")])
def test_clean_url(url: str, clean: str) -> None:
    assert utils.clean_url(url) == utils.clean_url(urlparse(url)) == clean


def test_looking_into_messages() -> None:
    assert list(utils.gen_dict_extract(NESTED, "uid")) == ["a", "b", "c", "d"]
    assert [holder["uid"] for holder in utils.gen_dict_contains(NESTED, "uri")] == ["b"]


def test_translating_leaves_the_original_alone() -> None:
    before = copy.deepcopy(NESTED)
    upper = utils.translate_dict_value(NESTED, "uid", lambda key, value: key + value.upper())
    assert list(utils.gen_dict_extract(upper, "uid")) == ["uidA", "uidB", "uidC", "uidD"]
    item = utils.translate_dict_item(NESTED, "uri", lambda holder, key: {**holder, key: "/elsewhere", "extra": 1})
    assert list(utils.gen_dict_extract(item, "uri")) == ["/elsewhere"]
    both = utils.translate_dict(NESTED, ["uri", "nothing"], lambda holder, more: {"more": more}, more=3)
    assert both["collection"][0]["dataset"][0] == {"more": 3}
    assert before == NESTED


def test_this_machine() -> None:
    assert "127.0.0.1" in utils.get_local_ips()
    assert utils.is_file_local(urlparse("/a")) and utils.is_file_local(urlparse("ssh://127.0.0.1/a"))
    assert not utils.is_file_local(urlparse("ssh://192.0.2.1/a"))


def test_a_missing_logging_configuration_is_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        setup_logging("mine", argparse.Namespace(log_config=tmp_path / "none.yaml"))


def test_logging(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", list(root.handlers))
    monkeypatch.setattr(root, "level", root.level)
    (tmp_path / "log.yaml").write_text("version: 1\nhandlers: {a: {class: logging.FileHandler, filename: %s}}\n"
                                       "root: {level: INFO, handlers: [a]}\n" % (tmp_path / "a.log"))
    parser = argparse.ArgumentParser()
    add_logging_options_to_parser(parser, legacy=True)
    setup_logging("mine", parser.parse_args(["-c", str(tmp_path / "log.yaml")])).info("to sftp://user:planted@host/")
    text = (tmp_path / "a.log").read_text()
    assert "to sftp://***@host/" in text and "planted" not in text
    with pytest.warns(RuntimeWarning, match="pending deprecation"):
        parser.parse_args(["-v"])


def test_conditions() -> None:
    message = Message("/a", "file", {"sensor": "viirs", "coverage": 70})
    assert check_conditions(message, {"conditions": [{"sensor": ["viirs", "avhrr"], "coverage": ">50"}]})
    assert not check_conditions(message, {"conditions": [{"coverage": "<50"}]})
    assert check_conditions(message, {})


def test_fetching(tmp_path: Path) -> None:
    (tmp_path / "a.nc").write_text("content")
    message = Message("/a", "file", {"uri": str(tmp_path / "a.nc"), "uid": "a.nc", "platform": "M9"})
    got = fetch_from_message(message, tmp_path / "{platform}")
    assert got == tmp_path / "M9" / "a.nc" and got.read_text() == "content"
    with pytest.raises(Denied, match="allowed_protocols"):
        fetch_from_message(message, tmp_path, allowed_protocols=("sftp",))
    with pytest.raises(MalformedMessage):
        fetch_from_message(Message("/a", "file", {"uid": "a"}), tmp_path)


def test_two_threads_fetch_the_same_file_to_the_same_place(tmp_path: Path) -> None:
    """Slow enough to be at it at the same time: what one has half written is not what the other puts in place."""
    content, source = bytes(range(256)) * 2**13, tmp_path / "a.dat"
    source.write_bytes(content)
    message, begin = Message("/a", "file", {"uri": str(source), "uid": source.name}), threading.Barrier(2)

    def fetch() -> Path:
        begin.wait(20)
        return fetch_from_message(message, tmp_path / "out", bandwidth="4M")
    with ThreadPoolExecutor(2) as threads:
        places = {future.result(30) for future in [threads.submit(fetch) for _ in range(2)]}
    assert places == {tmp_path / "out" / "a.dat"}
    assert [path.read_bytes() == content for path in (tmp_path / "out").iterdir()] == [True]
