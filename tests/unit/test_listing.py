"""The names in archives that stay packed."""

from __future__ import annotations

import io
import os
import stat
import tarfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from trollmoves.errors import OriginChanged, OriginGone
from trollmoves.unpacking import BadArchive
from trollmoves.unpacking.listing import MOST_NAMES, list_names


def tar(path: Path, names: Sequence[str], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name in names:
            member = tarfile.TarInfo(name)
            if name.endswith("/"):
                member.type = tarfile.DIRTYPE
            else:
                member.size = 1
            archive.addfile(member, io.BytesIO(b"x"))
    return path


def names(path: Path, kind: str = "tar") -> tuple[str, ...]:
    return list_names(str(path), kind, lambda status: stat.S_ISREG(status.st_mode))


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_names_of_a_tar_archive_are_sorted_and_without_directories(mode: str, tmp_path: Path) -> None:
    path = tar(tmp_path / "a.tar", ["two", "d/", "d//one", "./dot", "/way/abs", "two", "é ü", "d/e/" + "long" * 40], mode)
    assert names(path) == ("./dot", "/way/abs", "d/e/" + "long" * 40, "d/one", "two", "é ü")


def test_names_of_a_zip_archive_keep_their_order(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.mkdir("d")
        for name in ("two", "d/one", "./dot"):
            archive.writestr(name, name)
    assert names(tmp_path / "a.zip", "zip") == ("two", "d/one", "./dot")


def test_what_is_in_between_is_not_read(tmp_path: Path) -> None:
    path, size = tmp_path / "a.tar", 2**40
    member = tarfile.TarInfo("huge")
    member.size = size
    with path.open("wb") as file:
        file.write(member.tobuf(tarfile.GNU_FORMAT))
        file.seek(size + 512)
        file.write(tarfile.TarInfo("behind").tobuf() + bytes(1024))
    assert names(path) == ("behind", "huge")
    os.truncate(path, 2**30)
    with pytest.raises(BadArchive, match="truncated"):
        names(path)


@pytest.mark.parametrize("bad", [["../out"], ["d/../../out"], ["a\nb"], ["/../out"], ["bad\udcff"], [], ["d/"],
                                 [str(number) for number in range(MOST_NAMES + 1)]])
def test_archives_that_are_not_listed(bad: list[str], tmp_path: Path) -> None:
    with pytest.raises(BadArchive):
        names(tar(tmp_path / "a.tar", bad))


def test_links_and_nonsense(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        member = tarfile.TarInfo("link")
        member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(member)
    for kind, content in (("tar", None), ("tar", b"x" * 1000), ("zip", b"x" * 1000), ("tar", b""), ("zip", b"")):
        if content is not None:
            (tmp_path / "a.tar").write_bytes(content)
        with pytest.raises(BadArchive):
            names(tmp_path / "a.tar", kind)


def test_another_file_in_its_place(tmp_path: Path) -> None:
    path = tar(tmp_path / "a.tar", ["one"])
    with pytest.raises(OriginChanged):
        list_names(str(path), "tar", lambda status: False)
    with pytest.raises(OriginGone):
        names(tmp_path / "nothing")


def test_an_archive_that_is_written_to_meanwhile_is_not_taken_for_a_damaged_one(tmp_path: Path) -> None:
    path = tar(tmp_path / "a.tar", ["one", "two"])
    meant = path.stat().st_size

    def is_meant(status: os.stat_result) -> bool:
        os.truncate(path, 700)
        return status.st_size == meant
    with pytest.raises(OriginChanged, match="changed while"):
        list_names(str(path), "tar", is_meant)
