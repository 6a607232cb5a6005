"""What fsspec's own configuration says of S3 counts, as with upstream's mover; fsspec itself is asked what it reads there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fsspec.config
import pytest

from trollmoves.errors import DestinationInvalid, TemporaryError
from trollmoves.movers.s3_usual import with_usual

FILES = {
    "a.json": '{"s3": {"key": "a", "secret": "b", "client_kwargs": {"endpoint_url": "http://a", "region_name": "x"}}, "ssh": {}}',
    "b.ini": "[s3]\nkey = c\nuse_ssl = false\n[s3a]\nanon = no\n",
    "c.yaml": "no: [",
    "d.json": "{}"}
ENVIRONMENT = {"FSSPEC_S3_SECRET": "d", "FSSPEC_S3": '{"secret": "e", "max_concurrency": 3}', "FSSPEC_S3_ENDPOINT_URL": "http://b",
               "FSSPEC_SSH_KEY": "f", "FSSPEC_": "[", "FSSPEC_S3X": "[", "FSSPEC_S3A": '{"requester_pays": true}'}


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    return {**ENVIRONMENT, "FSSPEC_CONFIG_DIR": str(tmp_path)}


def test_files_and_environment_as_fsspec_reads_them(environment: dict[str, str], tmp_path: Path) -> None:
    said: dict[str, Any] = {}
    fsspec.config.set_conf_files(str(tmp_path), said)
    fsspec.config.set_conf_env(said, {name: value for name, value in environment.items() if value != "["})
    assert with_usual({}, environment=environment) == {**said["s3"], **said["s3a"]}
    assert with_usual({}, environment=environment)["secret"] == "d"


def test_what_the_section_says_goes_before(environment: dict[str, str]) -> None:
    found = with_usual({"endpoint_url": "http://c", "use_ssl": None, "tmp_prefix": "x"}, environment=environment)
    assert found["endpoint_url"] == "http://c" and found["client_kwargs"] == {"region_name": "x"} and found["key"] == "c"
    assert found["use_ssl"] == "false" and found["tmp_prefix"] == "x"


@pytest.mark.parametrize("given", [{"key": "k"}, {"profile": "p"}, {"anon": True}, {}])
def test_a_login_is_taken_from_one_place(given: dict[str, Any], environment: dict[str, str]) -> None:
    found = with_usual(given, has_login=not given, environment=environment)
    assert {name: found[name] for name in ("key", "secret", "token", "profile", "anon") if name in found} == given


def test_nothing_is_there(tmp_path: Path) -> None:
    for place in (tmp_path / "none", tmp_path / "file"):
        (tmp_path / "file").touch()
        assert with_usual({"key": 1}, environment={"FSSPEC_CONFIG_DIR": str(place)}) == {"key": 1}


@pytest.mark.parametrize(("name", "text"), [
    ("x.json", '{"s3": {"secret": "planted"'), ("x.json", '["planted"]'), ("x.json", '{"s3": "planted"}'),
    ("x.ini", "[s3]\nsecret planted\n"), ("x.ini", "[s3]\nsecret = %(planted\n")])
def test_what_cannot_be_read_is_named_and_not_shown(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(TemporaryError, match=rf"in {tmp_path}/{name} cannot be read") as caught:
        with_usual({}, environment={"FSSPEC_CONFIG_DIR": str(tmp_path)})
    assert "planted" not in str(caught.value) and caught.value.__suppress_context__


def test_an_environment_that_cannot_be_read_is_named_and_not_shown() -> None:
    with pytest.raises(DestinationInvalid, match="FSSPEC_S3 in the environment") as caught:
        with_usual({}, environment={"FSSPEC_CONFIG_DIR": "/none", "FSSPEC_S3": "planted"})
    assert "planted" not in str(caught.value)
