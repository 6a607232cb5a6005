"""Unpacking: hostile archives, limits, foreign programs, messages, the table."""

from __future__ import annotations

import bz2
import errno
import gzip
import io
import lzma
import os
import stat
import struct
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.contract.test_unpackers import NAME, PIXELS, files_of, segment, state_of, tar_of, zip_of, zstd
from tests.support.programs import CHECKOUT, clean_environment
from tests.support.unavailable import need_program, unavailable
from trollmoves.errors import (
    ConfigurationError,
    Denied,
    DestinationFull,
    DestinationInvalid,
    MissingLibrary,
    OriginChanged,
    OriginGone,
    Stalled,
    TemporaryError,
)
from trollmoves.unpacking import (
    BadArchive,
    Limits,
    Options,
    Unpacked,
    is_packed,
    known_unpackers,
    remove_leftovers,
    unpack,
    unpacked_message_data,
    unpacker_for,
)
from trollmoves.unpacking.hidden import hidden_name
from trollmoves.unpacking.limits import Budget
from trollmoves.unpacking.listing import list_names
from trollmoves.unpacking.output import Output, closing, own_directory

Entry = tuple[tarfile.TarInfo, bytes]


@pytest.fixture
def into(tmp_path: Path) -> Path:
    """The destination, with a neighbour whose state must never change."""
    (tmp_path / "neighbour").mkdir()
    (tmp_path / "neighbour" / "precious").write_bytes(b"precious")
    directory = tmp_path / "neighbour" / "into"
    directory.mkdir()
    return directory


def entry(name: str, data: bytes = b"data", kind: bytes = tarfile.REGTYPE, **fields: object) -> Entry:
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, len(data)
    for key, value in fields.items():
        setattr(info, key, value)
    return info, data


def tar(entries: Iterable[Entry], form: int = tarfile.PAX_FORMAT) -> bytes:
    """An archive of just these headers and bytes, whatever they say."""
    parts = []
    for info, data in entries:
        parts.append(info.tobuf(form, "utf-8", "surrogateescape") + data + bytes(-len(data) % 512))
    return b"".join(parts) + bytes(1024)


def refused(tmp_path: Path, into: Path, packed: bytes, match: str, *, file: str = "bad.tar",
            limits: Limits | None = None) -> str:
    """Unpack, expect `BadArchive` with *match* in its text and nothing changed; return the text."""
    path = tmp_path / file
    path.write_bytes(packed)
    before = state_of(into.parent)
    with pytest.raises(BadArchive, match=match) as caught:
        unpack(str(path), "zip" if file.endswith(".zip") else "tar", into=str(into), limits=limits)
    assert state_of(into.parent) == before
    return str(caught.value)


def unpacked(tmp_path: Path, into: Path, packed: bytes, *, file: str = "good.tar",
             limits: Limits | None = None) -> dict[str, bytes]:
    path = tmp_path / file
    path.write_bytes(packed)
    unpack(str(path), "zip" if file.endswith(".zip") else "tar", into=str(into), limits=limits)
    return files_of(into)


NAMES = {
    "../x": "lead out", "a/../../x": "lead out", "a/..": "lead out", "/abs": "absolute", "//abs": "absolute", ".": "needs a name",
    "a/\0/b": "NUL", ".unpack-0123/members/x": "begin with", "./.unpack-x": "begin with", "n" * 256: "too long",
    "/".join("d" * 40): "deep", "/".join(["n" * 200] * 6): "too long",
}


@pytest.mark.parametrize("name", NAMES)
def test_names_that_lead_astray_are_refused(name: str, tmp_path: Path, into: Path) -> None:
    good = entry("good")
    info, data = entry("placeholder", pax_headers={"path": name})
    # the library would cut the name at a NUL in the header, so it is said in a pax record
    text = refused(tmp_path, into, tar([good, (info, data)]), NAMES[name])
    assert "\0" not in text and len(text) < 400
    if "\0" not in name:
        refused(tmp_path, into, zip_of({"good": b"", name: b"x"}), NAMES[name], file="bad.zip")


KINDS = {tarfile.SYMTYPE: "symbolic link", tarfile.LNKTYPE: "hard link", tarfile.CHRTYPE: "character device",
         b"Q": "unknown type", tarfile.BLKTYPE: "block device", tarfile.FIFOTYPE: "FIFO", b"D": "directory dump",
         b"M": "several volumes"}


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_file_is_refused_by_name(kind: bytes, tmp_path: Path, into: Path) -> None:
    odd = entry("odd\x1b[31m", b"", kind, linkname="../precious", devmajor=1, devminor=3)
    text = refused(tmp_path, into, tar([entry("good"), odd]), KINDS[kind])
    assert r"odd\x1b[31m" in text


@pytest.mark.parametrize("mode", [0o4755, 0o2755])
def test_setuid_files_are_refused_and_directories_lose_the_bit(mode: int, tmp_path: Path, into: Path) -> None:
    refused(tmp_path, into, tar([entry("s", mode=mode)]), "setuid")
    packed = tar([entry("d", b"", tarfile.DIRTYPE, mode=mode), entry("d/f", mode=0o777)])
    assert unpacked(tmp_path, into, packed) == {"d/f": b"data"}
    assert (into / "d").stat().st_mode & 0o7000 == 0
    assert stat.S_IMODE((into / "d/f").stat().st_mode) == 0o755


DUPLICATES: dict[str, list[Entry]] = {
    "same": [entry("a"), entry("a")],
    "with a dot": [entry("a"), entry("./a")],
    "with slashes": [entry("d/a"), entry("d//a")],
    "file, then directory": [entry("a"), entry("a/b")],
    "directory, then file": [entry("a/b"), entry("a")],
}


@pytest.mark.parametrize("case", DUPLICATES)
def test_two_members_of_one_name_are_refused(case: str, tmp_path: Path, into: Path) -> None:
    refused(tmp_path, into, tar(DUPLICATES[case]), "same name|have this name")


def long_link_chain(depth: int = 16) -> list[Entry]:
    """Links whose path becomes longer than any system call takes, so that a resolver gives up; then a write through them."""
    found, directory = [], ""
    component = "d" * 247
    for number in range(depth):
        found.append(entry(f"{directory}{component}", b"", tarfile.DIRTYPE))
        found.append(entry(f"{directory}{chr(97 + number)}", b"", tarfile.SYMTYPE, linkname=component))
        directory += f"{component}/"
    letters = "/".join(chr(97 + number) for number in range(depth))
    link = f"{letters}/{'l' * 254}"
    found.append(entry(link, b"", tarfile.SYMTYPE, linkname="../" * depth))
    found.append(entry("escape", b"", tarfile.SYMTYPE, linkname=f"{link}/.."))
    found.append(entry("escape/precious", b"overwritten"))
    return found


LINKS: dict[str, Callable[[], list[Entry]]] = {
    "long chain": long_link_chain,
    "through a directory link": lambda: [entry("l", b"", tarfile.SYMTYPE, linkname=".."), entry("l/precious")],
    "hard link to outside": lambda: [entry("l", b"", tarfile.LNKTYPE, linkname="../precious"), entry("l")],
    "link over its own directory": lambda: [entry("d/x"), entry("d", b"", tarfile.SYMTYPE, linkname=".."), entry("d/precious")],
}


@pytest.mark.parametrize("case", LINKS)
def test_no_chain_of_links_leads_out(case: str, tmp_path: Path, into: Path) -> None:
    refused(tmp_path, into, tar(LINKS[case]()), "link")


def test_links_in_the_destination_are_replaced_or_refused_but_not_followed(tmp_path: Path, into: Path) -> None:
    (into / "f").symlink_to("../precious")
    assert unpacked(tmp_path, into, tar([entry("f")])) == {"f": b"data"}
    assert not (into / "f").is_symlink()
    (into / "d").symlink_to("..")
    refused(tmp_path, into, tar([entry("d/precious"), entry("new")]), "in the way")
    (into / "dir").mkdir()
    refused(tmp_path, into, tar([entry("dir"), entry("new")]), "is a directory already")
    assert (into.parent / "precious").read_bytes() == b"precious"


def test_an_archive_that_holds_itself_does_not_replace_itself(tmp_path: Path) -> None:
    path = tmp_path / "self.tar"
    packed = tar([entry("a"), entry("self.tar")])
    path.write_bytes(packed)
    with pytest.raises(BadArchive, match="packed file itself"):
        unpack(str(path), "tar", options=Options(delete=True))
    assert state_of(tmp_path) == {"self.tar": packed}


def test_empty_directories_are_made_and_an_archive_without_files_is_refused(tmp_path: Path, into: Path) -> None:
    directory = entry("empty", b"", tarfile.DIRTYPE)
    unpacked(tmp_path, into, tar([directory, directory, entry("./", b"", tarfile.DIRTYPE), entry("a")]))
    assert state_of(into) == {"a": b"data", "empty/": b""}
    for packed in (tar([]), tar([directory])):
        refused(tmp_path, into, packed, "holds no files")


@pytest.mark.parametrize(("limits", "match"), [
    (Limits(members=5), "5 members|the 5 allowed"), (Limits(depth=1), "more than 1 dir"), (Limits(path_length=3), "too long"),
    (Limits(max_unpacked=20), "20 bytes allowed"), (Limits(ratio=0.001, at_least=20), "20 bytes allowed"),
])
def test_limits(limits: Limits, match: str, tmp_path: Path, into: Path) -> None:
    members = {f"d/e/{number}": b"12345" for number in range(6)}
    refused(tmp_path, into, tar_of(members), match, limits=limits)
    refused(tmp_path, into, zip_of(members), match, file="bad.zip", limits=limits)
    assert unpacked(tmp_path, into, tar_of(members), limits=Limits(members=8, depth=2, path_length=5, max_unpacked=30)) == members


def test_directories_count_as_members(tmp_path: Path, into: Path) -> None:
    refused(tmp_path, into, tar([entry("f"), *[entry("d", b"", tarfile.DIRTYPE)] * 9]), "members", limits=Limits(members=9))
    refused(tmp_path, into, tar([entry("a/b/c/d/f")]), "members", limits=Limits(members=4))


def test_a_hundred_thousand_members_and_one_are_refused(tmp_path: Path, into: Path) -> None:
    block = entry("d", b"", tarfile.DIRTYPE)[0].tobuf()
    refused(tmp_path, into, zstd(block * 100_001 + bytes(1024)), "100000 members", file="bad.tar.zst")


@pytest.mark.parametrize(("size", "allowed"), [(10, 10**9), (10**8, 2 * 10**9)])
def test_what_is_allowed(size: int, allowed: int) -> None:
    assert Limits().allowed(size) == allowed
    assert Limits(max_unpacked=7).allowed(size) == 7


def test_a_quarter_of_the_free_disk_is_the_most_and_waiting_may_help(tmp_path: Path, into: Path) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(tar([entry("a", bytes(100_000))]))
    with pytest.raises(DestinationFull, match="free disk"):
        unpack(str(path), "tar", into=str(into), limits=Limits(free_share=1e-12))
    assert not state_of(into)


# --- headers and ends of tar archives

def test_a_damaged_header_in_the_middle_is_not_taken_for_the_end(tmp_path: Path, into: Path) -> None:
    packed = bytearray(tar([entry("a"), entry("b"), entry("c")]))
    packed[1024 + 3] ^= 1
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        assert archive.getnames() == ["a"]  # which is why the library does not read strangers' archives here
    refused(tmp_path, into, bytes(packed), "wrong checksum")


@pytest.mark.parametrize("ending", ["", ".gz"])
@pytest.mark.parametrize("between", [0, 512, 7 * 512])
def test_archives_that_were_joined_are_refused_and_not_unpacked_in_part(between: int, ending: str, tmp_path: Path,
                                                                        into: Path) -> None:
    joined = tar([entry("one")]) + bytes(between) + tar([entry("two")])
    refused(tmp_path, into, gzip.compress(joined) if ending else joined, "joined of several", file=f"joined.tar{ending}")


@pytest.mark.parametrize("rest", [b"x" * 700, b"\xff" * 512, bytes(100) + b"x", b"0" * 5000])
def test_what_a_program_left_in_its_last_record_is_nothing(rest: bytes, tmp_path: Path, into: Path) -> None:
    assert unpacked(tmp_path, into, tar([entry("one")]) + rest) == {"one": b"data"}


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: os.mknod(path, stat.S_IFSOCK)])
def test_a_pipe_or_a_socket_is_not_replaced(make: Callable[[Path], None], tmp_path: Path, into: Path) -> None:
    make(into / "x")
    before = os.lstat(into / "x")
    with pytest.raises(BadArchive, match="a pipe or a socket"):
        unpacked(tmp_path, into, tar([entry("a"), entry("x")]))
    assert os.path.samestat(os.lstat(into / "x"), before) and os.listdir(into) == ["x"]


def test_an_end_between_members_is_a_truncation(tmp_path: Path, into: Path) -> None:
    packed = tar([entry("a"), entry("b")])
    for end in (1024, 2048, 2048 + 511):
        refused(tmp_path, into, packed[:end], "truncated")
    assert unpacked(tmp_path, into, packed[:2048 + 512]) == {"a": b"data", "b": b"data"}
    refused(tmp_path, into, packed[:1024] + bytes(512) + packed[1024:], "zeros among its members")
    assert unpacked(tmp_path, into, packed + b"what tapes hold behind the end") == {"a": b"data", "b": b"data"}


@pytest.mark.parametrize("field", [(100, 108), (124, 136), (148, 156)])
def test_fields_that_are_no_numbers_are_damage(field: tuple[int, int], tmp_path: Path, into: Path) -> None:
    for text in (b"-1", b"0o7", b"9", b"1_0", b"+1", b" x"):
        block = bytearray(entry("a", b"")[0].tobuf())
        block[slice(*field)] = text.ljust(field[1] - field[0], b"\0")
        if field[0] != 148:
            block[148:156] = b"%06o\0 " % (256 + sum(block[:148] + block[156:]))
        refused(tmp_path, into, bytes(block) + bytes(1024), "no number")


def test_a_negative_size_is_damage(tmp_path: Path, into: Path) -> None:
    block = bytearray(entry("a", b"")[0].tobuf())
    block[124:136] = (-512).to_bytes(12, "big", signed=True)
    block[148:156] = b"%06o\0 " % (256 + sum(block[:148] + block[156:]))
    refused(tmp_path, into, bytes(block) + bytes(1024), "negative size")


def test_long_names_in_every_notation(tmp_path: Path, into: Path) -> None:
    name = "/".join(["directory-" + "n" * 80] * 9) + "/m\u00fc"
    for number, form in enumerate((tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)):
        place = into / str(number)
        place.mkdir()
        assert unpacked(tmp_path, place, tar([entry(name)], form)) == {name: b"data"}
    short = "p" * 120 + "/" + "n" * 90
    assert unpacked(tmp_path, into, tar([entry(short)], tarfile.USTAR_FORMAT))[short] == b"data"


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("length", [1, 150])
def test_names_that_are_no_utf_8_are_read_as_latin_1(form: int, length: int, tmp_path: Path, into: Path) -> None:
    """Else they could not stand in a message."""
    name = os.fsdecode(b"m\xfcnster/" + b"stra\xdfe" * (length // 6 + 1))
    if form == tarfile.USTAR_FORMAT and length > 100:
        pytest.skip("longer than this form takes")
    found = unpacked(tmp_path, into, tar([entry(name), entry("m\u00fc \u65e5")], form))
    assert found == {os.fsencode(name).decode("latin-1"): b"data", "m\u00fc \u65e5": b"data"}


def test_names_in_a_zip_archive_of_unix_that_are_no_utf_8_are_read_as_latin_1(tmp_path: Path, into: Path) -> None:
    packed = zip_of({"m_nster": b"1"}).replace(b"m_nster", b"m\xfcnster")
    assert unpacked(tmp_path, into, packed, file="a.zip") == {"m\u00fcnster": b"1"}


def test_two_names_that_mean_the_same_text_are_refused(tmp_path: Path, into: Path) -> None:
    packed = tar([entry("m\u00fc"), entry(os.fsdecode(b"m\xfc"))], tarfile.GNU_FORMAT)
    refused(tmp_path, into, packed, "two members have this name")


def test_names_in_different_directories_may_be_told_to_differ(tmp_path: Path, into: Path) -> None:
    packed = tar([entry("x/data"), entry("y/data")])
    refused(tmp_path, into, packed, "another directory has this name", limits=Limits(by_name=True))
    assert set(unpacked(tmp_path, into, packed)) == {"x/data", "y/data"}


def test_long_pax_headers_are_read_and_endless_ones_refused(tmp_path: Path, into: Path) -> None:
    assert unpacked(tmp_path, into, tar([entry("a", pax_headers={"comment": "c" * 500_000})])) == {"a": b"data"}
    refused(tmp_path, into, tar([entry("b", pax_headers={"comment": "c" * 1_100_000})]), "bytes of headers")
    one = entry("", b"", tarfile.GNUTYPE_LONGNAME)[0].tobuf()
    refused(tmp_path, into, one * 3000 + tar([entry("b")]), "bytes of headers")
    refused(tmp_path, into, tar([entry("a")])[:1024] + one + bytes(1024), "between the headers")


@pytest.mark.parametrize("record", [b"999 path=x\n", b"x path=x\n", b"11 pathisx\n\n", b"4 a\n", b"11 path=abcX", b"8 size=\n",
                                    b"99999999999 a=b\n", b"11 size=-1\n", b"11 size= 1\n"])
def test_damaged_pax_records_are_refused(record: bytes, tmp_path: Path, into: Path) -> None:
    packed = tar([entry("pax", record, tarfile.XHDTYPE), entry("a")])
    refused(tmp_path, into, packed, "pax header|no number")


def test_pax_records_about_other_things_and_a_label(tmp_path: Path, into: Path) -> None:
    general = tarfile.TarInfo.create_pax_global_header({"mtime": "1000.5", "comment": "a commit"})
    label = entry("label", b"", b"V")
    odd = [entry(f"t{number}", pax_headers={"mtime": text}) for number, text in enumerate(("nan", "-5", "1e300", "x"))]
    assert len(unpacked(tmp_path, into, general + tar([label, entry("a"), *odd]))) == 5


@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_members_have_the_time_of_the_packed_file(kind: str, tmp_path: Path, into: Path) -> None:
    """The times in archives are often the same whatever the content is, by which it would be taken for what came before."""
    path = tmp_path / f"x.{kind}"
    path.write_bytes({"tar": tar_of, "zip": zip_of}[kind]({"x": b"x"}))
    os.utime(path, (1_500_000_000, 1_500_000_000.5))
    unpack(str(path), kind, into=str(into))
    assert (into / "x").stat().st_mtime == 1_500_000_000.5


SPARSE_FORMS = (["--format=gnu"], ["--format=pax", "--sparse-version=0.0"], ["--format=pax", "--sparse-version=0.1"],
                ["--format=pax", "--sparse-version=1.0"])


@pytest.mark.parametrize("form", SPARSE_FORMS, ids=" ".join)
@pytest.mark.parametrize("pieces", [1, 60])
def test_sparse_files_as_gnu_tar_writes_them(form: list[str], pieces: int, tmp_path: Path, into: Path) -> None:
    program = need_program("tar", "tar")
    holes = tmp_path / "holes.dat"
    with holes.open("wb") as file:
        for number in range(pieces):
            file.seek(number * 200_000 + 100_000)
            file.write(b"%d" % number * 5000)
        file.truncate(pieces * 200_000 + 150_000)
    (tmp_path / "after").write_bytes(b"after")
    path = tmp_path / "sparse.tar"
    subprocess.run([program, "-C", tmp_path, "--sparse", *form, "-cf", path, "holes.dat", "after"], check=True, timeout=60)
    assert path.stat().st_size < holes.stat().st_size
    assert unpacked(tmp_path, into, path.read_bytes()) == {"holes.dat": holes.read_bytes(), "after": b"after"}
    refused(tmp_path, into, path.read_bytes(), "bytes allowed", limits=Limits(max_unpacked=200_000))


@pytest.mark.parametrize("form", SPARSE_FORMS, ids=" ".join)
def test_a_terabyte_of_holes_is_refused_at_once(form: list[str], tmp_path: Path, into: Path) -> None:
    program = need_program("tar", "tar")
    with (tmp_path / "huge").open("wb") as file:
        try:
            file.truncate(2**40)
        except OSError as error:
            assert error.errno == errno.EFBIG
            pytest.skip("this file system has no files of a terabyte")
    path = tmp_path / "huge.tar"
    subprocess.run([program, "-C", tmp_path, "--sparse", *form, "-cf", path, "huge"], check=True, timeout=60)
    with pytest.raises((BadArchive, DestinationFull)):
        unpack(str(path), "tar", into=str(into))
    assert not state_of(into)


@pytest.mark.parametrize(("map_", "size", "match"), [
    ("0,4,2,4", "10", "not in order"), ("0,8", "4", "does not fit"), ("0,3", "10", "does not fit"), ("0", "4", "damaged map"),
    ("0,4,x,1", "9", "no number"), ("0,4", None, "")])
def test_maps_of_sparse_files_that_cannot_be(map_: str, size: str | None, match: str, tmp_path: Path, into: Path) -> None:
    records = {"GNU.sparse.map": map_} | ({"GNU.sparse.size": size} if size else {})
    packed = tar([entry("s", b"datadata"[:8 if map_.count(",") == 3 else 4], pax_headers=records)])
    if match:
        refused(tmp_path, into, packed, match)
    else:  # without a size it is no sparse file
        assert unpacked(tmp_path, into, packed) == {"s": b"data"}


def test_a_program_stays_in_its_directory_when_a_link_takes_the_place_of_that(tmp_path: Path) -> None:
    """Who owns the directory above may do that at any time."""
    hidden, elsewhere = tmp_path / "hidden", tmp_path / "elsewhere"
    for directory in (hidden, elsewhere):
        directory.mkdir()
    (elsewhere / "result").write_bytes(b"nobody's business")
    above = os.open(hidden, os.O_RDONLY)
    output = Output(above, Budget(Limits(), 1, 2**30), sync=False)
    try:
        (hidden / "scratch").rename(hidden / "before")
        (hidden / "scratch").symlink_to(elsewhere)
        with pytest.raises(BadArchive, match="left no"):
            output.adopt("result", "result")
        subprocess.run(["touch", "made"], cwd=output.scratch, check=True, timeout=60)
        assert [path.name for path in elsewhere.iterdir()] == ["result"] and (hidden / "before" / "made").exists()
    finally:
        output.close()
        os.close(above)


@pytest.mark.skipif(os.geteuid() != 0, reason="nobody else can make a directory of another user")
def test_no_program_runs_in_a_directory_of_another_user(tmp_path: Path) -> None:
    theirs, ours = tmp_path / "theirs", tmp_path / "ours"
    for directory in (theirs, ours):
        directory.mkdir()
    os.chown(theirs, 12345, 12345)
    above = os.open(tmp_path, os.O_RDONLY)
    with closing(above), closing(own_directory(above, "ours")), pytest.raises(Denied, match="another user"):
        own_directory(above, "theirs")
    assert not list(theirs.iterdir()) and not list(ours.iterdir())


# --- zip

def changed(packed: bytes, mark: bytes, offset: int, value: bytes, *, last: bool = True) -> bytes:
    at = (packed.rindex(mark) if last else packed.index(mark)) + offset
    return packed[:at] + value + packed[at + len(value):]


CENTRAL, LOCAL, END = b"PK\1\2", b"PK\3\4", b"PK\5\6"
PLAIN_ZIP = zip_of({"first": b"first data", "second": b"second data"}, 0)


def zip_with_mode(mode: int) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        archive.writestr("good", b"1")
        info = zipfile.ZipInfo("odd")
        info.create_system, info.external_attr = 3, mode << 16
        archive.writestr(info, "../precious")
    return held.getvalue()


BAD_ZIPS = {
    "symlink": (zip_with_mode(0o120777), "symbolic link"),
    "fifo": (zip_with_mode(0o010644), "special file"),
    "directory without a slash": (zip_with_mode(0o040755), "directory and a file"),
    "setuid": (zip_with_mode(0o104755), "setuid"),
    "encrypted": (changed(PLAIN_ZIP, CENTRAL, 8, b"\1"), "encrypted"),
    "lzma": (zip_of({"a": b"a" * 99}, zipfile.ZIP_LZMA), "method 14"),
    "wrong checksum": (changed(PLAIN_ZIP, CENTRAL, 16, b"\0\0\0\0"), "checksum"),
    "longer than said": (changed(PLAIN_ZIP, CENTRAL, 24, b"\1\0\0\0"), "longer"),
    "shorter than said": (changed(PLAIN_ZIP, CENTRAL, 24, b"\xff\0\0\0"), "length or checksum"),
    "other name in the header": (changed(PLAIN_ZIP, LOCAL, 30, b"x"), "different things"),
    "header elsewhere": (changed(PLAIN_ZIP, CENTRAL, 42, b"\5\0\0\0"), "not where"),
    "header behind the end": (changed(PLAIN_ZIP, CENTRAL, 42, b"\0\xff\xff\x7f"), "not where"),
    "twice the same place": (changed(zip_of({"a": b"1", "b": b"1"}), CENTRAL, 42, bytes(4) + b"a"), "one place"),
    "overlap": (changed(PLAIN_ZIP, CENTRAL, 20, b"\xff\0\0\0", last=False), "overlap"),
    "several disks": (changed(PLAIN_ZIP, END, 4, b"\1\0"), "several disks"),
    "wrong place of the directory": (changed(PLAIN_ZIP, END, 16, b"\1\0\0\0"), "not where"),
    "more members than there can be": (changed(PLAIN_ZIP, END, 8, b"\xf0\xf0\xf0\xf0"), "not where"),
    "more members than it says": (changed(PLAIN_ZIP, END, 8, b"\1\0\1\0"), "more members than it says"),
    "another mark in the directory": (changed(PLAIN_ZIP, CENTRAL, 0, b"PK\1\1"), "damaged directory"),
    "64-bit sizes that are missing": (changed(PLAIN_ZIP, CENTRAL, 24, b"\xff\xff\xff\xff"), "64-bit"),
    "64-bit end that is missing": (changed(PLAIN_ZIP, END, 16, b"\xff\xff\xff\xff"), "64-bit"),
    "bytes before it": (b"#!/bin/sh\n" + PLAIN_ZIP, "not where"),
    "bytes behind it": (PLAIN_ZIP + b"x", "no end record"),
    "two of one name": (zip_of({"a": b"1", "./a": b"2"}), "have this name"),
}


@pytest.mark.parametrize("case", BAD_ZIPS)
def test_zip_archives_that_are_refused(case: str, tmp_path: Path, into: Path) -> None:
    packed, match = BAD_ZIPS[case]
    refused(tmp_path, into, packed, match, file="bad.zip")


def test_zip_archives_of_64_bits_with_comments_and_directories(tmp_path: Path, into: Path) -> None:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.comment = b"PK\5\6 a comment that looks like an end" + bytes(30)
        archive.mkdir("empty") if hasattr(archive, "mkdir") else archive.writestr("empty/", b"")
        with archive.open("wide", "w", force_zip64=True) as file:
            file.write(b"wide" * 1000)
        archive.writestr("plain m\u00fc", b"plain")
    assert unpacked(tmp_path, into, held.getvalue(), file="a.zip") == {"wide": b"wide" * 1000, "plain m\u00fc": b"plain"}
    assert (into / "empty").is_dir()


def with_64_bit_end(packed: bytes, *, full: bool) -> bytes:
    """The same archive with the end record of large ones."""
    at = packed.rindex(END)
    _, _, _, here, count, size, offset, _ = struct.unpack("<4s4H2LH", packed[at:])
    wide = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, here, count, size, offset)
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, at, 1)
    end = packed[at:]
    if full:
        end = struct.pack("<4s4H2LH", END, 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    return packed[:at] + wide + locator + end


@pytest.mark.parametrize("full", [True, False])
def test_the_64_bit_end_of_a_zip_archive(full: bool, tmp_path: Path, into: Path) -> None:
    packed = with_64_bit_end(PLAIN_ZIP, full=full)
    assert zipfile.ZipFile(io.BytesIO(packed)).testzip() is None
    assert unpacked(tmp_path, into, packed, file="a.zip") == {"first": b"first data", "second": b"second data"}
    refused(tmp_path, into, changed(packed, b"PK\6\7", 8, b"\xff" * 8), "64-bit", file="b.zip")
    refused(tmp_path, into, changed(packed, b"PK\6\6", 32, b"\xff" * 8), "several disks|members", file="b.zip")


@pytest.mark.parametrize("level", ["-0", "-9"])
def test_what_the_zip_program_writes(level: str, tmp_path: Path, into: Path) -> None:
    program = need_program("zip", "zip")
    source = tmp_path / "source"
    (source / "sub").mkdir(parents=True)
    (source / "sub" / "m\u00fcsli.txt").write_bytes(b"words " * 500)
    (source / "run").write_bytes(b"1")
    (source / "run").chmod(0o755)
    environment = {**os.environ, "LC_ALL": "C.UTF-8"}
    subprocess.run([program, "-qr", level, "../made.zip", "."], cwd=source, check=True, timeout=60, env=environment)
    assert unpacked(tmp_path, into, (tmp_path / "made.zip").read_bytes(), file="made.zip") == files_of(source)
    assert stat.S_IMODE((into / "run").stat().st_mode) == 0o755


# --- what the disk does, call by call

TRACED = """
import sys
from trollmoves.errors import MoveError
from trollmoves.unpacking import unpack
try:
    unpack(sys.argv[1], "tar", into=sys.argv[2], sync=True)
    print("unpacked")
except MoveError as error:
    print(type(error).__name__)
"""
RENAMES = "rename,renameat,renameat2"


def traced(tmp_path: Path, into: Path, *words: str) -> tuple[str, list[str]]:
    """How unpacking five files ended under strace, and the system calls of the kinds that count here."""
    path, log = tmp_path / "five.tar", tmp_path / "calls"
    path.write_bytes(tar_of({"a": b"1", "b": b"2", "d/e": b"3", "d/f": b"4", "g/h": b"5"}))
    trace = [need_program("strace", "strace"), "-f", "-o", str(log), "-e", f"trace=fsync,{RENAMES}", *words, "--"]
    done = subprocess.run([*trace, sys.executable, "-B", "-c", TRACED, str(path), str(into)], capture_output=True, text=True,
                          env=clean_environment({"PYTHONPATH": str(CHECKOUT)}), timeout=100)
    if "PTRACE" in done.stderr:
        unavailable(done.stderr)
    assert done.returncode == 0, done.stderr
    calls = [line.split("(")[0].split()[-1].rstrip("at2") for line in log.read_text().splitlines() if "(" in line]
    return done.stdout.strip(), calls


def test_members_are_on_the_disk_before_they_are_visible_and_their_directories_after(tmp_path: Path, into: Path) -> None:
    outcome, calls = traced(tmp_path, into)
    assert outcome == "unpacked" and calls.count("rename") == 5
    first, last = calls.index("rename"), len(calls) - 1 - calls[::-1].index("rename")
    assert calls[:first].count("fsync") >= 5 and calls[last + 1:] == ["fsync"]
    assert calls.count("fsync") == 5 + 2 + 3  # members, directories above new ones, directories of members


@pytest.mark.parametrize(("rename", "kept"), [(1, b"older"), (3, b"older"), (5, b"5")])
def test_a_rename_that_fails_takes_back_all_new_files(rename: int, kept: bytes, tmp_path: Path, into: Path) -> None:
    (into / "g").mkdir()
    (into / "g" / "h").write_bytes(b"older")  # replaced by the third rename, which is not taken back: it is whole
    outcome, calls = traced(tmp_path, into, "-e", f"inject={RENAMES}:error=ENOSPC:when={rename}")
    assert outcome == "DestinationFull" and calls.count("rename") == rename
    assert state_of(into) == {"g/": b"", "g/h": kept}


@pytest.mark.parametrize("fsync", [1, 5])
def test_a_failed_fsync_is_a_failed_attempt(fsync: int, tmp_path: Path, into: Path) -> None:
    outcome, calls = traced(tmp_path, into, "-e", f"inject=fsync:error=EIO:when={fsync}")
    assert outcome == "TemporaryError" and "rename" not in calls
    assert not state_of(into)


# --- bombs, and the memory they take

MEASURED = """
import sys
from trollmoves.errors import MoveError
from trollmoves.unpacking import Limits, unpack

def peak():  # what getrusage tells begins with the memory of the process that started this one
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
before = peak()
try:
    unpack(sys.argv[1], sys.argv[2], into=sys.argv[3], limits=Limits(max_unpacked=int(sys.argv[4])))
    print("unpacked")
except MoveError as error:
    print(type(error).__name__)
print((peak() - before) * 1024)
"""


def measured(path: Path, name: str, into: Path, most: int) -> tuple[str, int]:
    """How unpacking in a process of its own ended, and by how many bytes its memory grew."""
    argv = [sys.executable, "-c", MEASURED, str(path), name, str(into), str(most)]
    done = subprocess.run(argv, env=clean_environment({"PYTHONPATH": str(CHECKOUT)}), capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    outcome, grown = done.stdout.split()
    return outcome, int(grown)


ZEROS = 64 * 2**20
BOMBS: dict[str, tuple[str, str, Callable[[], bytes]]] = {
    "bzip2": ("bz2", "b.bz2", lambda: bz2.compress(bytes(ZEROS), 9)),
    "xz": ("xz", "b.xz", lambda: lzma.compress(bytes(ZEROS), preset=0)),
    "zstd": ("zstd", "b.zst", lambda: zstd(bytes(ZEROS))),
    "zip with bzip2": ("zip", "b.zip", lambda: zip_of({"a": bytes(ZEROS)}, zipfile.ZIP_BZIP2)),
    "zip": ("zip", "b.zip", lambda: zip_of({"a": bytes(ZEROS)})),
    "zip, endless names": ("zip", "b.zip", lambda: zip_of({f"{number}\U0001f600" + "n" * 60_000: b"" for number in range(400)})),
    "tar of one file": ("tar", "b.tar.zst", lambda: zstd(tar_of({"a": bytes(ZEROS)}))),
    "tar, endless header": ("tar", "b.tar.zst", lambda: zstd(tar([entry("p", bytes(ZEROS), tarfile.XHDTYPE)]))),
    "tar, endless end": ("tar", "b.tar.zst", lambda: zstd(tar([entry("a")]) + bytes(ZEROS))),
}


@pytest.mark.parametrize("case", BOMBS)
def test_bombs_stop_at_the_limit_and_take_little_memory(case: str, tmp_path: Path, into: Path) -> None:
    name, file, make = BOMBS[case]
    path = tmp_path / file
    path.write_bytes(make())
    outcome, grown = measured(path, name, into, 20 * 2**20)
    assert outcome == "BadArchive" and not state_of(into)
    assert grown < 40 * 2**20
    if "endless" not in case:
        outcome, grown = measured(path, name, into, 200 * 2**20)
        assert outcome == "unpacked" and grown < 40 * 2**20


def test_a_lie_about_the_size_in_a_zip_archive_writes_no_more_than_it_says(tmp_path: Path, into: Path) -> None:
    packed = changed(zip_of({"a": bytes(10**7)}), CENTRAL, 24, struct.pack("<L", 100))
    refused(tmp_path, into, packed, "longer", file="lie.zip", limits=Limits(max_unpacked=10_000))


def test_windows_that_need_too_much_memory_are_refused(tmp_path: Path, into: Path) -> None:
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 6, "dict_size": 2**28}]
    refused(tmp_path, into, lzma.compress(tar([entry("a")]), filters=filters), "(?i)memory", file="wide.tar.xz")


# --- anything at all

PIECES = st.sampled_from(["a", "b", "..", ".", "/", "//", "c" * 300, "\u00fc", "\n", " ", "-rf", "~", "$HOME", ".unpack-",
                          "\udcff"])
ANY_NAME = st.lists(PIECES, min_size=1, max_size=5).map("".join)
ANY_KIND = st.sampled_from([tarfile.REGTYPE] * 8 + [tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, b"\0"])
ANY_ENTRY = st.builds(lambda name, data, kind: entry(name, data if kind in (b"0", b"\0") else b"", kind, linkname="../precious"),
                      ANY_NAME, st.binary(max_size=700), ANY_KIND)
FORMS = st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
MANY = settings(max_examples=60)


def outcome_of(packed: bytes, file: str, name: str) -> dict[str, bytes] | None:
    """The files that came out, or none when it was refused; everything around must be as it was."""
    with tempfile.TemporaryDirectory() as place:
        top = Path(place)
        into = top / "neighbour" / "into"
        into.mkdir(parents=True)
        (top / "neighbour" / "precious").write_bytes(b"precious")
        path = top / file
        path.write_bytes(packed)
        try:
            members = unpack(str(path), name, into=str(into))
        except BadArchive:
            assert not state_of(into)
            members = []
        found = {member.relative: Path(member.path).read_bytes() for member in members}
        assert files_of(into) == found
        assert files_of(top).keys() - {f"neighbour/into/{key}" for key in found} == {"neighbour/precious", file}
        assert (top / "neighbour" / "precious").read_bytes() == b"precious"
        return found if members else None


def not_empty(files: dict[str, bytes]) -> dict[str, bytes]:
    return {name: data for name, data in files.items() if data}


def in_text(name: str) -> str:
    """As Latin-1 where it is no UTF-8."""
    try:
        return name.encode().decode()
    except UnicodeEncodeError:
        return os.fsencode(name).decode("latin-1")


@given(st.lists(ANY_ENTRY, max_size=6), FORMS)
@MANY
def test_any_tar_archive_is_unpacked_whole_or_refused(entries: list[Entry], form: int) -> None:
    found = outcome_of(tar(entries, form), "any.tar", "tar")
    if found is not None:
        assert all(info.type in (b"0", b"\0", b"5") for info, _ in entries)
        files = [(in_text(os.path.normpath(info.name)), data) for info, data in entries
                 if info.type == b"0" or info.name[-1:] != "/"]
        assert {name: data for name, data in files if name in found and data} == not_empty(found)


@given(st.dictionaries(ANY_NAME.filter(lambda name: name.isprintable()), st.binary(max_size=700), max_size=5))
@MANY
def test_any_zip_archive_is_unpacked_whole_or_refused(members: dict[str, bytes]) -> None:
    found = outcome_of(zip_of(members), "any.zip", "zip")
    if found is not None:
        files = {os.path.normpath(name): data for name, data in members.items() if not name.endswith("/")}
        assert not_empty(found) == not_empty(files)


SEEDS = {"tar": ("x.tar", tar_of({"a": b"1" * 600, "d/b": b"2"})), "zip": ("x.zip", zip_of({"a": b"1" * 600, "d/b": b"2"})),
         "bz2": ("x.bz2", bz2.compress(b"1" * 600)), "zstd": ("x.zst", zstd(b"1" * 600)),
         "xz": ("x.xz", lzma.compress(b"1" * 600))}


@given(st.sampled_from(sorted(SEEDS)), st.lists(st.tuples(st.integers(0, 10**6), st.binary(min_size=1, max_size=12)), max_size=4))
@MANY
def test_damage_anywhere_is_no_crash_and_leaves_nothing(name: str, changes: list[tuple[int, bytes]]) -> None:
    file, seed = SEEDS[name]
    packed = bytearray(seed)
    for position, data in changes:
        at = position % len(packed)
        packed[at:at + len(data)] = data
    outcome_of(bytes(packed), file, name)


@given(st.sampled_from(sorted(SEEDS)), st.binary(max_size=2000))
@MANY
def test_any_bytes_are_no_crash(name: str, packed: bytes) -> None:
    outcome_of(packed, SEEDS[name][0], name)


# --- xRIT

RESULT = f"{NAME}__"
GOOD = segment(PIXELS, name=b"__")


@pytest.fixture
def packed_segment(tmp_path: Path) -> Path:
    path = tmp_path / "in put" / f"{NAME}C_"
    path.parent.mkdir()
    path.write_bytes(segment(PIXELS[:200], lines=40, compression=1))
    (tmp_path / "good").write_bytes(GOOD)
    return path


def program(tmp_path: Path, text: str, interpreter: str = "/bin/sh") -> str:
    path = tmp_path / "decompress it"
    path.write_text(f"#!{interpreter}\n{text}\n")
    path.chmod(0o755)
    return str(path)


def xrit(path: Path, into: Path, **options: object) -> list[Unpacked]:
    return unpack(str(path), "xrit", into=str(into), options=Options(**options))  # type: ignore[arg-type]


def test_a_program_gets_the_path_alone_in_a_directory_of_its_own(tmp_path: Path, into: Path, packed_segment: Path,
                                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLANTED_SECRET", "hunter2")
    text = f'(pwd; printf "%s\\n" "$@"; env; ulimit -c) > "{tmp_path}/log"' \
           f'\ncp "{tmp_path}/good" "$(basename "${{1%C_}}")__"; touch other'
    members = xrit(packed_segment, into, program=program(tmp_path, text))
    assert [(member.uid, member.relative, member.path) for member in members] == [(RESULT, RESULT, str(into / RESULT))]
    assert state_of(into) == {RESULT: GOOD}
    directory, argument, *rest = (tmp_path / "log").read_text().splitlines()
    assert directory.startswith(str(into / ".unpack-")) and argument == str(packed_segment) and rest[-1] == "0"
    assert "hunter2" not in (tmp_path / "log").read_text()


def test_words_before_the_path_and_a_program_named_by_the_environment(tmp_path: Path, into: Path, packed_segment: Path,
                                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    text = f'test "$#" = "$WANTED"; cp "{tmp_path}/good" {RESULT}; test "$1" = -q'
    found = program(tmp_path, text)
    assert xrit(packed_segment, into, program=[found, "-q"])
    (into / RESULT).unlink()
    monkeypatch.setenv("XRIT_DECOMPRESS_PATH", program(tmp_path, f'cp "{tmp_path}/good" {RESULT}'))
    assert xrit(packed_segment, into)


PROGRAMS = {
    "no result": ("true", "left no 'H-000"),
    "failure": ("echo 'it\033 is broken' >&2; exit 3", "status 3 and said: it  is broken"),
    "signal": ("kill -SEGV $$", "SIGSEGV"),
    "link": (f'ln -s "$1" {RESULT}', "left no"),
    "fifo": (f"mkfifo {RESULT}", "no regular"),
    "directory": (f"mkdir {RESULT}", "no regular"),
    "empty": (f"touch {RESULT}", "has 0 bytes"),
    "garbage": (f"echo {'garbage' * 20} > {RESULT}", "no xRIT file"),
    "too large": (f"head -c 3000000 /dev/zero > {RESULT}", "SIGXFSZ|status"),
}
RESULTS = {
    "truncated": (GOOD[:-1], "truncated"),
    "another image": (segment(PIXELS[:160], name=b"__"), "not the image"),
    "still compressed": (segment(PIXELS, compression=1), "not the image"),
    "image without its bytes": (segment(PIXELS[:160], lines=40), "not the image"),
    "no image at all": (b"\0\0\x10\0\0\0\0\x10" + bytes(8), "not the image"),
}


@pytest.mark.parametrize("case", PROGRAMS)
def test_programs_that_fail(case: str, tmp_path: Path, into: Path, packed_segment: Path) -> None:
    text, match = PROGRAMS[case]
    with pytest.raises(BadArchive, match=match) as caught:
        unpack(str(packed_segment), "xrit", into=str(into), limits=Limits(max_unpacked=2_000_000),
               options=Options(program=program(tmp_path, text), delete=True))
    assert "\033" not in str(caught.value)
    assert not state_of(into) and packed_segment.exists()


@pytest.mark.parametrize("case", RESULTS)
def test_results_that_are_not_the_image(case: str, tmp_path: Path, into: Path, packed_segment: Path) -> None:
    result, match = RESULTS[case]
    (tmp_path / "good").write_bytes(result)
    with pytest.raises(BadArchive, match=match):
        xrit(packed_segment, into, program=program(tmp_path, f'cp "{tmp_path}/good" {RESULT}'))
    assert not state_of(into)


def test_limits_on_programs(tmp_path: Path, into: Path, packed_segment: Path) -> None:
    with pytest.raises(Stalled, match="within 0.5 seconds"):
        xrit(packed_segment, into, timeout=0.5, program=program(tmp_path, f'echo $$ > "{tmp_path}/pid"; sleep 600 & wait'))
    if (tmp_path / "pid").exists():
        with pytest.raises(ProcessLookupError):
            os.kill(int((tmp_path / "pid").read_text()), 0)
    with pytest.raises(BadArchive, match="SIGXCPU"):
        xrit(packed_segment, into, cpu_seconds=1, program=program(tmp_path, "while :; do :; done"))
    with pytest.raises(BadArchive, match="MemoryError"):
        xrit(packed_segment, into, memory=2**28, program=program(tmp_path, "b = bytearray(2**30)", sys.executable))
    assert not state_of(into)


@pytest.mark.parametrize("number", ["KILL", "TERM", "INT", "HUP"])
def test_a_program_that_somebody_ended_says_nothing_of_the_file(tmp_path: Path, into: Path, packed_segment: Path,
                                                                number: str) -> None:
    with pytest.raises(TemporaryError, match=f"SIG{number}"):
        xrit(packed_segment, into, program=program(tmp_path, f"kill -{number} $$"))
    assert not state_of(into)


def test_a_packed_file_replaced_meanwhile_is_said(tmp_path: Path, into: Path, packed_segment: Path) -> None:
    text = f'cp "{tmp_path}/good" {RESULT}; cp "$1" "$1.new"; mv "$1.new" "$1"'
    with pytest.raises(OriginChanged):
        xrit(packed_segment, into, program=program(tmp_path, text))
    assert not state_of(into)


def test_a_program_that_is_not_there(into: Path, packed_segment: Path) -> None:
    with pytest.raises(DestinationInvalid, match="no such program"):
        xrit(packed_segment, into, program="./no-such-decompressor")


@pytest.mark.parametrize("content", [b"", b"garbage" * 100, GOOD[:-1], segment(PIXELS)[:40]])
def test_what_is_no_segment_does_not_reach_a_program(content: bytes, tmp_path: Path, into: Path, packed_segment: Path) -> None:
    packed_segment.write_bytes(content)
    with pytest.raises(BadArchive, match="no xRIT file|truncated"):
        xrit(packed_segment, into, program=program(tmp_path, f'touch "{tmp_path}/ran"'))
    assert not (tmp_path / "ran").exists()


def test_the_library_reports_damage_that_it_prints_only(into: Path, packed_segment: Path) -> None:
    pytest.importorskip("pyPublicDecompWT")
    with pytest.raises(BadArchive, match="status 1"):  # marked as compressed, but the bytes are no such stream
        xrit(packed_segment, into)
    assert not state_of(into)


def test_decompressed_segments_pass_through(tmp_path: Path, into: Path) -> None:
    path = tmp_path / RESULT
    path.write_bytes(GOOD)
    assert xrit(path, into, delete=True) == [] and path.exists()


# --- messages, as upstream 0.19 was seen to write them

ONE = [Unpacked("/d/a.txt", "a.txt", "a.txt", 3)]
TWO = [Unpacked("/d/b.txt", "b.txt", "b.txt", 3), Unpacked("/d/e/c.txt", "c.txt", "e/c.txt", 3)]
FILES = [{"uid": "b.txt", "uri": "/d/b.txt"}, {"uid": "c.txt", "uri": "/d/e/c.txt"}]
MESSAGES = {
    "one member": ({"uid": "a.tar", "uri": "ssh://h/a.tar", "k": 1}, "file", {"uid": "a.txt", "uri": "/d/a.txt", "k": 1}),
    "several members": ({"uid": "b.tar", "uri": "ssh://h/b.tar", "k": 1, "origin": "h:1"}, "dataset",
                        {"k": 1, "origin": "h:1", "dataset": FILES}),
    "another file": ({"uid": "c.png", "uri": "ssh://h/c.png"}, "file", {"uid": "c.png", "uri": "ssh://h/c.png"}),
    "dataset": ({"dataset": [{"uid": "a.tar", "uri": "x", "s": 1}, {"uid": "b.tar", "uri": "y", "s": 2}], "k": 1}, "dataset",
                {"dataset": [{"uid": "a.txt", "uri": "/d/a.txt", "s": 1}, {"s": 2, "dataset": FILES}], "k": 1}),
    "collection": ({"collection": [{"dataset": [{"uid": "a.tar", "uri": "x"}], "start": 1}, {"uid": "b.tar", "uri": "y"}]},
                   "collection",
                   {"collection": [{"dataset": [{"uid": "a.txt", "uri": "/d/a.txt"}], "start": 1}, {"dataset": FILES}]}),
}


@pytest.mark.parametrize("case", MESSAGES)
def test_messages_after_unpacking(case: str) -> None:
    data, kind, expected = MESSAGES[case]
    before = repr(data)
    assert unpacked_message_data(data, {"a.tar": ONE, "b.tar": TWO}) == (kind, expected)
    assert repr(data) == before


def test_uris_of_members_can_be_composed() -> None:
    _, data = unpacked_message_data({"uid": "b.tar", "uri": "y"}, {"b.tar": TWO}, lambda member: f"ssh://h/in/{member.relative}")
    assert [item["uri"] for item in data["dataset"]] == ["ssh://h/in/b.txt", "ssh://h/in/e/c.txt"]


# --- the table

def test_the_table() -> None:
    assert known_unpackers() == ["bz2", "bzip", "bzip2", "gzip", "tar", "xrit", "xz", "zip", "zstd"]
    with pytest.raises(ConfigurationError, match="did you mean bzip2"):
        unpacker_for("bzip22")
    endings = {"tar": ".tar .tar.gz .tgz .tar.bz2 .tar.xz .tar.zst", "bzip": ".bz2", "xrit": "C_", "zip": ".zip", "gzip": ".gz"}
    assert all(is_packed(f"/a/b{ending}", name) for name, text in endings.items() for ending in text.split())
    assert not is_packed("/a/b__", "xrit") and not is_packed("/a/b.TAR", "tar") and not is_packed("/a.tar/b", "tar")


OUTSIDE = '''
from trollmoves.unpacking import Unpacker

def reverse(packed, output, options):
    import os
    with output.file(packed.name.removesuffix(".rev")) as member:
        member.write(os.pread(packed.descriptor, packed.size, 0)[::-1])

REVERSED = Unpacker((".rev",), reverse)

def make():
    return REVERSED
'''


@pytest.mark.parametrize("value", ["REVERSED", "make"])
def test_unpackers_from_outside_join(value: str, tmp_path: Path, into: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = f"outside_{value.lower()}"
    (tmp_path / f"{module}.py").write_text(OUTSIDE)
    information = tmp_path / f"{module}-1.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1\n")
    lines = ["[trollmoves.unpackers]", f"reversed = {module}:{value}", "gone = no_such_module_at_all:X", ""]
    (information / "entry_points.txt").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(tmp_path)
    assert "reversed" in known_unpackers()
    (tmp_path / "word.rev").write_bytes(b"olleh")
    assert [member.uid for member in unpack(str(tmp_path / "word.rev"), "reversed", into=str(into))] == ["word"]
    assert state_of(into) == {"word": b"hello"}
    with pytest.raises(MissingLibrary, match="no_such_module_at_all"):
        unpacker_for("gone")


def test_the_disk_speaks_for_itself(tmp_path: Path, into: Path) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(tar([entry("a")]))
    os.mkfifo(tmp_path / "fifo.tar")
    with pytest.raises(BadArchive, match="no regular file"):
        unpack(str(tmp_path / "fifo.tar"), "tar", into=str(into))
    with pytest.raises(DestinationInvalid, match="Not a directory"):
        unpack(str(path), "tar", into=str(path))


def test_another_file_than_the_one_that_was_meant_is_not_unpacked(into: Path) -> None:
    packed = into / "words.bz2"
    packed.write_bytes(bz2.compress(b"meant"))
    meant = packed.stat().st_ino
    packed.rename(into / "kept")
    packed.write_bytes(bz2.compress(b"other"))
    with pytest.raises(OriginChanged, match="another file"):
        unpack(str(packed), "bzip2", is_meant=lambda status: status.st_ino == meant)
    assert sorted(path.name for path in into.iterdir()) == ["kept", "words.bz2"]
    (into / "kept").rename(packed)
    assert unpack(str(packed), "bzip2", is_meant=lambda status: status.st_ino == meant)
    assert (into / "words").read_bytes() == b"meant"


@pytest.mark.parametrize("kind", ["tar", "xrit"])
def test_a_link_that_takes_the_place_of_the_directory_leads_nowhere(kind: str, tmp_path: Path) -> None:
    """Who owns the directory above may put one there between any two steps of ours."""
    theirs, elsewhere, moved = (tmp_path / name for name in ("theirs", "elsewhere", "moved"))
    theirs.mkdir()
    compressed = segment(PIXELS[:200], lines=40, compression=1)
    name, packed = ("x.tar", tar_of({"x": b"x"})) if kind == "tar" else (f"{NAME}C_", compressed)
    path = theirs / name
    path.write_bytes(packed)
    (elsewhere / hidden_name(str(path)) / "scratch").mkdir(parents=True)
    os.link(path, elsewhere / name)  # so that nothing but the directory is another one
    before = state_of(elsewhere)
    (tmp_path / "good").write_bytes(GOOD)

    def swapped(_: os.stat_result) -> bool:
        if not moved.exists():
            theirs.rename(moved)
            theirs.symlink_to(elsewhere)
        return True
    unpack(str(path), kind, is_meant=swapped, options=Options(program=program(tmp_path, f'cp "{tmp_path}/good" {RESULT}')))
    assert state_of(elsewhere) == before
    assert set(state_of(moved)) == {name, "x" if kind == "tar" else RESULT}


@pytest.mark.parametrize("beside", [True, False])
def test_below_a_directory_of_others_no_link_leads_elsewhere(beside: bool, tmp_path: Path) -> None:
    """Members took the places of files in a directory that everybody may write to, where the packed file had a second name."""
    origin, theirs, elsewhere = tmp_path / "origin", tmp_path / "origin/theirs", tmp_path / "elsewhere"
    elsewhere.mkdir()
    origin.mkdir()
    theirs.symlink_to(elsewhere)
    (elsewhere / "x.tar").write_bytes(tar_of({"precious": b"other"}))
    (elsewhere / "precious").write_bytes(b"kept")
    into = None if beside else str(tmp_path)
    with pytest.raises(OriginGone):
        unpack(str(theirs / "x.tar"), "tar", into=into, within=str(origin))
    with pytest.raises(OriginGone):
        list_names(str(theirs / "x.tar"), "tar", lambda status: True, str(origin))
    assert (elsewhere / "precious").read_bytes() == b"kept"
    assert not (tmp_path / "precious").exists()
    theirs.unlink()
    elsewhere.rename(theirs)
    assert list_names(str(theirs / "x.tar"), "tar", lambda status: True, str(origin)) == ("precious",)
    assert [member.relative for member in unpack(str(theirs / "x.tar"), "tar", into=into, within=str(origin))] == ["precious"]


def test_a_link_that_takes_the_place_of_the_packed_file_is_not_followed(tmp_path: Path, into: Path) -> None:
    """One to a file of the same size and time on another disk passed for the one that was meant: inodes do not count there."""
    (tmp_path / "private.tar").write_bytes(tar_of({"secret": b"secret"}))
    (into / "x.tar").symlink_to(tmp_path / "private.tar")
    for unpacked in (lambda: unpack(str(into / "x.tar"), "tar", is_meant=lambda status: True),
                     lambda: list_names(str(into / "x.tar"), "tar", lambda status: True)):
        with pytest.raises(OriginChanged, match="a link has taken its place"):
            unpacked()
    assert not (into / "secret").exists()


def test_directories_without_end_in_the_place_of_the_hidden_one_end_nothing(into: Path) -> None:
    """Nothing that anybody's move had left was removed any more."""
    packed = into / "x.tar"
    packed.write_bytes(tar_of({"x": b"x"}))
    (into / ".unpack-0123").mkdir()
    hidden = into / hidden_name(str(packed))
    hidden.mkdir()
    directory = os.open(hidden, os.O_RDONLY)
    for _ in range(2000):
        os.mkdir("a", dir_fd=directory)
        with closing(directory):
            directory = os.open("a", os.O_RDONLY, dir_fd=directory)
    os.close(directory)
    try:
        # From 3.13 on the library removes directories of any depth.
        with pytest.raises(Denied, match="nested too deep") if sys.version_info < (3, 13) else nullcontext():
            unpack(str(packed), "tar")
        remove_leftovers(str(into), 0)
        assert not (into / ".unpack-0123").exists()
    finally:
        subprocess.run(["rm", "-rf", str(hidden)], check=True)


def test_what_a_crash_left_goes_also_when_the_packed_file_has_gone_meanwhile(tmp_path: Path, into: Path) -> None:
    path = tmp_path / "x.tar"
    for directory in (into, tmp_path):
        left = directory / hidden_name(str(path)) / "members"
        left.mkdir(parents=True)
        (left / "half").write_bytes(b"half of it")
    with pytest.raises(OriginGone):
        unpack(str(path), "tar", into=str(into))
    with pytest.raises(OriginGone):
        unpack(str(path), "tar")
    assert not [name for name in state_of(tmp_path) if ".unpack-" in name]
    with pytest.raises(OriginGone):
        unpack(str(tmp_path / "never" / "there.tar"), "tar")


def cutting(path: Path) -> Callable[[os.stat_result], bool]:
    """Finds the file as it was meant, and has somebody write to it right after that."""
    meant = path.stat().st_size

    def is_meant(status: os.stat_result) -> bool:
        os.truncate(path, meant // 2)
        return status.st_size == meant
    return is_meant


@pytest.mark.parametrize("kind", ["bzip2", "tar"])
def test_a_packed_file_that_is_written_to_meanwhile_is_not_taken_for_a_damaged_one(kind: str, into: Path) -> None:
    packed = into / {"bzip2": "words.bz2", "tar": "words.tar"}[kind]
    packed.write_bytes(bz2.compress(b"meant") if kind == "bzip2" else tar([entry("words", b"meant" * 1000)]))
    with pytest.raises(OriginChanged, match="changed while"):
        unpack(str(packed), kind, is_meant=cutting(packed))
    assert [path.name for path in into.iterdir()] == [packed.name]
