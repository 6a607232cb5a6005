"""Which mover serves a scheme, ours and others', and what is said when a library is not there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.programs import CHECKOUT, clean_environment
from trollmoves.errors import DestinationInvalid, MissingLibrary
from trollmoves.movers.base import Mover
from trollmoves.movers.file import FileMover
from trollmoves.movers.registry import BUILT_IN, known_schemes, mover_for

THEIRS = """
from trollmoves.movers.file import FileMover
class TheirMover(FileMover):
    schemes = ("theirs",)
class NoMover:
    pass
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A third party's package with movers for the schemes of the test; returns the prefix of the schemes."""
    schemes = tmp_path.name.lower().replace("_", "-")
    (tmp_path / "their_movers.py").write_text(THEIRS)
    information = tmp_path / "their_movers-1.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: their-movers\nVersion: 1\n")
    (information / "entry_points.txt").write_text(
        f"[trollmoves.movers]\n{schemes}-good = their_movers:TheirMover\n{schemes}-wrong = their_movers:NoMover\n"
        f"{schemes}-broken = their_absent_library:Mover\nfile = their_movers:TheirMover\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    return schemes


@pytest.mark.parametrize("scheme", sorted(BUILT_IN))
def test_every_scheme_of_ours_has_its_mover(scheme: str) -> None:
    mover = mover_for(scheme)
    assert isinstance(mover, Mover)
    assert scheme in mover.schemes
    assert mover_for(scheme) is mover


def test_all_schemes_that_a_mover_names_lead_to_it() -> None:
    for scheme in BUILT_IN:
        for other in mover_for(scheme).schemes:
            assert type(mover_for(other)) is type(mover_for(scheme))


def test_an_unknown_scheme_names_those_that_are_known() -> None:
    with pytest.raises(DestinationInvalid, match="no mover for 'gopher'.*file, ftp, ftps"):
        mover_for("gopher")


def test_a_mover_of_others_joins_by_entry_point(installed: str) -> None:
    mover = mover_for(f"{installed}-good")
    assert type(mover).__name__ == "TheirMover"
    assert f"{installed}-good" in known_schemes()


def test_others_do_not_replace_ours(installed: str) -> None:
    assert type(mover_for("file")) is FileMover


def test_what_is_no_mover_is_refused(installed: str) -> None:
    with pytest.raises(DestinationInvalid, match="their_movers:NoMover"):
        mover_for(f"{installed}-wrong")


def test_a_mover_of_others_that_cannot_be_imported(installed: str) -> None:
    with pytest.raises(MissingLibrary, match="their_absent_library"):
        mover_for(f"{installed}-broken")


@pytest.mark.parametrize(("scheme", "library", "extra"), [
    ("sftp", "asyncssh", "ssh"), ("ssh", "asyncssh", "ssh"), ("s3", "botocore", "s3"),
])
def test_a_library_that_is_not_installed_is_named_with_its_extra(scheme: str, library: str, extra: str) -> None:
    program = (f"import sys; sys.modules[{library!r}] = None\n"
               f"from trollmoves.movers.registry import mover_for\n"
               f"from trollmoves.movers.base import SessionSettings\n"
               f"from trollmoves.uris import parse_destination\n"
               f"from trollmoves.errors import MissingLibrary\n"
               f"try: mover_for({scheme!r}).open(parse_destination('{scheme}://127.0.0.1:1/x'), SessionSettings())\n"
               f"except MissingLibrary as error: print(error)\n")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, cwd=CHECKOUT,
                          env=clean_environment())
    assert library in done.stdout and f"trollmoves[{extra}]" in done.stdout, done.stderr


def test_looking_up_the_names_imports_no_library() -> None:
    program = ("import sys\nfrom trollmoves.movers.registry import known_schemes, mover_for\nknown_schemes(); mover_for('file')\n"
               "print(sorted({'asyncssh', 'paramiko', 'botocore', 'boto3', 'httpx', 'ftplib'} & set(sys.modules)))")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, cwd=CHECKOUT,
                          env=clean_environment())
    assert done.stdout.strip() == "[]", done.stderr
