from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.config.conftest import Write
from trollmoves.config.reading import read_server_config
from trollmoves.config.settings import ServerSettings
from trollmoves.errors import ConfigurationError

GOOD = "origin = /d/{a}.nc\ntopic = /t\n"
DATA = Path(__file__).parent / "data"


def settings(write: Write, options: str, start: str = GOOD) -> ServerSettings:
    configuration = read_server_config(write(f"[s]\n{start}{options}\n"))
    assert configuration.problems == ()
    return configuration.chains["s"]


def problem(write: Write, options: str, start: str = GOOD) -> str:
    """The one problem of a section with these options, from the section's name on."""
    path = write(f"[s]\n{start}{options}\n")
    configuration = read_server_config(path)
    assert configuration.chains == {} and configuration.broken == {"s"}
    assert len(configuration.problems) == 1, configuration.problems
    return configuration.problems[0].removeprefix(str(path))


def test_a_file_as_operators_have_it() -> None:
    configuration = read_server_config(DATA / "server.ini")
    assert (configuration.problems, configuration.warnings) == ((), ())
    hrit, viirs, passed_on = configuration.chains.values()
    assert (hrit.name, hrit.station, hrit.remove_delay) == ("hrit_0deg", "north", 45)
    assert (hrit.delete, hrit.compression) == ("all", "xrit")
    assert hrit.info == {"sensor": "seviri", "variant": "0DEG", "channels": ("IR_108", "VIS006")}
    assert viirs.request_port == hrit.request_port == 9094
    assert (viirs.topic, viirs.watch_interval, viirs.delete, viirs.request_address) == ("/1b/viirs", 2.5, None, "192.0.2.7")
    assert viirs.connection_parameters.plain() == {
        "connection_uptime": 60, "ssh_key_filename": "/home/user/.ssh/id_ed25519", "use_tmp_on_transfer": True,
        "num_ssh_retries": 3, "password": "0042", "client_kwargs": {"endpoint_url": "https://s3.example.org", "verify": False}}
    assert (passed_on.listen, passed_on.nameserver, passed_on.addr_listener, passed_on.timeout) == ("/1b/viirs", False, False, 5)
    assert passed_on.addresses == (("192.0.2.1", 9010), ("192.0.2.2", 9010)) and passed_on.heard_topics == ("/1b/viirs",)


def test_defaults(write: Write) -> None:
    chain = settings(write, "")
    assert (chain.workers, chain.transfers_per_host, chain.fsync, chain.checksum, chain.overwrite, chain.link) == (
        None, None, "when-deleting", "auto", "identical", False)
    assert (chain.reconcile, chain.max_request_size, chain.queued_requests, chain.retention, chain.retention_entries) == (
        300, 1024**2, 20_000, 7 * 86400, 200_000)
    assert (chain.directory_mode, chain.file_mode, chain.stall_timeout, chain.connect_timeout) == (0o755, None, 60, 10)
    assert (chain.allow_inline_credentials, chain.delete, chain.delete_after, chain.remove_delay) == (True, None, None, 30)
    assert (chain.listen_address, chain.request_port, chain.station, chain.watch_interval) == ("*", None, "unknown", 1)
    assert (chain.allowed_destinations, chain.trusted_acks, chain.any_destination) == ((), (), False)
    assert (chain.topics, chain.services, chain.addresses, chain.nameserver) == ((), (), (), "localhost") and chain.addr_listener


def test_an_option_with_nothing_behind_it_is_not_given(write: Write) -> None:
    names = [name for name in ServerSettings.options() if name not in ("origin", "topic")]
    assert settings(write, "\n".join(f"{name} =" for name in names)) == settings(write, "")


@pytest.mark.parametrize("text, name, value", [
    ("workers = 16", "workers", 16),
    ("retention = 12h", "retention", 43200),
    ("retention = 90", "retention", 90),
    ("delete = first", "delete", "first"),
    ("delete = all", "delete", "all"),
    ("delete = On", "delete", "all"),
    ("delete = hrit@archive 192.0.2.7", "delete", ("hrit@archive", "192.0.2.7")),
    ("delete = 0", "delete", None),
    ("delete_after = 1.5d", "delete_after", 129600),
    ("max_request_size = 512k", "max_request_size", 512 * 1024),
    ("max_request_size = 2 MiB", "max_request_size", 2 * 1024**2),
    ("bandwidth_per_host = 10M", "bandwidth_per_host", 10 * 1024**2),
    ("bandwidth_per_host = None", "bandwidth_per_host", None),
    ("directory_mode = 0o2775", "directory_mode", 0o2775),
    ("directory_mode = keep", "directory_mode", None),
    ("file_mode = 0640", "file_mode", 0o640),
    ("topics = /a b\n  /a", "topics", ("/a", "/b")),
    ("listen = a\nrequest_port = 9", "heard_topics", ("/a",)),
    ("listen = /a\nrequest_port = 9\ntopics = /b", "heard_topics", ("/b",)),
    ("addresses = tcp://192.0.2.1:9 h:10", "addresses", (("192.0.2.1", 9), ("h", 10))),
    ("addresses = ipc:///run/out h:10", "addresses", (("ipc:///run/out", 0), ("h", 10))),
    ("nameserver = off", "nameserver", False),
    ("addr_listener = False", "addr_listener", False),
    ("translate = False", "translate", False),
    ("unpack = zip", "archives", "zip"),
    ("unpack = zip\nrequest_port = 9", "archives", None),
    ("nameserver = localhost", "nameserver", "localhost"),
    ("compression = False", "compression", None),
    ("compression = BZIP", "compression", "bzip"),
    ("compression = tar", "compression", "tar"),
    ("unpack = tar", "unpack", "tar"),
    ("listen_address = [::1]", "listen_address", "::1"),
    ("trusted_acks = a b", "trusted_acks", ("a", "b")),
    ("trusted_acks = any", "trusted_acks", ("any",)),
    ("allowed_destinations = sftp://in@host:22/data/** s3://bucket/*\n /srv/out/**", "allowed_destinations",
     ("sftp://in@host:22/data/**", "s3://bucket/*", "/srv/out/**")),
    ("info = a=b, c ;d = e;", "info", {"a": ("b", " c"), "d": "e"}),
])
def test_values(write: Write, text: str, name: str, value: object) -> None:
    assert getattr(settings(write, text), name) == value


@pytest.mark.parametrize("text, expected", [
    ("request_port = 65536", ":4: [s] request_port: '65536' is not a whole number from 1 to 65535"),
    ("request_port = 90 94", ":4: [s] request_port: '90 94' is not a whole number"),
    ("fsync = alwais", ":4: [s] fsync: 'alwais' is none of always, when-deleting, never (did you mean 'always'?)"),
    ("delete = tru", ":4: [s] delete: 'tru' is neither true (or all), first nor false, nor are its words consumers: client "
                     "sections as section@host, upstream clients by their addresses (did you mean 'true'?)"),
    ("delete = sometimes", ":4: [s] delete: 'sometimes' is neither true (or all), first nor false, nor are its words consumers"),
    ("delete = get@one,get@other", ":4: [s] delete: is neither true (or all), first nor false, nor are its words consumers: "
     "client sections as section@host, upstream clients by their addresses; they are separated by white space, not by commas"),
    ("delete = get@one, get@other", ":4: [s] delete: is neither true (or all), first nor false"),
    ("delete = 192.0.2.1,192.0.2.2", ":4: [s] delete: '192.0.2.1,192.0.2.2' is neither true (or all), first nor false"),
    ("delete = get@", ":4: [s] delete: is neither true (or all), first nor false, nor are its words consumers"),
    ("link = maybe", ":4: [s] link: 'maybe' is neither true nor false"),
    ("retention = soon", ":4: [s] retention: 'soon' is not a time from 0 seconds to 3650 days; write seconds"),
    ("retention = nan", ":4: [s] retention: 'nan' is not a time"),
    ("retention = -5", ":4: [s] retention: '-5' is not a time"),
    ("stall_timeout = 0", ":4: [s] stall_timeout: '0' is not a time from 0.01"),
    ("watchdog_timeout = often", ":4: [s] watchdog_timeout: 'often' is not a time"),
    ("bandwidth_per_host = 100", ":4: [s] bandwidth_per_host: '100' is not a size from 1024 to 1099511627776 bytes"),
    ("max_request_size = 1G", ":4: [s] max_request_size: '1G' is not a size from 65536 to 16777216 bytes"),
    ("directory_mode = 999", ":4: [s] directory_mode: '999' is not a file mode"),
    ("compression = lha", ":4: [s] compression: 'lha' is none of xrit, bzip, bzip2, bz2, gzip, xz, zstd, tar, zip, false"),
    ("compression = __import__('os')", ":4: [s] compression: \"__import__('os')\" is none of"),
    ("info = a", ":4: [s] info: 'a' has an item that is not name=value"),
    ("info = a=b=c", ":4: [s] info: 'a=b=c' has an item that is not name=value"),
    ("info = a=b;a=c", ":4: [s] info: 'a=b;a=c' names 'a' twice"),
    ("info = dataset=b", ":4: [s] info: 'dataset=b' names 'dataset', which has a meaning of its own"),
    ("allowed_destinations = any ftp://h/**", ":4: [s] allowed_destinations: has the word 'any' beside others"),
    ("allowed_destinations = ftp://u:p4ss@h/**", ":4: [s] allowed_destinations: holds a password"),
    ("allowed_destinations = data/** /in/ ftp://u:p4ss@h/**",
     ":4: [s] allowed_destinations: number 1 needs an absolute path, or a uri like sftp://user@host/data/in/; "
     "number 3 holds a password"),
    ("allowed_destinations = data/**", ":4: [s] allowed_destinations: 'data/**' needs an absolute path"),
    ("allowed_destinations = sftp://h/../x", ":4: [s] allowed_destinations: leaves its directory"),
    ("trusted_acks = any h", ":4: [s] trusted_acks: 'any h' has the word 'any' beside others"),
    ("trusted_acks = h1, h2", ":4: [s] trusted_acks: 'h1, h2' has a comma; hosts are separated by white space, not by commas"),
    ("listen_address = tcp://h", ":4: [s] listen_address: is not a host name or address"),
    ("request_address = h:9094", ":4: [s] request_address: 'h:9094' is not a host name or address"),
    ("connection_parameters = x", ":4: [s] connection_parameters: is given in parts; write connection_parameters__name ="),
    ("connection_parameters__connection_uptime = x", ":4: [s] connection_parameters__connection_uptime: is not a number from 0"),
    ("connection_uptime = x", ":4: [s] connection_uptime: is not a number from 0"),
    ("station__x = y", ":4: [s] station: has no parts; write station = value"),
    ("connection_parameters__ = 1", ":4: [s] connection_parameters__: has an empty part"),
    ("watchdog_timeout = 2\nwatch_interval = 3", ":4: [s] watchdog_timeout: is another name of watch_interval"),
    ("listen = /x", ":1: [s] request_port: is missing, and listen needs it"),
    ("listen = /x\nrequest_port = 9\nnameserver = No", ":6: [s] nameserver: is false without addresses: there is nobody"),
    ("addresses = h:1 h", ":4: [s] addresses: 'h:1 h' has an address that is not tcp://host:port"),
])
def test_problems(write: Write, text: str, expected: str) -> None:
    assert problem(write, text).startswith(expected)


@pytest.mark.parametrize("start, expected", [
    ("origin = /d/{a}\n", ":1: [s] topic: is missing; write for example topic = /1b/hrit"),
    ("origin = /d/{a}\ntopic =\n", ":3: [s] topic: is missing"),
    ("topic = /t\n", ":1: [s] origin: is missing; write for example origin = /data/in/{name}.nc, or listen = /topic"),
    ("origin = d/{a}\ntopic = /t\n", ":2: [s] origin: 'd/{a}' is not an absolute path; begin it with /"),
    ("origin = /d/{a\ntopic = /t\n", ":2: [s] origin: '/d/{a' is no pattern to watch: "),
    ("origin = /d/\ntopic = /t\n", ":2: [s] origin: '/d/' is no pattern to watch: ends with a slash"),
    ("origin = /d/{a.b}\ntopic = /t\n", ":2: [s] origin: '/d/{a.b}' is no pattern to watch: field 'a.b' reaches into a value"),
    ("origin = /d/{a}\ntopic = /a b\n", ":3: [s] topic: '/a b' holds white space"),
])
def test_problems_with_what_every_section_needs(write: Write, start: str, expected: str) -> None:
    assert problem(write, "", start).startswith(expected)


def test_all_problems_of_a_file_are_listed_in_order_and_good_sections_are_usable(write: Write) -> None:
    path = write("[DEFAULT]\nlink = perhaps\n[a]\ntopic = /t\nworkers = 0\nfsync = x\n"
                 "[b]\nlink = no\norigin = /d/{a}\ntopic = /t\n[c]\nport = 1\nsettle = x\nsettle = 1\norigin = /{\n")
    configuration = read_server_config(path)
    assert [line.removeprefix(f"{path}:").split(":")[0] for line in configuration.problems] == [
        "2", "3", "5", "6", "11", "14", "15"]
    assert configuration.problems[0].startswith(f"{path}:2: [DEFAULT] link: 'perhaps'")
    assert list(configuration.chains) == ["b"]
    assert configuration.broken == {"a", "c"}
    with pytest.raises(ConfigurationError) as error:
        configuration.require_all()
    assert error.value.problems == list(configuration.problems)


def test_a_section_with_a_problem_is_no_chain(write: Write) -> None:
    configuration = read_server_config(write("[a]\norigin = /d/{a}\n"))
    assert not configuration.chains and "topic: is missing" in configuration.problems[0]


def test_lines_that_mean_nothing_refuse_the_file_with_all_its_problems(write: Write) -> None:
    with pytest.raises(ConfigurationError) as error:
        read_server_config(write("[a]\norigin = d\nnonsense\ntopic = /t\n[b\n"))
    assert [line.split(":")[1] for line in error.value.problems] == ["2", "3", "5"]


def test_unknown_options_are_ignored_with_a_warning(write: Write) -> None:
    path = write(f"[s]\n{GOOD}overwrit = never\nuse_tmp_on_transfer = true\nzzz__y = 1\n")
    configuration = read_server_config(path)
    assert configuration.warnings == (
        f"{path}:4: [s] overwrit: is no option of a server and is ignored (did you mean 'overwrite'?)",
        f"{path}:5: [s] use_tmp_on_transfer: is no option of a server and is ignored; "
        "write connection_parameters__use_tmp_on_transfer",
        f"{path}:6: [s] zzz: is no option of a server and is ignored")
    assert list(configuration.chains) == ["s"]


def test_deprecated_spellings_move_into_the_connection_parameters(write: Write) -> None:
    path = write(f"[s]\n{GOOD}ssh_key_filename = /k\nssh_connection_timeout = 5\nconnection_uptime = 60\n"
                 "connection_parameters__connection_uptime = 70\n")
    configuration = read_server_config(path)
    assert configuration.chains["s"].connection_parameters.plain() == {
        "ssh_key_filename": "/k", "ssh_connection_timeout": 5, "connection_uptime": 70}
    assert [line.partition("Consider using ")[2] for line in configuration.warnings] == [
        "connection_parameters__ssh_key_filename", "connection_parameters__ssh_connection_timeout",
        "connection_parameters__connection_uptime"]


def test_allowing_every_destination_is_warned_about(write: Write) -> None:
    configuration = read_server_config(write(f"[s]\n{GOOD}allowed_destinations = any\n"))
    assert configuration.chains["s"].any_destination
    assert "allows any client to have files pushed anywhere" in configuration.warnings[0]


def test_a_request_port_is_shared_on_one_address_only(write: Write) -> None:
    second = "[b]\n" + GOOD + "request_port = 9094\n"
    assert read_server_config(write(f"[s]\n{GOOD}request_port = 9094\n{second}")).problems == ()
    path = write(f"[s]\n{GOOD}request_port = 9094\n{second}listen_address = 127.0.0.1\n")
    configuration = read_server_config(path)
    assert configuration.problems[0].startswith(f"{path}:8: [b] request_port: 9094 is also that of [s]")
    assert configuration.broken == {"b"}


def test_a_section_overrules_default_also_under_the_other_name(write: Write) -> None:
    for default, own in [("watchdog_timeout", "watch_interval"), ("watch_interval", "watchdog_timeout")]:
        configuration = read_server_config(write(f"[DEFAULT]\n{default} = 2\n[s]\n{GOOD}{own} = 3\n"))
        assert configuration.problems == ()
        assert configuration.chains["s"].watch_interval == 3


def test_a_file_everybody_may_write_is_refused(write: Write) -> None:
    path = write(f"[s]\n{GOOD}")
    path.chmod(0o646)
    with pytest.raises(ConfigurationError) as caught:
        read_server_config(path)
    assert caught.value.problems == [f"{path}: may be changed by every user of this machine; run: chmod o-w {path}"]
    path.chmod(0o664)  # a group may be one that nobody else is in
    assert read_server_config(path).warnings == ()


def test_settings_are_frozen_and_take_no_strangers(write: Write) -> None:
    chain = settings(write, "")
    with pytest.raises(ValueError, match="frozen"):
        chain.topic = "/other"
    with pytest.raises(ValueError, match="Extra inputs"):
        ServerSettings.model_validate({"name": "a", "topic": "/t", "tpoic": "/t"})


def test_who_removes_what_another_section_announces_is_told(write: Write) -> None:
    other = "[t]\ntopic = /b\norigin = /d/H-{y}\n"
    for more, expected in (("", []), ("delete = true\n", ["delete"]), ("delete_after = 7d\n", ["delete_after"])):
        configuration = read_server_config(write("[s]\ntopic = /a\norigin = /d/{x}\nrequest_port = 9010\n" + more + other))
        told = [warning.partition(": [s] ")[2] for warning in configuration.warnings]
        assert [warning.partition(": removes also what [t] may announce")[0] for warning in told] == expected


def test_a_format_of_times_that_fits_nothing_is_told(write: Write) -> None:
    section = "[s]\ntopic = /t\nrequest_port = 9094\norigin = /in/{name}_{when:%s}.nc\n"
    (warning,) = read_server_config(write(section % "%FT%T")).warnings
    assert "[s] origin: has {when:%FT%T}, a format of times that is not known here" in warning
    assert read_server_config(write(section % "%Y%jT%H%M%S")).warnings == ()
