"""Connection parameters that no mover knows are named; where a mover of others says nothing, so does the check."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.config.conftest import Write
from trollmoves.config.reading import read_server_config

SECTION = "[s]\ntopic = /a\norigin = /d/{x}\n"
THEIRS = """
from trollmoves.movers.file import FileMover
from trollmoves.movers.parameters import Parameter
class Telling(FileMover):
    parameters = (Parameter("their_colour", "red", "how it looks"),)
class Silent(FileMover):
    parameters = None
"""


def warnings_of(path: Path) -> list[str]:
    configuration = read_server_config(path)
    assert configuration.problems == () and list(configuration.chains) == ["s"]
    return [warning.partition(": [s] ")[2] for warning in configuration.warnings]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for a package of others, on the path."""
    folder = tmp_path / "site"
    (folder / "others-1.dist-info").mkdir(parents=True)
    (folder / "others-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: others\nVersion: 1\n")
    (folder / f"others_{tmp_path.name}.py").write_text(THEIRS)
    monkeypatch.syspath_prepend(str(folder))
    return folder


def announce(folder: Path, name: str) -> None:
    module = next(folder.glob("others_*.py")).stem
    (folder / "others-1.dist-info" / "entry_points.txt").write_text(f"[trollmoves.movers]\n{module}-{name} = {module}:{name}\n")


def test_names_that_no_mover_knows_are_named_with_a_near_match(write: Write) -> None:
    path = write(SECTION + "connection_parameters__ssh_key_filenam = /x\nconnection_parameters__clien_kwargs__verify = off\n"
                 "connection_parameters__zzzzz = 1\nconnection_parameters__tls_ca_file = /y\n")
    assert warnings_of(path) == [
        "connection_parameters__ssh_key_filenam: is known to no mover and is ignored (did you mean 'ssh_key_filename'?)",
        "connection_parameters__clien_kwargs: is known to no mover and is ignored (did you mean 'client_kwargs'?)",
        "connection_parameters__zzzzz: is known to no mover and is ignored"]


def test_what_upstream_reads_and_changes_nothing_is_said(write: Write) -> None:
    [warning] = warnings_of(write(SECTION + "connection_parameters__cache_regions = true\n"))
    assert warning.startswith("connection_parameters__cache_regions: is accepted and changes nothing: ")


def test_deprecated_places_are_no_strangers(write: Write) -> None:
    assert ["is deprecated" in warning for warning in warnings_of(write(SECTION + "ssh_private_key_file = /x\n"))] == [True]


def test_a_parameter_without_its_prefix_is_told_where_it_belongs(write: Write) -> None:
    [warning] = warnings_of(write(SECTION + "endpoint_url = https://s3.example.org\n"))
    assert warning.endswith("write connection_parameters__endpoint_url")


def test_a_mover_of_others_adds_its_names(write: Write, install: Path) -> None:
    announce(install, "Telling")
    path = write(SECTION + "connection_parameters__their_color = x\nconnection_parameters__their_colour = y\n")
    assert warnings_of(path) == [
        "connection_parameters__their_color: is known to no mover and is ignored (did you mean 'their_colour'?)"]


@pytest.mark.parametrize("name", ["Silent", "Absent"])
def test_nothing_is_said_where_nobody_knows(write: Write, install: Path, name: str) -> None:
    announce(install, name)
    assert warnings_of(write(SECTION + "connection_parameters__zzzzz = x\n")) == []
