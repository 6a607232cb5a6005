"""The directory that a client makes for its files: open to the mover's account unless the section says otherwise."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from trollmoves.client.addressing import make_open_directory
from trollmoves.config.reading import read_client_config, read_mirror_config

CLIENT = "[s]\nproviders = h:9010\ndestination = /data/in/\n"
MIRROR = CLIENT + "request_port = 9094\n"


@pytest.fixture(autouse=True)
def usual_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def mode_of(path: Path) -> int:
    return path.stat().st_mode & 0o7777


@pytest.mark.parametrize(("mode", "expected"), [(0o777, 0o777), (0o750, 0o750), (0o2775, 0o2775), (None, 0o755)])
@pytest.mark.parametrize("end", ["", "/"])
def test_what_is_made_gets_the_mode(tmp_path: Path, mode: int | None, expected: int, end: str) -> None:
    make_open_directory(f"{tmp_path}/a/b{end}", mode)
    assert (mode_of(tmp_path / "a"), mode_of(tmp_path / "a" / "b")) == (0o755, expected)


def test_what_is_there_keeps_its_mode(tmp_path: Path) -> None:
    (tmp_path / "private").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to("private")
    (tmp_path / "dangling").symlink_to("nowhere")
    for name in ("private", "link", "private/", "link/"):
        make_open_directory(f"{tmp_path}/{name}", 0o777)
    with pytest.raises(FileExistsError):
        make_open_directory(f"{tmp_path}/dangling/", 0o777)
    assert mode_of(tmp_path / "private") == 0o700 and not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize(("more", "client", "pushed", "kept"), [
    ("", 0o777, 0o755, 0o777), ("directory_mode = 750", 0o750, 0o750, 0o750), ("directory_mode = keep", None, None, None)])
def test_what_sections_say(tmp_path: Path, more: str, client: int | None, pushed: int | None, kept: int | None) -> None:
    path = tmp_path / "x.ini"
    path.write_text(CLIENT + more)
    assert read_client_config(path).chains["s"].directory_mode == client
    path.write_text(MIRROR + more)
    mirror = read_mirror_config(path).chains["s"]
    assert (mirror.directory_mode, mirror.front.directory_mode) == (pushed, kept)
