"""Removing announced files: that very file, whatever others do to its name meanwhile."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from trollmoves.errors import NotAnnounced, OriginChanged
from trollmoves.patterns import is_temporary_name
from trollmoves.server.beneath import Announced, _name_aside, examined, keep_removed, opened, remove

ROUNDS = 4000


def announced(path: Path) -> Announced:
    status = path.stat()
    return Announced(str(path), status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


def aside(file: Announced) -> Path:
    path = Path(file.path)
    return path.with_name(_name_aside(path.name, file))


@pytest.fixture
def old(tmp_path: Path) -> Path:
    path = tmp_path / "a.bin"
    path.write_bytes(b"delivered")
    return path


def test_the_announced_file_is_removed_once(old: Path, tmp_path: Path) -> None:
    file = announced(old)
    assert remove((str(tmp_path),), file)
    assert not remove((str(tmp_path),), file)
    assert os.listdir(tmp_path) == []


def test_another_of_its_name_stays(old: Path, tmp_path: Path) -> None:
    file = announced(old)
    (tmp_path / "new").write_bytes(b"not delivered")
    (tmp_path / "new").rename(old)
    assert not remove((str(tmp_path),), file)
    assert (os.listdir(tmp_path), old.read_bytes()) == (["a.bin"], b"not delivered")


@pytest.mark.parametrize("content", [b"rewritten", b"rewritten, and longer"])
def test_one_that_was_written_to_since_is_neither_served_nor_removed(old: Path, tmp_path: Path, content: bytes) -> None:
    """In place, so that it is the same file; also when it is as long as before."""
    file = announced(old)
    old.write_bytes(content)
    os.utime(old, ns=(file.mtime_ns, file.mtime_ns + (len(content) == file.size)))
    with pytest.raises(OriginChanged), opened((str(tmp_path),), file):
        pass
    assert not remove((str(tmp_path),), file)
    assert old.read_bytes() == content


def test_one_of_equal_size_and_time_that_took_its_name_is_neither_served_nor_removed(old: Path, tmp_path: Path) -> None:
    """As products of fixed size are, unpacked with their times."""
    file = announced(old)
    (tmp_path / "new").write_bytes(b"different")
    os.utime(tmp_path / "new", ns=(file.mtime_ns, file.mtime_ns))
    (tmp_path / "new").rename(old)
    with pytest.raises(OriginChanged), opened((str(tmp_path),), file):
        pass
    assert not remove((str(tmp_path),), file)
    assert old.read_bytes() == b"different"


def test_a_link_is_not_followed_though_it_leads_to_the_very_file(old: Path, tmp_path: Path) -> None:
    file = announced(old)
    old.rename(tmp_path / "elsewhere")
    old.symlink_to("elsewhere")
    with pytest.raises(OriginChanged), opened((str(tmp_path),), file):
        pass
    assert not remove((str(tmp_path),), file)
    assert (tmp_path / "elsewhere").exists() and old.is_symlink()


@pytest.mark.parametrize("changed", [False, True])
def test_no_directory_on_the_way_may_be_a_link(tmp_path: Path, changed: bool) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/a.bin").write_bytes(b"delivered")
    file = announced(tmp_path / "sub/a.bin")
    if changed:
        (tmp_path / "sub").rename(tmp_path / "elsewhere")
        (tmp_path / "sub").symlink_to("elsewhere")
        with pytest.raises(OriginChanged), opened((str(tmp_path),), file):
            pass
    else:
        with opened((str(tmp_path),), file) as origin:
            assert origin.size == file.size
    assert remove((str(tmp_path),), file) is not changed


@pytest.mark.parametrize("way", ["sub/../../a.bin", "../a.bin", "./a.bin", "sub//a.bin", ""])
def test_what_is_not_below_the_origin_is_neither_served_nor_removed(tmp_path: Path, way: str) -> None:
    (tmp_path / "in/sub").mkdir(parents=True)
    for directory in (tmp_path, tmp_path / "in", tmp_path / "in/sub"):
        (directory / "a.bin").write_bytes(b"delivered")
    file = announced(tmp_path / "in")._replace(path=f"{tmp_path}/in/{way}")
    if way:
        status = os.stat(file.path)
        file = file._replace(device=status.st_dev, inode=status.st_ino, size=status.st_size, mtime_ns=status.st_mtime_ns)
    with pytest.raises(NotAnnounced), opened((f"{tmp_path}/in",), file):
        pass
    assert not remove((f"{tmp_path}/in",), file)


def test_it_is_known_after_a_remount_that_numbers_files_anew(old: Path, tmp_path: Path) -> None:
    """As network file systems do."""
    file = announced(old)
    again = file._replace(device=file.device + 1, inode=file.inode + 1)
    with opened((str(tmp_path),), again) as origin:
        assert origin.size == file.size
    assert remove((str(tmp_path),), again)


def test_one_that_takes_its_name_at_the_last_moment_stays(tmp_path: Path) -> None:
    """Each round a writer replaces the file while it is removed; what the writer wrote must be there afterwards."""
    start, path = threading.Barrier(2), tmp_path / "a.bin"

    def replace() -> None:
        for number in range(ROUNDS):
            new = tmp_path / f"new{number}"
            new.write_bytes(b"not delivered %d" % number)
            start.wait(60)
            new.rename(path)
            start.wait(60)
    writer = threading.Thread(target=replace)
    writer.start()
    lost, hit = [], 0
    for number in range(ROUNDS):
        path.write_bytes(b"delivered")
        file = announced(path)
        start.wait(60)
        hit += remove((str(tmp_path),), file)
        start.wait(60)
        if not path.exists() or path.read_bytes() != b"not delivered %d" % number:
            lost.append(number)
            aside(file).unlink(missing_ok=True)
    writer.join(60)
    assert 0 < hit < ROUNDS, "both orders were tried"
    assert not lost, f"{len(lost)} new files of {ROUNDS} are gone"
    assert os.listdir(tmp_path) == ["a.bin"]


def test_what_was_set_aside_before_a_crash_is_removed_after_it(old: Path, tmp_path: Path) -> None:
    file = announced(old)
    old.rename(aside(file))
    assert remove((str(tmp_path),), file)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("linked", [False, True])
def test_another_that_was_set_aside_before_a_crash_is_put_back(old: Path, tmp_path: Path, linked: bool) -> None:
    file = announced(old)
    old.unlink()
    aside(file).write_bytes(b"not delivered")
    if linked:  # the crash came when it was half put back
        os.link(aside(file), old)
    assert not remove((str(tmp_path),), file)
    assert (os.listdir(tmp_path), old.read_bytes()) == (["a.bin"], b"not delivered")


@pytest.mark.parametrize("links", [True, False])
def test_a_third_one_that_has_the_name_by_then_keeps_it(old: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture,
                                                        monkeypatch: pytest.MonkeyPatch, links: bool) -> None:
    """And what was set aside is kept as well; also where the file system has no links."""
    file = announced(old)

    def refused(*arguments: object, **options: object) -> None:
        raise PermissionError
    if not links:
        monkeypatch.setattr(os, "link", refused)
    aside(file).write_bytes(b"not delivered")
    (tmp_path / "third").write_bytes(b"not delivered either")
    (tmp_path / "third").rename(old)
    assert not remove((str(tmp_path),), file)
    assert (old.read_bytes(), aside(file).read_bytes()) == (b"not delivered either", b"not delivered")
    assert aside(file).name in caplog.text


@pytest.mark.parametrize("name", ["a.bin", "x" * 255, ".hidden", "new\nline", os.fsdecode(b"latin-\xe4")])
def test_the_name_beside_is_one_that_no_watcher_announces(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"1")
    file = announced(tmp_path / name)
    assert is_temporary_name(aside(file).name)
    assert remove((str(tmp_path),), file)
    assert os.listdir(tmp_path) == []


def test_a_directory_that_has_the_name_stays(old: Path, tmp_path: Path) -> None:
    file = announced(old)
    old.unlink()
    old.mkdir()
    assert not remove((str(tmp_path),), file)
    aside(file).mkdir()
    old.rmdir()
    assert not remove((str(tmp_path),), file)
    assert os.listdir(tmp_path) == ["a.bin"]


def test_what_shall_survive_a_power_loss_is_on_the_disk_with_its_name(
        old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced, real = list[int](), os.fsync

    def fsync(descriptor: int) -> None:
        synced.append(os.fstat(descriptor).st_ino)
        real(descriptor)
    monkeypatch.setattr(os, "fsync", fsync)
    roots = (str(tmp_path),)
    assert examined(roots, str(old), sync=False) == announced(old)
    assert synced == []
    assert examined(roots, str(old), sync=True) == announced(old)
    assert synced == [old.stat().st_ino, tmp_path.stat().st_ino]
    keep_removed(roots, [str(old), str(tmp_path / "b"), str(tmp_path / "away" / "c")])
    assert synced[2:] == [tmp_path.stat().st_ino]
