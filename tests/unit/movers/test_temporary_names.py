"""Temporary names: found by what is told apart from them, and never what a file system refuses that takes the final name."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from trollmoves.movers.base import SessionSettings
from trollmoves.movers.ends import opened
from trollmoves.movers.file import FileMover
from trollmoves.movers.file_session import FileSession
from trollmoves.movers.moving import How, move, temporary_name
from trollmoves.patterns import is_temporary_name
from trollmoves.uris import Destination

TRANSFER = "0123456789abcdef"
ENCRYPTED = 143
"""Bytes of a name in a directory of eCryptfs."""


@pytest.mark.parametrize("prefix", [None, ".", "tmp_"])
@pytest.mark.parametrize("letter", ["x", "\u65e5", "\udcff"])
def test_they_are_no_longer_than_a_name_in_an_encrypted_directory(letter: str, prefix: str | None) -> None:
    for length in range(1, 256):
        found = temporary_name(f"/in/{letter * length}", TRANSFER, prefix).removeprefix("/in/")
        assert len(os.fsencode(found)) <= ENCRYPTED and is_temporary_name(found)


@pytest.mark.parametrize("length", [100, 120, 121, ENCRYPTED])
def test_a_file_arrives_where_long_names_are_refused(length: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.open

    def encrypted(path: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if len(os.fsencode(os.path.basename(path))) > ENCRYPTED:
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
        return real(path, flags, mode, dir_fd=dir_fd)
    monkeypatch.setattr(os, "open", encrypted)
    name = "n" * length
    path = tmp_path / "origin"
    path.write_bytes(b"content")
    with opened(str(path)) as origin:
        place = Destination("", "", None, f"{tmp_path}/out/{name}")
        move(origin, place, FileSession(SessionSettings()), FileMover.abilities, How(TRANSFER))
    assert (tmp_path / "out" / name).read_bytes() == b"content"
