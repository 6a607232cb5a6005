from __future__ import annotations

import math
from pathlib import Path

import pytest

from tests.unit.config.conftest import Write
from trollmoves.config.places import Provider
from trollmoves.config.reading import read_client_config
from trollmoves.config.settings import COMPRESSIONS, ClientSettings
from trollmoves.unpacking import UNPACKERS

GOOD = "providers = h:1\ndestination = /d/\n"
DATA = Path(__file__).parent / "data"


def settings(write: Write, options: str) -> ClientSettings:
    configuration = read_client_config(write(f"[s]\n{GOOD}{options}\n"))
    assert configuration.problems == ()
    return configuration.chains["s"]


def problem(write: Write, options: str, start: str = GOOD) -> str:
    """The one problem of a section with these options, from the line number on."""
    path = write(f"[s]\n{start}{options}\n")
    configuration = read_client_config(path)
    assert configuration.chains == {}
    assert len(configuration.problems) == 1, configuration.problems
    return configuration.problems[0].removeprefix(str(path))


def test_a_file_as_operators_have_it() -> None:
    configuration = read_client_config(DATA / "client.ini")
    assert (configuration.problems, configuration.warnings) == ((), ())
    hrit, spare = configuration.chains.values()
    assert hrit.providers == (
        Provider("192.0.2.7", 9010), Provider("backup.example.org", 9010, "/1b/other"), Provider("2001:db8::7", 9010))
    assert [str(provider) for provider in hrit.providers] == [
        "192.0.2.7:9010", "backup.example.org:9010/1b/other", "[2001:db8::7]:9010"]
    assert hrit.destination.reveal() == "ftp://127.0.0.1:2121/data/{platform_name}/"
    assert hrit.login is not None and hrit.login.reveal() == "mover:s3kr1t-Pa55"
    assert (hrit.topic, hrit.publish_port, hrit.heartbeat, hrit.heartbeat_alarm_scale) == ("/1b/hrit-segment/0deg", 0, True, 10)
    assert (hrit.compression, hrit.xritdecompressor) == ("xrit", "/opt/xrit/decompress")
    assert (hrit.delete, hrit.group) == (True, "hrit_0deg")
    assert hrit.replacements.plain() == {"platform_name": {"MSG3": "Meteosat-10", "MSG4": "Meteosat-11"}, "antenna": "north"}
    assert (spare.topic, spare.nameservers, spare.backup_targets) == ("", False, ("host-b", "host-c"))
    assert (spare.processing_delay, spare.req_timeout, spare.transfer_req_timeout, spare.catch_up) == (0.7, 2, 30, 43200)
    assert (spare.ftp_root, spare.create_target_directory, spare.replacements.plain()) == ("/srv", False, {})


def test_defaults(write: Write) -> None:
    chain = settings(write, "")
    assert (chain.topic, chain.login, chain.nameservers, chain.publish_port) == ("", None, None, 0)
    assert (chain.heartbeat, chain.heartbeat_alarm_scale) == (True, 0)
    assert (chain.req_timeout, chain.transfer_req_timeout, chain.processing_delay, chain.compression, chain.delete) == (
        1, 10, None, None, False)
    assert (chain.create_target_directory, chain.ftp_root, chain.backup_targets, chain.in_flight) == (True, "/", None, 1000)
    assert (chain.catch_up, chain.group, chain.listen_address, chain.replacements.plain()) == (math.inf, "s", "*", {})


def test_an_option_with_nothing_behind_it_is_not_given(write: Write) -> None:
    names = [name for name in ClientSettings.options() if name not in ("providers", "destination")]
    assert settings(write, "\n".join(f"{name} =" for name in names)) == settings(write, "")


@pytest.mark.parametrize("text, name, value", [
    ("nameservers = false", "nameservers", False),
    ("nameservers = a b", "nameservers", ("a", "b")),
    ("topic = 1b/x", "topic", "/1b/x"),
    ("topic = /", "topic", "/"),
    ("catch_up = ALL", "catch_up", math.inf),
    ("catch_up = none", "catch_up", 0),
    ("catch_up = 90", "catch_up", 90),
    ("group = pair", "group", "pair"),
    ("compression = tar", "compression", "tar"),
    ("compression = bz2", "compression", "bz2"),
    ("compression = none", "compression", None),
    ("heartbeat = 0", "heartbeat", False),
    ("heartbeat_alarm_scale = 2.5", "heartbeat_alarm_scale", 2.5),
])
def test_values(write: Write, text: str, name: str, value: object) -> None:
    assert getattr(settings(write, text), name) == value


@pytest.mark.parametrize("providers", [
    "h", "h:", ":1", "h:0", "h:65536", "h:x", "2001:db8::7:9010", "[h]:1", "[::1:9010", "tcp://h:1", "a:1,b:2", "a:1 b"])
def test_malformed_providers(write: Write, providers: str) -> None:
    text = problem(write, f"providers = {providers}\n", "destination = /d/\n")
    assert text.startswith(":3: [s] providers: ")
    assert "has a word that is not host:port or host:port/topic" in text


@pytest.mark.parametrize("text, expected", [
    ("compression = gzipp", ":4: [s] compression: 'gzipp' is none of xrit, bzip, bzip2, bz2, gzip, xz, zstd, tar, zip, false "
                            "(did you mean 'gzip'?)"),
    ("publish_port = 70000", ":4: [s] publish_port: '70000' is not a whole number from 0 to 65535"),
    ("publish_port = -1", ":4: [s] publish_port: '-1' is not a whole number from 0 to 65535"),
    ("in_flight = 0", ":4: [s] in_flight: '0' is not a whole number from 1 to 10000"),
    ("catch_up = never", ":4: [s] catch_up: 'never' is not a time from 0 seconds to 3650 days; write seconds, "
                         "or a unit as in 30m, 12h, 7d, or all, or none"),
    ("heartbeat_alarm_scale = inf", ":4: [s] heartbeat_alarm_scale: 'inf' is not a number from 0"),
    ("processing_delay = soon", ":4: [s] processing_delay: 'soon' is not a time"),
    ("topic = a b", ":4: [s] topic: 'a b' holds white space"),
])
def test_problems(write: Write, text: str, expected: str) -> None:
    assert problem(write, text).startswith(expected)


@pytest.mark.parametrize("destination, expected", [
    ("data/in", "'data/in' needs an absolute path, or a uri like sftp://user@host/data/in/"),
    ("sftp//user@host/d", "needs an absolute path, or a uri like sftp://user@host/data/in/"),
    ("scp://<user>@<the host>/d", "has a malformed host; write for example sftp://user@host/data/in/"),
    ("ftp://user:hunter2@host:x/d", "has a malformed host or port"),
    ("ftp://user:hunter2/d", "has a malformed host or port"),
    ("ftp://us er:hunter2@ho st/d", "has a malformed host"),
    ("ftp://user:hunter2@host/{a", "has a brace without partner; write a field as {name}, and a brace that is none as {{ or }}"),
    ("ftp://user:hunter2@host/a}", "has a brace without partner"),
    ("ftp://user:hunter2@host/{a{b}", "has a brace without partner"),
    ("ftp://user:hunter2@host/{a.__class__}", "field 'a.__class__' reaches into a value"),
    ("ftp://user:hunter2@host/../d", "leaves its directory with '..'"),
    ("file://d", "needs an absolute path"),
])
def test_malformed_destinations_show_no_password(write: Write, destination: str, expected: str) -> None:
    text = problem(write, f"destination = {destination}", "providers = h:1\n")
    assert text.startswith(f":3: [s] destination: {expected}")
    assert "hunter2" not in text


@pytest.mark.parametrize("destination", ["/d/", "file:///d/", "{path}/x", "scp://{host}:{port}/d/{t:%Y%m%d}/", "s3://Bucket/{uid}"])
def test_destinations_with_fields(write: Write, destination: str) -> None:
    configuration = read_client_config(write(f"[s]\nproviders = h:1\ndestination = {destination}\n"))
    assert configuration.chains["s"].destination.reveal() == destination


def test_what_every_section_needs(write: Write) -> None:
    path = write("[s]\ntopic = /a\n")
    assert read_client_config(path).problems == (
        f"{path}:1: [s] providers: is missing; write for example providers = 192.0.2.1:9010",
        f"{path}:1: [s] destination: is missing; write for example destination = file:///data/in/")


def test_a_section_name_with_white_space_is_a_name(write: Write) -> None:
    configuration = read_client_config(write(f"[a b]\n{GOOD}"))
    assert set(configuration.chains) == {"a b"} and not configuration.problems and not configuration.warnings


def test_two_sections_need_names_that_differ_in_more_than_white_space(write: Write) -> None:
    """Who listens to both would take the one for the other, and leave out what it missed of it."""
    configuration = read_client_config(write(f"[a_b]\n{GOOD}[a b]\n{GOOD}[a  c]\n{GOOD}"))
    assert set(configuration.chains) == {"a_b", "a  c"}
    assert [problem.partition("[a b] ")[2].partition(",")[0] for problem in configuration.problems] == [
        "name: has the same heartbeats as [a_b]"]


def test_every_problem_of_a_file_is_said_at_once(write: Write) -> None:
    path = write("[a]\nproviders = h\ndestination = /d/{x\npublish_port = -1\nin_flight = no\n[b]\nproviders = h:1\n"
                 "destination = /d/x}\n")
    assert [problem.removeprefix(f"{path}:").split(": ")[1] for problem in read_client_config(path).problems] == [
        "[a] providers", "[a] destination", "[a] publish_port", "[a] in_flight", "[b] destination"]


def test_a_publish_port_that_is_no_number_is_a_random_one(write: Write) -> None:
    configuration = read_client_config(write(f"[s]\n{GOOD}publish_port = auto\n"))
    assert configuration.chains["s"].publish_port == 0
    assert ":4: [s] publish_port: is no number and taken for 0" in configuration.warnings[0]
    assert configuration.warnings[0].endswith("write publish_port = 0 if that is meant")


def test_replacements(write: Write) -> None:
    path = write(f"[s]\n{GOOD}login = user:pass\nsensor = a : b|c:d\nplatform = a:b:c\nlevel = 1b\nempty =\n"
                 "compression = xrit:none|tar:packed\norigin = x\nuid = a:b\nprocesing_delay = 3\nclock = 12:30\n")
    configuration = read_client_config(path)
    chain = configuration.chains["s"]
    assert chain.replacements == {
        "sensor": {"a": "b", "c": "d"}, "platform": "a:b:c", "level": "1b", "empty": "", "procesing_delay": "3",
        "compression": {"xrit": "none", "tar": "packed"}, "clock": {"12": "30"}}
    assert chain.compression is None and chain.processing_delay is None
    assert configuration.warnings == (
        f"{path}:9: [s] compression: has a mapping as its value, so it replaces metadata of this name",
        f"{path}:10: [s] origin: is ignored: the protocol needs this key, so it is never replaced in messages",
        f"{path}:11: [s] uid: is ignored: the protocol needs this key, so it is never replaced in messages",
        f"{path}:12: [s] procesing_delay: is no option of a client, so it replaces metadata of this name "
        "(did you mean 'processing_delay'?)")


def test_double_underscores_are_part_of_a_metadata_name(write: Write) -> None:
    assert settings(write, "orbit__number = 1").replacements == {"orbit__number": "1"}


def test_the_compressions_are_those_there_is_an_unpacker_for() -> None:
    assert set(COMPRESSIONS) == set(UNPACKERS)


def test_an_unpacker_of_another_package_can_be_named(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    metadata = tmp_path / "other-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[trollmoves.unpackers]\nlzip = other:LZIP\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert settings(write, "compression = lzip").compression == "lzip"


def test_repeated_providers_count_once(write: Write) -> None:
    configuration = read_client_config(write("[s]\nproviders = h:1 h:1 h:1/t\ndestination = /d\n"))
    assert configuration.chains["s"].providers == (Provider("h", 1), Provider("h", 1, "/t"))


SECTION = "[{name}]\nproviders = h:9010\ndestination = /in/\n{more}\n"


@pytest.mark.parametrize(("first", "second", "told"), [
    ("publish_port = 9010", "publish_port = 9010", "[b] publish_port: 9010 is also the publish_port of [a]"),
    ("publish_port = 9010\nreplay_port = 9010", "", "[a] replay_port: 9010 is also the publish_port of [a]"),
    ("replay_port = 9010", "publish_port = 9010", "[b] publish_port: 9010 is also the replay_port of [a]"),
    ("publish_port = 9010", "publish_port = 9010\nlisten_address = 127.0.0.1", "[b] publish_port: 9010 is also"),
    ("publish_port = 9010\nlisten_address = 127.0.0.2", "publish_port = 9010\nlisten_address = 127.0.0.1", ""),
    ("publish_port = 0\nreplay_port = 0", "publish_port = 0\nreplay_port = none", "")])
def test_ports_are_not_shared(write: Write, first: str, second: str, told: str) -> None:
    configuration = read_client_config(write(SECTION.format(name="a", more=first) + SECTION.format(name="b", more=second)))
    assert len(configuration.problems) == bool(told) and told in "".join(configuration.problems)


@pytest.mark.parametrize(("delay", "warns"), [("5", True), ("0", False), ("", False)])
def test_a_hot_spare_that_expects_something_is_warned_of(tmp_path: Path, delay: str, warns: bool) -> None:
    path = tmp_path / "client.ini"
    path.write_text("[s]\nproviders = h:1\ntopic = /a\ndestination = /d/\npublish_port = 0\nexpect = 3 per hour\n"
                    + (f"processing_delay = {delay}\n" if delay else ""))
    configuration = read_client_config(path)
    assert configuration.problems == ()
    assert [True for warning in configuration.warnings if "expect: a hot spare" in warning] == [True] * warns
