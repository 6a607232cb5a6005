"""What every unpacker promises, on real archives: whole, in place, twice the same, nothing left, nothing trusted."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import signal
import struct
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from tests.support.eventually import eventually
from tests.support.programs import CHECKOUT, clean_environment
from tests.support.unavailable import unavailable
from trollmoves.errors import Busy, DestinationFull, DestinationInvalid, OriginGone
from trollmoves.unpacking import BadArchive, Limits, Options, remove_leftovers, unpack
from trollmoves.unpacking.hidden import hidden_directory, hidden_name
from trollmoves.unpacking.output import closing

backports_zstd = pytest.importorskip("backports.zstd" if sys.version_info < (3, 14) else "compression.zstd")

Members = Mapping[str, bytes]
EVERY = bytes(range(256))
SEVERAL = {"one.txt": b"one" * 400, "sub/two.dat": EVERY * 5, "sub/deep/m\u00fc \u65e5.txt": b"", "three": b"\n" * 700}
WORDS = b"".join(b"line %d\n" % number for number in range(300))


def tar_of(members: Members, mode: str = "w") -> bytes:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode=mode) as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size, info.mtime, info.mode = len(data), 1_600_000_000, 0o640
            archive.addfile(info, io.BytesIO(data))
    return held.getvalue()


def zip_of(members: Members, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return held.getvalue()


def zstd(data: bytes) -> bytes:
    parameter = backports_zstd.CompressionParameter
    return backports_zstd.compress(data, options={parameter.checksum_flag: 1})


def segment(data: bytes, *, columns: int = 16, lines: int = 0, name: bytes = b"C_", compression: int = 0) -> bytes:
    """An xRIT image of 8 bits per pixel, with the annotation that the library wants."""
    lines = lines or len(data) // columns
    annotation = b"H-000-MSG4__-MSG4________-IR_108___-000001___-202001010000-" + name
    image = struct.pack(">BHBHHB", 1, 9, 8, columns, lines, compression)
    records = image + struct.pack(">BH", 4, 3 + len(annotation)) + annotation
    return struct.pack(">BHBLQ", 0, 16, 0, 16 + len(records), 8 * len(data)) + records + data


PIXELS = bytes(number % 251 for number in range(16 * 40))
NAME = "H-000-MSG4__-MSG4________-IR_108___-000001___-202001010000-"


@dataclass(frozen=True)
class Case:
    """One kind of packed file."""

    unpacker: str
    file: str
    packed: bytes
    members: Members
    options: Options = Options()
    exact: bool = True
    """Members come out bit for bit (xRIT headers are written anew)."""
    sums: bool = True
    """The format has checksums over everything, so that no flipped bit goes unseen."""
    whole_at: tuple[int, ...] = ()
    """Lengths at which nothing says that more should follow."""
    streams: bool = False
    """Compressed streams in a row, to which others could be added."""


def cases() -> dict[str, Case]:
    plain = tar_of(SEVERAL)
    tars = {"": plain, ".gz": gzip.compress(plain), ".bz2": bz2.compress(plain), ".xz": lzma.compress(plain), ".zst": zstd(plain)}
    found = {f"tar{ending}": Case("tar", f"several.tar{ending}", packed, SEVERAL, sums=bool(ending))
             for ending, packed in tars.items()}
    for word, method in {"stored": 0, "deflated": 8, "bzip2": 12}.items():
        found[f"zip {word}"] = Case("zip", "several.zip", zip_of(SEVERAL, method), SEVERAL, sums=False)
    parts = WORDS[:900], WORDS[900:]
    streams = {"bzip": (".bz2", bz2.compress), "bzip2": (".bz2", bz2.compress), "bz2": (".bz2", bz2.compress),
               "gzip": (".gz", gzip.compress), "xz": (".xz", lzma.compress), "zstd": (".zst", zstd)}
    for name, (ending, compress) in streams.items():
        first, second = map(compress, parts)
        found[name] = Case(name, f"words.txt{ending}", first + second, {"words.txt": WORDS}, sums=name != "gzip",
                           whole_at=(len(first),), streams=True)
    found["tgz"] = Case("tar", "one.tgz", gzip.compress(tar_of({"one.txt": WORDS})), {"one.txt": WORDS}, streams=True)
    return found


CASES = cases()
XRIT = Case("xrit", f"{NAME}C_", segment(PIXELS), {f"{NAME}__": PIXELS}, exact=False, sums=False)
"""Its own case, since each of its runs starts a process."""


def state_of(directory: Path) -> dict[str, bytes]:
    """All files below *directory*, and every directory with a slash behind its name."""
    found = {}
    for path in sorted(directory.rglob("*")):
        name = str(path.relative_to(directory))
        found[name if path.is_file() else f"{name}/"] = path.read_bytes() if path.is_file() else b""
    return found


def files_of(directory: Path) -> dict[str, bytes]:
    return {name: data for name, data in state_of(directory).items() if not name.endswith("/")}


@pytest.fixture
def into(tmp_path: Path) -> Path:
    directory = tmp_path / "into"
    directory.mkdir()
    return directory


def write(tmp_path: Path, case: Case, packed: bytes | None = None) -> Path:
    path = tmp_path / case.file
    path.write_bytes(case.packed if packed is None else packed)
    return path


def check(case: Case, into: Path, found: Mapping[str, bytes]) -> None:
    if case.exact:
        assert found == dict(case.members)
        return
    assert found.keys() == case.members.keys()
    assert all(found[name].endswith(data) for name, data in case.members.items())


@pytest.fixture(params=[*CASES, "xrit"])
def case(request: pytest.FixtureRequest) -> Case:
    if request.param == "xrit":
        pytest.importorskip("pyPublicDecompWT")
        return XRIT
    return CASES[request.param]


def test_members_arrive_whole_and_the_packed_file_stays(case: Case, tmp_path: Path, into: Path) -> None:
    path = write(tmp_path, case)
    members = unpack(str(path), case.unpacker, into=str(into), options=case.options)
    assert [member.relative for member in members] == list(case.members)
    assert all(Path(member.path) == into / member.relative and os.path.getsize(member.path) == member.size for member in members)
    assert [member.uid for member in members] == [os.path.basename(name) for name in case.members]
    check(case, into, files_of(into))
    assert path.read_bytes() == case.packed
    assert not [name for name in os.listdir(into) if name.startswith(".")]


def test_without_a_directory_members_lie_beside_the_packed_file_or_in_the_working_directory(tmp_path: Path, into: Path) -> None:
    path = write(tmp_path, CASES["bzip"])
    unpack(str(path), "bzip")
    assert (tmp_path / "words.txt").read_bytes() == WORDS
    unpack(str(path), "bzip", options=Options(working_directory=str(into)))
    assert files_of(into) == {"words.txt": WORDS}


def test_what_a_crash_left_is_replaced_and_never_trusted(case: Case, tmp_path: Path, into: Path) -> None:
    path = write(tmp_path, case)
    for name in case.members:  # truncated output under the final name
        (into / name).parent.mkdir(parents=True, exist_ok=True)
        (into / name).write_bytes(b"trunc")
    unpack(str(path), case.unpacker, into=str(into), options=case.options, sync=True)
    check(case, into, files_of(into))
    unpack(str(path), case.unpacker, into=str(into), options=case.options)
    check(case, into, files_of(into))


def test_the_packed_file_is_removed_where_asked_for(case: Case, tmp_path: Path, into: Path) -> None:
    path = write(tmp_path, case)
    unpack(str(path), case.unpacker, into=str(into), options=Options(delete=True))
    assert not path.exists()
    check(case, into, files_of(into))
    with pytest.raises(OriginGone, match="not there"):
        unpack(str(path), case.unpacker, into=str(into))


def test_another_ending_is_left_alone(case: Case, tmp_path: Path, into: Path) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(case.packed)
    assert unpack(str(path), case.unpacker, into=str(into), options=Options(delete=True)) == []
    assert path.exists() and not state_of(into)


@pytest.mark.parametrize("content", [b"", b"x", b"\0" * 5000, b"not packed at all, but long enough to be " * 40])
def test_something_else_under_that_name_is_refused(case: Case, content: bytes, tmp_path: Path, into: Path) -> None:
    path = write(tmp_path, case, content)
    (into / "before").write_bytes(b"1")
    with pytest.raises(BadArchive) as caught:
        unpack(str(path), case.unpacker, into=str(into), options=Options(delete=True))
    assert str(path) in str(caught.value) and caught.value.permanent
    assert state_of(into) == {"before": b"1"}
    assert path.read_bytes() == content


@pytest.mark.parametrize("name", CASES)
def test_every_truncation_is_refused(name: str, tmp_path: Path, into: Path) -> None:
    case = CASES[name]
    step = max(len(case.packed) // 200, 1)
    end = len(case.packed)
    if name == "tar":  # of the padding behind the end mark nothing is missed
        end = len(case.packed.rstrip(b"\0")) + 512
    for length in range(0, end, step):
        if length in case.whole_at:
            continue
        path = write(tmp_path, case, case.packed[:length])
        with pytest.raises(BadArchive):
            unpack(str(path), case.unpacker, into=str(into))
        assert not state_of(into), length


@pytest.mark.parametrize("name", CASES)
def test_flipped_bits_are_refused_or_harmless(name: str, tmp_path: Path, into: Path) -> None:
    case = CASES[name]
    refused = 0
    for position in range(0, len(case.packed), max(len(case.packed) // 150, 1)):
        damaged = bytearray(case.packed)
        damaged[position] ^= 0x10
        path = write(tmp_path, case, bytes(damaged))
        try:
            members = unpack(str(path), case.unpacker, into=str(into))
        except BadArchive:
            refused += 1
            assert not state_of(into), position
            continue
        if case.sums:
            check(case, into, files_of(into))
        assert len(members) == len(files_of(into))
        for entry in members:
            os.unlink(entry.path)
        for directory in sorted(into.rglob("*"), reverse=True):
            directory.rmdir()
    assert refused > 20


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.streams])
def test_bytes_behind_the_end_are_refused_but_padding_is_fine(name: str, tmp_path: Path, into: Path) -> None:
    case = CASES[name]
    with pytest.raises(BadArchive):
        unpack(str(write(tmp_path, case, case.packed + b"\0\0rest")), case.unpacker, into=str(into))
    unpack(str(write(tmp_path, case, case.packed + bytes(1000))), case.unpacker, into=str(into))
    check(case, into, files_of(into))


def test_over_the_limit_is_refused(case: Case, tmp_path: Path, into: Path) -> None:
    path = write(tmp_path, case)
    with pytest.raises(BadArchive, match="max_unpacked|SIGXFSZ|ended with status"):
        unpack(str(path), case.unpacker, into=str(into), limits=Limits(max_unpacked=600))
    assert not state_of(into)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "small"
    place.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(place)], capture_output=True, text=True)
    if mount.returncode:
        unavailable(f"no small disk can be mounted: {mount.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


NOISE = os.urandom(200 * 1024)
LARGE: dict[str, Callable[[], bytes]] = {
    "tar": lambda: tar_of({"small": b"1", "a": NOISE, "b": NOISE}),
    "zip": lambda: zip_of({"small": b"1", "a": NOISE, "b": NOISE}),
    "bzip": lambda: bz2.compress(NOISE * 2),
    "gzip": lambda: gzip.compress(NOISE * 2),
    "xz": lambda: lzma.compress(NOISE * 2),
    "zstd": lambda: zstd(NOISE * 2),
}
ENDINGS = {"tar": "tar", "zip": "zip", "bzip": "bz2", "gzip": "gz", "xz": "xz", "zstd": "zst"}


@pytest.mark.parametrize("name", LARGE)
def test_a_full_disk_leaves_nothing_and_passes(name: str, tmp_path: Path, small_disk: Path, into: Path) -> None:
    path = tmp_path / f"large.{ENDINGS[name]}"
    path.write_bytes(LARGE[name]())
    for share in (1000.0, 0.25):  # the disk says so itself; we say so before
        with pytest.raises(DestinationFull) as caught:
            unpack(str(path), name, into=str(small_disk), limits=Limits(free_share=share))
        assert not caught.value.permanent
        assert not state_of(small_disk)
    assert unpack(str(path), name, into=str(into))


AGAIN_AND_AGAIN = """
import sys
from trollmoves.unpacking import unpack
while True:
    unpack(sys.argv[1], "tar", into=sys.argv[2])
"""


def holds(into: Path, count: int) -> bool:
    return any(len(os.listdir(members)) >= count for members in into.glob(".unpack-*/members"))


def test_a_killed_process_leaves_nothing_partial_and_the_next_one_nothing_at_all(tmp_path: Path, into: Path) -> None:
    members = {f"part-{number:03}": b"%03d" % number * 10_000 for number in range(300)}
    path = tmp_path / "many.tar"
    path.write_bytes(tar_of(members))
    environment = clean_environment({"PYTHONPATH": str(CHECKOUT)})
    for count in (1, 100, 299):  # while it writes, and about when it renames
        process = subprocess.Popen([sys.executable, "-c", AGAIN_AND_AGAIN, str(path), str(into)], env=environment)
        try:
            eventually(partial(holds, into, count), interval=0.001)
        finally:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
        visible = {name: data for name, data in files_of(into).items() if not name.startswith(".unpack-")}
        assert visible.items() <= members.items()
    unpack(str(path), "tar", into=str(into))
    assert state_of(into) == members


def test_two_at_once_do_not_meet(tmp_path: Path, into: Path) -> None:
    path = write(tmp_path, CASES["tar"])
    with closing(os.open(into, os.O_RDONLY)) as top, hidden_directory(top, hidden_name(str(path))):
        with pytest.raises(Busy):
            unpack(str(path), "tar", into=str(into))
        assert not files_of(into)
    unpack(str(path), "tar", into=str(into))
    assert files_of(into) == SEVERAL


def test_leftovers_nobody_comes_back_for_are_removed_when_they_are_old(tmp_path: Path, into: Path) -> None:
    left = into / hidden_name(str(tmp_path / "gone.tar"))
    (left / "members" / "deep").mkdir(parents=True)
    (left / "members" / "deep" / "part").write_bytes(b"1")
    (into / "kept").write_bytes(b"1")
    assert remove_leftovers(str(into)) == 0
    with closing(os.open(into, os.O_RDONLY)) as top, hidden_directory(top, hidden_name("other.tar")):
        assert remove_leftovers(str(into), 0) == 1
        assert len(os.listdir(into)) == 2
    assert state_of(into) == {"kept": b"1"}


def test_a_missing_directory_is_said(tmp_path: Path) -> None:
    path = write(tmp_path, CASES["tar"])
    with pytest.raises(DestinationInvalid, match="No such file"):
        unpack(str(path), "tar", into=str(tmp_path / "nowhere"))


def test_two_members_of_one_name_in_different_directories_keep_apart(tmp_path: Path, into: Path) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(tar_of({"x/data": b"1", "y/data": b"2", "y/other": b"3"}))
    assert [member.uid for member in unpack(str(path), "tar", into=str(into))] == ["x/data", "y/data", "other"]
