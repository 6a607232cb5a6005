"""s3downloader as a process, with its configuration as upstream has it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.dispatching import Source
from tests.integration.moving import arrives
from tests.support.eventually import eventually
from tests.support.ports import free_port
from tests.support.programs import CHECKOUT, Program
from tests.support.s3_server import MotoServer
from trollmoves.faults.observing import payload_of

CONTENT = b"object" * 10_000


@pytest.fixture
def server(tmp_path: Path) -> Iterator[MotoServer]:
    with MotoServer(tmp_path / "moto") as running:
        running.make_bucket("data")
        running.client().put_object(Bucket="data", Key="a.nc", Body=CONTENT)
        running.client().put_object(Bucket="data", Key="deep/b.nc", Body=CONTENT)
        yield running


class Downloading:
    """An s3downloader with one publisher it listens to. Use it as a context."""

    def __init__(self, root: Path, server: MotoServer, more: str = ""):
        self.source = Source()
        self.into = root / "into"
        self.log, self.journal = root / "own.log", root / "s3downloader.journal"
        config = root / "s3downloader.yaml"
        config.write_text(f"""
logging: {{log_rotation_days: 1, log_rotation_backup: 30, logging_mode: DEBUG}}
subscribe-topic: /s3
publish-topic: /downloaded
subscriber_addresses: "tcp://127.0.0.1:{self.source.port}, tcp://127.0.0.1:{free_port()}"
download_destination: {self.into}
s3_kwargs:
  key: {server.access_key}
  secret: {server.secret_key}
  client_kwargs: {{endpoint_url: "{server.url}", region_name: {server.region}}}
{more}""")
        self.program = Program.ours("s3downloader", "-c", config, "-r", "false", "-l", self.log, "--journal", self.journal,
                                    "-n", "127.0.0.1", log=root / "s3downloader.log")

    def start(self) -> Downloading:
        self.program.start()
        self.source.wait_for_subscriber("/s3")
        return self

    def announce(self, data: dict[str, Any], kind: str = "file") -> None:
        self.source.publish(data, kind=kind, subject="/s3")

    def published(self) -> list[tuple[str, dict[str, object]]]:
        from trollmoves.journal import Reader
        with Reader(self.journal) as reader:
            rows = reader.find("announcements_since", (0, 100))
        return [(row["subject"], payload_of(row["message"])) for row in rows]

    def __enter__(self) -> Downloading:
        return self

    def __exit__(self, *_: object) -> None:
        self.program.kill()
        self.source.close()


def test_files_datasets_and_collections_from_the_bucket(tmp_path: Path, server: MotoServer) -> None:
    with Downloading(tmp_path, server, "bucket: data") as downloading:
        downloading.start()
        # upstream takes the name only, whatever the uri
        said = {"uri": "/somewhere/a.nc", "uid": "a.nc", "sensor": "viirs", "filename": "x", "compress": 1, "path": "y"}
        downloading.announce(said)
        arrives(downloading.into / "a.nc", CONTENT)
        eventually(downloading.published)
        (subject, data), = downloading.published()
        assert data.pop("trollmoves").keys() == {"version", "epoch", "offset", "previous"}  # type: ignore[attr-defined]
        assert (subject, data) == ("/downloaded", {"sensor": "viirs", "uri": str(downloading.into / "a.nc")})
        downloading.announce({"dataset": [{"uri": "s3://data/deep/b.nc", "uid": "b.nc"}], "sensor": "viirs"}, kind="dataset")
        arrives(downloading.into / "b.nc", CONTENT)
        assert downloading.program.stop() == 0
        assert "downloading" not in downloading.program.output()
        assert "fetched s3://" in downloading.log.read_text()
        assert server.secret_key not in downloading.log.read_text()


def test_without_a_bucket_the_uri_says_where(tmp_path: Path, server: MotoServer) -> None:
    with Downloading(tmp_path, server) as downloading:
        downloading.start()
        downloading.announce({"uri": "/data/a.nc", "uid": "a.nc"})
        eventually(lambda: "set bucket" in downloading.log.read_text())
        downloading.announce({"uri": "s3://data/deep/b.nc", "uid": "b.nc"})
        arrives(downloading.into / "b.nc", CONTENT)


def test_how_to_log_in_may_stand_in_the_configuration_of_fsspec(tmp_path: Path, server: MotoServer,
                                                                monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"KEY": server.access_key, "SECRET": server.secret_key, "ENDPOINT_URL": server.url}.items():
        monkeypatch.setenv(f"FSSPEC_S3_{name}", value)
    with Downloading(tmp_path, server, "bucket: data") as downloading:
        config = tmp_path / "s3downloader.yaml"
        config.write_text(config.read_text().partition("  key:")[0].replace("s3_kwargs:\n", "bucket: data\n"))
        downloading.start()
        downloading.announce({"uri": "s3://data/a.nc", "uid": "a.nc"})
        arrives(downloading.into / "a.nc", CONTENT)


def test_an_object_that_is_not_there_is_said_and_the_next_one_comes(tmp_path: Path, server: MotoServer) -> None:
    with Downloading(tmp_path, server, "bucket: data") as downloading:
        downloading.start()
        downloading.announce({"uri": "s3://data/missing.nc", "uid": "missing.nc"})
        eventually(lambda: "missing.nc" in downloading.log.read_text() and "given up" in downloading.log.read_text())
        downloading.announce({"uri": "s3://data/a.nc", "uid": "a.nc"})
        arrives(downloading.into / "a.nc", CONTENT)


def test_what_was_downloaded_can_be_asked_for_again(tmp_path: Path, server: MotoServer) -> None:
    port = free_port()
    with Downloading(tmp_path, server, f"bucket: data\nreplay_port: {port}") as downloading:
        downloading.start()
        downloading.announce({"uri": "s3://data/a.nc", "uid": "a.nc"})
        arrives(downloading.into / "a.nc", CONTENT)
        asked = [sys.executable, "-m", "trollmoves.cli.umbrella", "req", "replay", f"127.0.0.1:{port}", "--topic", "/downloaded"]

        def told() -> str:
            return subprocess.run(asked, capture_output=True, text=True, timeout=60, cwd=CHECKOUT, check=True).stdout
        eventually(lambda: told().count("/downloaded file") == 1)
