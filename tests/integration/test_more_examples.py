"""The examples of move_it, fetcher and s3downloader, run as they are but for ports and the directory."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from tests.integration.dispatching import Source
from tests.integration.moving import arrives, gone
from tests.support.ports import free_port
from tests.support.programs import CHECKOUT, Program
from tests.support.s3_server import MotoServer


def example(name: str, root: Path, ports: Mapping[int, int]) -> Path:
    """A copy of an example in *root*, which takes the place of its directory."""
    text = (CHECKOUT / "examples" / name).read_text().replace("/tmp/trollmoves-example", str(root))
    for old, new in ports.items():
        text = text.replace(str(old), str(new))
    (root / name).write_text(text)
    return root / name


def test_move_it(tmp_path: Path) -> None:
    config = example("move_it.ini", tmp_path, {})
    (tmp_path / "moving").mkdir()
    program = Program.ours("move_it", "-p", str(free_port()), "--journal", tmp_path / "j", config, log=tmp_path / "log")
    with program:
        program.wait_for("watches")
        (tmp_path / "new").write_text("hello")
        origin = tmp_path / "moving" / "demo_20260101120000_00001.dat"
        os.replace(tmp_path / "new", origin)
        arrives(tmp_path / "first" / "demo" / origin.name, b"hello")
        arrives(tmp_path / "second" / origin.name, b"hello")
        gone(origin)
        assert program.stop() == 0


def test_fetcher(tmp_path: Path) -> None:
    source = Source()
    config = example("fetcher.yaml", tmp_path, {9011: source.port, 9018: free_port()})
    program = Program.ours("fetcher", "--journal", tmp_path / "j", config, log=tmp_path / "log")
    try:
        with program:
            source.wait_for_subscriber("/example")
            (tmp_path / "a.dat").write_text("hello")
            source.publish({"platform": "demo", "uid": "a.dat", "uri": str(tmp_path / "a.dat")}, subject="/example/files")
            arrives(tmp_path / "fetched" / "demo" / "a.dat", b"hello")
            assert program.stop() == 0
    finally:
        source.close()


def test_s3downloader(tmp_path: Path) -> None:
    source = Source()
    try:
        with MotoServer(tmp_path / "moto") as server:
            server.make_bucket("data")
            server.client().put_object(Bucket="data", Key="a.dat", Body=b"hello", ACL="public-read")
            config = example("s3downloader.yaml", tmp_path, {9016: source.port, 9000: server.port})
            program = Program.ours("s3downloader", "-c", config, "-r", "false", "--journal", tmp_path / "j", log=tmp_path / "log")
            with program:
                source.wait_for_subscriber("/s3")
                source.publish({"uid": "a.dat", "uri": "s3://data/a.dat"}, subject="/s3")
                arrives(tmp_path / "downloaded" / "a.dat", b"hello")
                assert program.stop() == 0
    finally:
        source.close()


def test_all_examples_may_run_beside_each_other() -> None:
    used: list[tuple[str, str]] = []
    for path in sorted((CHECKOUT / "examples").glob("*.*")):
        if path.suffix in (".ini", ".yaml"):
            text = path.read_text()
            found = re.findall(r"^(?:request_port|publish_port| +port)\s*[=:]\s*(\d+)", text, re.M)
            used += [(port, path.name) for port in found]
    for port, name in re.findall(r"`bin/\S+ -p (\d+) [^`]*examples/(\S+)`", (CHECKOUT / "examples/README.md").read_text()):
        used.append((port, name))
    assert len(used) >= 11 and len({port for port, _ in used}) == len(used), sorted(used)
