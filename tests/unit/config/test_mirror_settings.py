"""A mirror's section: options of a client and of a server, with defaults of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from trollmoves.config.mirrors import MirrorSettings
from trollmoves.config.reading import Configuration, read_mirror_config
from trollmoves.config.settings import ClientSettings

UPSTREAM = """\
[hrit]
origin = /data/mirror/H-000-{series:_<6s}-{nominal_time:%Y%m%d%H%M}-{compressed:_<2s}
publisher_port = 9010
providers = 192.0.2.1:9010 192.0.2.2:9010/1b/other
request_port = 9095
client_topic = /1b/hrit
destination = ftp:///data/mirror/
login = user:secret
topic = /1b/hrit
delay = 2
delete = True
heartbeat_alarm_scale = 10
"""


def read(tmp_path: Path, text: str) -> Configuration[MirrorSettings]:
    path = tmp_path / "mirror.ini"
    path.write_text(text)
    return read_mirror_config(path)


def test_an_upstream_configuration_is_taken_as_it_is(tmp_path: Path) -> None:
    configuration = read(tmp_path, UPSTREAM)
    assert (configuration.problems, configuration.warnings) == ((), ())
    settings = configuration.chains["hrit"]
    assert (settings.delay, settings.delete, settings.request_port, settings.client_topic) == (2.0, "all", 9095, "/1b/hrit")
    assert settings.removes and settings.delete_after == 7 * 86400


def test_the_front_is_a_client(tmp_path: Path) -> None:
    front = read(tmp_path, UPSTREAM).chains["hrit"].front
    assert type(front) is ClientSettings
    assert [str(provider) for provider in front.providers] == ["192.0.2.1:9010", "192.0.2.2:9010/1b/other"]
    assert (front.topic, front.delete, front.compression, front.processing_delay) == ("/1b/hrit", False, None, None)
    assert front.destination.reveal() == "ftp:///data/mirror/" and front.login is not None
    assert "secret" not in repr(front) and "secret" not in str(read(tmp_path, UPSTREAM).chains["hrit"])


@pytest.mark.parametrize("option", ["providers", "destination", "request_port"])
def test_what_every_section_needs(tmp_path: Path, option: str) -> None:
    lines = [line for line in UPSTREAM.splitlines() if not line.startswith(option)]
    problem, = read(tmp_path, "\n".join(lines)).problems
    assert f"{option}: is missing; write for example {option} = " in problem


@pytest.mark.parametrize("option", ["compression", "listen", "info", "processing_delay", "watchdog_timeout", "unpack"])
def test_options_that_mean_nothing_here_are_named(tmp_path: Path, option: str) -> None:
    warning, = read(tmp_path, UPSTREAM + f"{option} = 1\n").warnings
    assert f"[hrit] {option}: is no option of a mirror and is ignored" in warning


@pytest.mark.parametrize("text, complaint", [
    ("destination = relative/path", "destination: "), ("delay = soon", "delay: "), ("request_port = 0", "request_port: "),
    ("providers = nowhere", "providers: "), ("delete = perhaps", "delete: "),
])
def test_wrong_values_are_named(tmp_path: Path, text: str, complaint: str) -> None:
    option = text.partition(" ")[0]
    lines = [line for line in UPSTREAM.splitlines() if not line.startswith(option + " ")]
    problem, = read(tmp_path, "\n".join([*lines, text, ""])).problems
    assert complaint in problem


def test_sections_that_share_a_port_share_the_address(tmp_path: Path) -> None:
    twin = UPSTREAM.replace("[hrit]", "[twin]") + "listen_address = 127.0.0.1\n"
    problem, = read(tmp_path, UPSTREAM + twin).problems
    assert "9095 is also that of [hrit], with another listen_address" in problem
