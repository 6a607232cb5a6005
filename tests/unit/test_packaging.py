"""What is in the package, and in the distribution of its source."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.support.programs import CHECKOUT

BUILD = "from setuptools import build_meta; print(build_meta.build_{}('{}'))"
OF_OURS_ALONE = {".gitignore", ".pre-commit-config.yaml"}
"""What only a clone needs; so do the folders whose names begin with a dot."""


@pytest.fixture(scope="module")
def files() -> list[str]:
    """What belongs to the project: what git knows, and is still there."""
    if not (CHECKOUT / ".git").exists() or shutil.which("git") is None:
        pytest.skip("this is no clone")
    known = subprocess.run(["git", "-c", f"safe.directory={CHECKOUT}", "ls-files", "-z"], cwd=CHECKOUT, capture_output=True,
                           check=True, timeout=60).stdout.decode().split("\0")
    return [name for name in known if name and (CHECKOUT / name).is_file()]


@pytest.fixture(scope="module")
def exported(files: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy without git and without leftovers of earlier builds."""
    folder = tmp_path_factory.mktemp("exported")
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(CHECKOUT / name, folder / name)
    return folder


def build(kind: str, source: Path, place: Path) -> Path:
    command = [sys.executable, "-c", BUILD.format(kind, place)]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return place / done.stdout.splitlines()[-1]


def test_the_distribution_of_the_source_has_all_that_a_clone_has(exported: Path, files: list[str], tmp_path: Path) -> None:
    with tarfile.open(build("sdist", exported, tmp_path)) as archive:
        packed = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {name for name in files if not name.startswith((".github/", ".ci/"))} - OF_OURS_ALONE
    assert wanted - packed == set()


def test_the_wheel_has_the_whole_package_and_nothing_else(exported: Path, files: list[str], tmp_path: Path) -> None:
    with zipfile.ZipFile(build("wheel", exported, tmp_path)) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert packed == {name for name in files if name.startswith("trollmoves/")}
