"""A file in an archive: fetched whole, by its name, and for little memory whatever the archive is."""

from __future__ import annotations

import gzip
import io
import shutil
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from trollmoves.errors import Denied, OriginGone
from trollmoves.fetcher.fetching import fetch
from trollmoves.fetcher.opening import Opener
from trollmoves.fetcher.places import Rights, place_of
from trollmoves.fetcher.receiving import Receiving
from trollmoves.movers.base import SessionSettings
from trollmoves.unpacking import BadArchive

CONTENT = b"content of one file" * 50_000


def tar_of(*members: tuple[str, bytes], kind: bytes = tarfile.REGTYPE) -> bytes:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size, info.type, info.linkname = len(data), kind, "d/other"
            archive.addfile(info, io.BytesIO(data))
    return held.getvalue()


def zip_of(*members: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", method) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return held.getvalue()


def with_link() -> bytes:
    """An archive in which there is also a link."""
    return tar_of(("d/link", b""), kind=tarfile.SYMTYPE)[:512] + tar_of(("d/a.nc", CONTENT))


def fetched(tmp_path: Path, uri: str, archive: bytes, largest: int | None = None) -> bytes:
    path = tmp_path / "archive"
    path.write_bytes(archive)
    settings = SessionSettings(connect_timeout=10, stall_timeout=10, checksum="auto", parameters={})
    opener = Opener({}, (), settings, Rights(("file", "tar", "zip"), ()))
    into = tmp_path / "into"
    try:
        receiving = Receiving(settings, sync=False, largest=largest)
        fetch(opener, receiving, place_of({"uri": f"{uri}::file://{path}"}), str(into), "0" * 16)
        return into.read_bytes()
    finally:
        shutil.rmtree(into, ignore_errors=True)


OTHERS = ("d/other", b"other"), ("a.nc", b"elsewhere")
ARCHIVES: dict[str, tuple[str, Callable[[], bytes]]] = {
    "tar": ("tar", lambda: tar_of(*OTHERS, ("d/a.nc", CONTENT), ("e", b"e"))),
    "tar with other spellings": ("tar", lambda: tar_of(*OTHERS, ("./d//a.nc", CONTENT))),
    "tar of a later version": ("tar", lambda: tar_of(("d/a.nc", b"before"), *OTHERS, ("d/a.nc", CONTENT))),
    "tar with a link": ("tar", with_link),
    "tar.gz": ("tar", lambda: gzip.compress(tar_of(*OTHERS, ("d/a.nc", CONTENT)))),
    **{f"zip {method}": ("zip", lambda method=method: zip_of(*OTHERS, ("d/a.nc", CONTENT), method=method))
       for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2)},
}


@pytest.mark.parametrize("case", ARCHIVES)
def test_a_file_in_an_archive(case: str, tmp_path: Path) -> None:
    kind, make = ARCHIVES[case]
    assert fetched(tmp_path, f"{kind}://d/a.nc", make()) == CONTENT
    with pytest.raises(OriginGone, match="is not there"):
        fetched(tmp_path, f"{kind}://d/b.nc", make())


def test_a_file_in_an_archive_within_another_one(tmp_path: Path) -> None:
    inner = tar_of(*OTHERS, ("d/a.nc", CONTENT))
    assert fetched(tmp_path, "tar://d/a.nc::zip://inner.tar", zip_of(("x", b"x"), ("inner.tar", inner))) == CONTENT


HOSTILE: dict[str, tuple[str, Callable[[], bytes], str]] = {
    "link": ("tar", lambda: tar_of(("d/a.nc", b""), kind=tarfile.SYMTYPE), "symbolic link"),
    "no archive": ("tar", lambda: b"\xff" * 2000, "damaged"),
    "no zip archive": ("zip", lambda: b"x" * 2000, "no end record"),
    "truncated": ("tar", lambda: tar_of(("d/a.nc", CONTENT))[:10_000], "truncated"),
    "another checksum": ("zip", lambda: zip_of(("d/a.nc", CONTENT), method=0).replace(b"one file", b"two file", 1), "damaged"),
    "backwards": ("tar", lambda: _with_size(b"\xff" * 8 + (-1024).to_bytes(4, "big", signed=True)), "negative"),
    "endless name": ("tar", lambda: _long_name(64 * 2**20), "headers"),
    "endless names": ("zip", lambda: zip_of(*((f"{number}{'n' * 60_000}", b"") for number in range(400))), "too long"),
}


def _with_size(size: bytes) -> bytes:
    """An archive whose only header gives the size in the binary way."""
    block = bytearray(tar_of(("d/a.nc", b""))[:512])
    block[124:136], block[148:156] = size, b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block) + bytes(1024)


def _long_name(size: int) -> bytes:
    return tar_of(("d/a.nc", bytes(size)), kind=tarfile.GNUTYPE_LONGNAME)


@pytest.mark.parametrize("case", HOSTILE)
def test_archives_that_are_refused(case: str, tmp_path: Path) -> None:
    kind, make, why = HOSTILE[case]
    archive = make()
    with pytest.raises(BadArchive, match=why):
        _in_little_memory(lambda: fetched(tmp_path, f"{kind}://d/a.nc", archive))


def test_a_bomb_takes_little_memory(tmp_path: Path) -> None:
    archive = zip_of(("d/a.nc", bytes(100 * 2**20)), method=zipfile.ZIP_BZIP2)
    assert len(archive) < 1000
    with pytest.raises(Denied, match="max_size"):
        _in_little_memory(lambda: fetched(tmp_path, "zip://d/a.nc", archive, 10**6))


def _in_little_memory(run: Callable[[], object]) -> None:
    tracemalloc.start()
    try:
        run()
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 20 * 2**20
