"""The mover of examples/sample_mover, installed: it joins, keeps the promises of all movers and its own."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from tests.contract.movers import LocalPlace, MoverContract, content_of, deliver, make, session_of
from tests.support.programs import CHECKOUT, clean_environment
from tests.support.unavailable import unavailable
from trollmoves.errors import ConnectionLost, DestinationInvalid, Unreachable
from trollmoves.movers.base import Mover, SessionSettings

SAMPLE = CHECKOUT / "examples" / "sample_mover"
BUILD = "import setuptools; setuptools.setup()"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder to put on the path: the module and the metadata with its entry point, as setuptools makes them."""
    if subprocess.run([sys.executable, "-c", "import setuptools"], capture_output=True).returncode:
        unavailable("setuptools is not installed")
    source, target = tmp_path_factory.mktemp("source") / "sample", tmp_path_factory.mktemp("site")
    shutil.copytree(SAMPLE, source, ignore=shutil.ignore_patterns("*.egg-info", "build", "__pycache__"))
    words = ["egg_info", "--egg-base", target, "build_py", "--build-lib", target]
    done = subprocess.run([sys.executable, "-c", BUILD, "-q", *words], cwd=source, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    return target


@pytest.fixture(scope="module")
def mover(installed: Path) -> Iterator[Mover]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(installed))
        yield import_module("trollmoves_archive").ArchiveMover()
        del sys.modules["trollmoves_archive"]


class ArchivePlace(LocalPlace):
    """A folder whose sidecars are no files of their own, but have to be right."""

    def names(self) -> set[str]:
        every = super().names()
        sidecars = {name for name in every if name.endswith(".sha256")}
        files = every - sidecars
        assert sidecars == {f"{name}.sha256" for name in files if not re.search(r"(^|/)\.|^small/filler$", name)}
        for name in sidecars:
            done = subprocess.run(["sha256sum", "--check", "--quiet", "--", Path(name).name], capture_output=True, text=True,
                                  cwd=(self.root / name).parent, timeout=60)
            assert done.returncode == 0, done.stderr + done.stdout
        return files


@pytest.fixture
def place(mover: Mover, tmp_path: Path) -> ArchivePlace:
    root = tmp_path / "archive"
    root.mkdir()
    return ArchivePlace(mover, f"archive://{root}/", SessionSettings(), root)


class TestSampleMover(MoverContract):
    many = 100

    def test_a_failed_rename_leaves_no_sidecar(self, place: ArchivePlace, tmp_path: Path) -> None:
        make(place.root / "final.dat" / "precious", b"1").rename(place.root / "precious")
        path = make(tmp_path / "origin.dat", b"1")
        with session_of(place) as session:
            (place.root / "temporary").write_bytes(b"1")
            with pytest.raises(DestinationInvalid):
                session.rename(f"{place.root}/temporary", f"{place.root}/final.dat")
        assert {entry.name for entry in place.root.iterdir()} == {"final.dat", "precious", "temporary"}
        assert path.exists()

    def test_nothing_is_written_while_the_archive_is_not_mounted(self, place: ArchivePlace, tmp_path: Path) -> None:
        marker = tmp_path / "marker"
        settings = SessionSettings(parameters={"archive_marker": str(marker)})
        path = make(tmp_path / "origin.dat", content_of(1000))
        with pytest.raises(Unreachable, match="not mounted"):
            deliver(place, path, settings=settings)
        marker.touch()
        with session_of(place, settings=settings) as session:
            assert session.is_alive()
            marker.unlink()
            assert not session.is_alive()
            with pytest.raises(ConnectionLost):
                session.make_directories(f"{place.root}/new")
        assert place.names() == set()
        marker.touch()
        deliver(place, path, settings=settings)
        assert place.names() == {"origin.dat"}


def test_the_readme_holds(installed: Path, tmp_path: Path) -> None:
    text = (SAMPLE / "README.md").read_text()
    blocks = {kind: re.findall(rf"^```{kind}\n(.*?)^```", text, re.MULTILINE | re.DOTALL) for kind in ("ini", "python")}
    for folder in ("/data/", "/mnt/archive/"):
        (tmp_path / folder.strip("/")).mkdir(parents=True)
    make(tmp_path / "data" / "out" / "product.nc", content_of(5000))
    (tmp_path / "mnt" / "archive" / ".mounted").touch()
    [section], [script] = ([block.replace("/data/", f"{tmp_path}/data/").replace("/mnt/", f"{tmp_path}/mnt/") for block in found]
                           for found in (blocks["ini"], blocks["python"]))
    assert tell(script, installed) == f"{tmp_path}/mnt/archive/hrit/\n"
    assert (tmp_path / "mnt" / "archive" / "hrit" / "product.nc").read_bytes() == content_of(5000)
    (tmp_path / "server.ini").write_text(section)
    check = "from trollmoves.cli.check import main; raise SystemExit(main([{!r}]))".format(f"{tmp_path}/server.ini")
    assert "all well" in tell(check, installed)
    (tmp_path / "server.ini").write_text(section.replace("archive_marker", "archive_market"))
    assert "did you mean 'archive_marker'?" in tell(check, installed)


def tell(script: str, installed: Path) -> str:
    """What a script prints where the sample is installed."""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=100, stdin=subprocess.DEVNULL,
                          env=clean_environment({"PYTHONPATH": f"{installed}:{CHECKOUT}"}))
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr
