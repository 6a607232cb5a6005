"""What announcements consist of, and where the files are here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from trollmoves.config.mirrors import MirrorSettings
from trollmoves.config.reading import read_mirror_config
from trollmoves.errors import DestinationInvalid
from trollmoves.mirror.mirror import mirror_name
from trollmoves.mirror.parts import Part, Store, parts_of


@pytest.mark.parametrize("fields, parts", [
    ({"uri": "/a/b.dat", "uid": "b.dat"}, [Part("b.dat", "b.dat", None)]),
    ({"uri": "file://host/a/b.dat"}, [Part("b.dat", "b.dat", None)]),
    ({"uri": "/a/b.dat", "uid": "day/b.dat", "path": "day"}, [Part("day/b.dat", "b.dat", "day")]),
    ({"dataset": [{"uri": "/a/1", "uid": "1"}, {"uri": "/b/2", "uid": "2"}]}, [Part("1", "1", None), Part("2", "2", None)]),
    ({"collection": [{"dataset": [{"uri": "/a/1", "uid": "1"}]}, {"uri": "/a/2", "uid": "2"}]},
     [Part("1", "1", None), Part("2", "2", None)]),
    ({"dataset": [{"uri": "/a/1", "uid": "x", "path": "x"}, {"uri": "/b/1", "uid": "y", "path": "y"}]},
     [Part("x", "1", "x"), Part("y", "1", "y")]),
    ({"uri": "/a/b", "uid": "b", "trollmoves": {"uri": "/etc/passwd"}}, [Part("b", "b", None)]),
])
def test_parts(fields: dict[str, Any], parts: list[Part]) -> None:
    assert list(parts_of(fields)) == parts


@pytest.mark.parametrize("fields", [
    {}, {"uid": "a"}, {"uri": "/a/"}, {"uri": "/a/.."}, {"uri": ""}, {"uri": "/a/b\0c"},
    {"uri": "/a/b", "path": "../c"}, {"uri": "/a/b", "path": "/c"}, {"uri": "/a/b", "path": 3},
    {"dataset": [{"uri": "/a/1", "uid": "1"}, {"uri": "/b/1", "uid": "2"}]},
    {"dataset": [{"uri": "/a/1", "uid": "1"}, {"uri": "/b/2", "uid": "1"}]},
])
def test_what_cannot_be_mirrored(fields: dict[str, Any]) -> None:
    with pytest.raises(DestinationInvalid):
        parts_of(fields)


def settings(tmp_path: Path, **options: str) -> MirrorSettings:
    path = tmp_path / "mirror.ini"
    given = {"providers": "a:1", "request_port": "9095", **options}
    path.write_text("[one]\n" + "".join(f"{name} = {value}\n" for name, value in given.items()))
    configuration = read_mirror_config(path)
    configuration.require_all()
    return configuration.chains["one"]


@pytest.mark.parametrize("destination, options, root, place", [
    ("/data/mirror", {}, "/data/mirror", "/data/mirror/x/n"),
    ("file:///data/mirror/", {}, "/data/mirror", "/data/mirror/x/n"),
    ("sftp://me@here/data/{platform}/in", {}, "/data", "/data/x/n"),
    ("ftp://me@here/kept/", {"ftp_root": "/srv/ftp"}, "/srv/ftp/kept", "/srv/ftp/kept/x/n"),
    ("ftp://{host}/kept/", {"ftp_root": "/srv/ftp"}, "/srv/ftp", "/srv/ftp/x/n"),
])
def test_where_files_are(tmp_path: Path, destination: str, options: dict[str, str], root: str, place: str) -> None:
    store = Store(settings(tmp_path, destination=destination, **options).front)
    assert store.root == root
    below = place.removeprefix(options.get("ftp_root", "")).removesuffix("n")
    assert store.path_of(below, Part("u", "n", None)) == place
    assert store.path_of(below, Part("u", "n", "deep")) == place.removesuffix("n") + "deep/n"


def test_mirrors_have_different_names_that_last(tmp_path: Path) -> None:
    one, other = mirror_name(tmp_path / "a.journal"), mirror_name(tmp_path / "b.journal")
    assert one != other and one == mirror_name(tmp_path / "." / "a.journal")
    assert one.startswith("m:") and len(one) == 18
