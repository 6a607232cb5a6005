"""A dispatcher's file: what it means, and every mistake with its line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.unit.cli.asking import ask
from trollmoves.config.reloading import changes
from trollmoves.dispatcher.reading import DispatcherConfiguration, read_dispatcher_config
from trollmoves.errors import ConfigurationError

TARGET = """
target:
  host: ftp://me:geheim@ftp.example.org:2121
  directory: /data/{sensor}
  dispatch_configs:
    - topics: [/level2, level3]
"""


def read(tmp_path: Path, text: str) -> DispatcherConfiguration:
    path = tmp_path / "x.yaml"
    path.write_text(text)
    return read_dispatcher_config(path)


def problems(tmp_path: Path, text: str) -> list[str]:
    return [line.split(".yaml:", 1)[1] for line in read(tmp_path, text).problems]


def test_the_least_there_can_be(tmp_path: Path) -> None:
    found = read(tmp_path, TARGET)
    assert (found.problems, found.warnings) == ((), ())
    target = found.chains["target"]
    (item,) = target.dispatch_configs
    assert item.topics == ("/level2", "/level3") and item.conditions is None and item.filepattern is None
    assert item.host is not None and item.host.reveal() == "ftp://me:geheim@ftp.example.org:2121"
    assert found.subscriber.nameserver == "localhost" and found.subscriber.subscribe_addresses == ()
    assert target.give_up_after == 86400 and target.directory_mode == 0o755
    assert "geheim" not in repr(found) + str(target) + target.model_dump_json()


def test_of_an_option_written_twice_the_last_counts_as_upstream(tmp_path: Path) -> None:
    found = read(tmp_path, TARGET + "      directory: /one\n      directory: /two\n")
    assert found.problems == () and found.chains["target"].dispatch_configs[0].directory == "/two"
    assert found.warnings == (f"{tmp_path}/x.yaml:8: target.dispatch_configs.0.directory: is written twice, first on line 7; "
                              "the last counts, keep one",)


def test_connection_parameters_that_have_no_value_are_not_given_and_numbers_are_numbers(tmp_path: Path) -> None:
    text = TARGET + "  connection_parameters: {connection_uptime: null, num_ssh_retries: '5', ssh_connection_timeout: 5.5}\n"
    found = read(tmp_path, text + text.replace("target:", "other:").replace("null", "soon"))
    assert found.problems == (
        f"{tmp_path}/x.yaml:14: [other] connection_parameters.connection_uptime: is not a number from 0; write for example 30",)
    assert found.broken == {"other"}
    assert dict(found.chains["target"].connection_parameters) == {"num_ssh_retries": "5", "ssh_connection_timeout": 5.5}


def test_what_an_item_says_goes_before_what_the_target_says(tmp_path: Path) -> None:
    found = read(tmp_path, """
posttroll_subscriber:
  nameserver: false
  subscribe_addresses: [tcp://127.0.0.1:40000, "[::1]:40001"]
  subscribe_services: [one, two]
target:
  host: ftp://ftp.example.org
  filepattern: '{a}'
  connection_parameters: {connection_uptime: 60}
  aliases: {product: {a: b}}
  publish_topic: new/{topic}
  directory_mode: 775
  transfers_per_host: 2
  give_up_after: 2h
  bandwidth_per_host: 512k
  fsync: always
  dispatch_configs:
    - topics: /one
      directory: /here
    - topics: [/two]
      host: ""
      directory: /there
      filepattern: '{b}'
      aliases: {variant: [{_alias_name: kind, 1: one}, {DR: direct}]}
      connection_parameters: {link: true}
""")
    assert found.problems == ()
    target = found.chains["target"]
    one, two = target.dispatch_configs
    assert (one.topics, one.directory, one.filepattern, one.publish_topic) == (("/one",), "/here", "{a}", "/new/{topic}")
    assert (two.directory, two.filepattern, two.publish_topic) == ("/there", "{b}", "/new/{topic}")
    assert one.host is not None and two.host is not None
    assert (one.host.reveal(), two.host.reveal()) == ("ftp://ftp.example.org", "")
    assert [(alias.field, alias.name, alias.replacements) for alias in two.aliases] == [
        ("variant", "kind", ((1, "one"),)), ("variant", "variant", (("DR", "direct"),))]
    assert dict(two.connection_parameters) == {"link": True} and dict(one.connection_parameters) == {"connection_uptime": 60}
    assert (target.directory_mode, target.transfers_per_host, target.give_up_after, target.bandwidth_per_host, target.fsync) == (
        0o775, 2, 7200, 512 * 1024, "always")
    assert found.subscriber.subscribe_addresses == (("127.0.0.1", 40000), ("::1", 40001))
    assert found.subscriber.nameserver is False and found.subscriber.subscribe_services == ("one", "two")


@pytest.mark.parametrize("old, new, complaint", [
    ("host: ftp://me:geheim@ftp.example.org:2121", "host: ftp.example.org", "3: [target] host: 'ftp.example.org' has no scheme"),
    ("host: ftp://me:geheim@ftp.example.org:2121", "host: ftp://me:geheim@h:x", "3: [target] host: is malformed"),
    ("  host: ftp://me:geheim@ftp.example.org:2121\n", "", "5: [target] dispatch_configs.0.host: is missing"),
    ("host: ftp://me:geheim@ftp.example.org:2121", "host: {a: 1}", "3: [target] host: "),
    ("directory: /data/{sensor}", "directory: /data/{sensor", "4: [target] directory: '/data/{sensor' is malformed"),
    ("directory: /data/{sensor}", "directory: /data/{a.b}", "4: [target] directory: '/data/{a.b}' is malformed"),
    ("  directory: /data/{sensor}\n", "", "5: [target] dispatch_configs.0.directory: is missing"),
    ("    - topics: [/level2, level3]", "    - x", "6: [target] dispatch_configs.0: is no mapping"),
    ("  dispatch_configs:\n    - topics: [/level2, level3]", "", "2: [target] dispatch_configs: is missing or no list"),
    ("topics: [/level2, level3]", "topics: [/level2, 5]", "6: [target] dispatch_configs.0.topics: has a topic that is no text"),
    ("topics: [/level2, level3]", "topics: []", "6: [target] dispatch_configs.0.topics: is missing"),
    ("topics: [/level2, level3]", "conditions: []", "6: [target] dispatch_configs.0.topics: is missing"),
    ("level3]", "level3]\n      conditions:", "7: [target] dispatch_configs.0.conditions: is empty"),
    ("level3]", "level3]\n      conditions: [{a: '<x'}]", "7: [target] dispatch_configs.0.conditions: set 1: a: '<x' compares"),
    ("level3]", "level3]\n      aliases: [1]", "7: [target] dispatch_configs.0.aliases: is no mapping"),
    ("level3]", "level3]\n      aliases: {a: b}", "7: [target] dispatch_configs.0.aliases: a has no mapping of values"),
    ("level3]", "level3]\n      aliases: {a: {b: [c]}}", "a has a replacement that is no plain value"),
    ("level3]", "level3]\n      connection_parameters: 5", "7: [target] dispatch_configs.0.connection_parameters: is no mapping"),
    ("level3]", "level3]\n      publish_topic: /a b", "7: [target] dispatch_configs.0.publish_topic: '/a b' holds white space"),
    ("level3]", "level3]\n  connect_timeout: soon", "7: [target] connect_timeout: 'soon' is not a time"),
    ("level3]", "level3]\n  allowed_origins: [data]", "7: [target] allowed_origins: is not an absolute path"),
    ("level3]", "level3]\n  checksum: sometimes", "7: [target] checksum: 'sometimes' is none of auto, always, never"),
    ("level3]", "level3]\nother: 5", "7: [other] is no mapping"),
    ("level3]", "level3]\naddresses: [a]", "7: [addresses] is no target; write it as posttroll_subscriber: {subscribe_addresses"),
])
def test_mistakes(old: str, new: str, complaint: str, tmp_path: Path) -> None:
    assert old in TARGET
    (found,) = problems(tmp_path, TARGET.replace(old, new))
    assert complaint in found and "geheim" not in found


@pytest.mark.parametrize("text, complaint", [
    ("5", "is no mapping"), ("{x: 1}", "x: is no option of a subscription"),
    ("{nameserver: false}", "nameserver: is false without subscribe_addresses"),
    ("{subscribe_addresses: [udp://x:1]}", "subscribe_addresses: has an address that is not tcp://host:port or ipc://path"),
    ("{nameservers: a}", "nameservers: is no option of a subscription (did you mean 'nameserver'?)"),
])
def test_nothing_runs_without_a_good_subscription(text: str, complaint: str, tmp_path: Path) -> None:
    found = read(tmp_path, f"posttroll_subscriber: {text}\n{TARGET}")
    assert found.chains == {} and found.broken == {"target"}
    assert len(found.problems) == 1 and complaint in found.problems[0]


@pytest.mark.parametrize("text, port, nameservers", [
    ("{port: 9012}", 9012, None), ("{nameservers: [a, b]}", 0, ("a", "b")), ("{port: 0, nameservers: false}", 0, False),
    ("{}", 0, None)])
def test_a_publisher(text: str, port: int, nameservers: object, tmp_path: Path) -> None:
    found = read(tmp_path, f"posttroll_publisher: {text}\n{TARGET}")
    assert found.problems == () and found.chains and found.publisher is not None
    assert (found.publisher.port, found.publisher.nameservers) == (port, nameservers)
    assert read(tmp_path, TARGET).publisher is None


@pytest.mark.parametrize("text, complaint", [
    ("5", "is no mapping; write for example port: 9012"), ("", "is no mapping"),
    ("{port: x}", "port: 'x' is not a whole number from 0"),
    ("{nameserver: a}", "nameserver: is no option of a publisher (did you mean 'nameservers'?)")])
def test_nothing_runs_without_a_good_publisher(text: str, complaint: str, tmp_path: Path) -> None:
    found = read(tmp_path, f"posttroll_publisher: {text}\n{TARGET}")
    assert found.chains == {} and found.broken == {"target"}
    assert len(found.problems) == 1 and complaint in found.problems[0]


@pytest.mark.parametrize("more, warning", [
    ("  colour: red", "7: [target] colour: is no option here and is ignored"),
    ("  fillepattern: x", "(did you mean 'filepattern'?)"), ("  listen_address: x", "listen_address: is no option here"),
    ("      colour: red", "7: [target] dispatch_configs.0.colour: is no option here"),
    ("      conditions: []", "is an empty list, so nothing is ever dispatched"),
    ("      conditions: [{a: ['<3']}]", "stands in a list"),
    ("  connection_parameters: {nonsense: 1}", "connection_parameters.nonsense: is known to no mover"),
    ("      host: ftp://example.org/x", "host: has a path, which is not used"),
    ("      filepattern: latest.png", "'latest.png' is the name of one file, unless a directory is called so, and every"),
])
def test_warnings(more: str, warning: str, tmp_path: Path) -> None:
    found = read(tmp_path, TARGET + more + "\n")
    assert found.problems == () and len(found.warnings) == 1 and warning in found.warnings[0]


def test_files_that_are_none(tmp_path: Path) -> None:
    for text in ("", "- a\n", "a: [\n"):
        with pytest.raises(ConfigurationError):
            read(tmp_path, text)
    assert "has no target" in read(tmp_path, "posttroll_subscriber: {}\n").problems[0]


def test_a_reload_sees_what_changed(tmp_path: Path) -> None:
    two = TARGET + TARGET.replace("target:", "second:")
    before = read(tmp_path, two).chains
    assert changes(before, read(tmp_path, two + "# a remark\n").chains).unchanged == ("target", "second")
    for old, new in (("geheim", "other"), ("{sensor}", "{sensor}/x"), ("level3]", "level3]\n      conditions: [{a: 1}]")):
        after = read(tmp_path, TARGET + TARGET.replace("target:", "second:").replace(old, new)).chains
        assert (changes(before, after).changed, changes(before, after).unchanged) == (("second",), ("target",))


def test_the_check_at_the_door(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(TARGET)
    answer = ask("dispatcher.py", "--check-config", "x.yaml", state=tmp_path)
    assert (answer.status, answer.out, answer.err) == (0, "x.yaml: 1 target(s), all well\n", "")
    assert ask("trollmoves", "check", "x.yaml", state=tmp_path).out == "x.yaml: dispatcher, 1 section(s), all well\n"
    (tmp_path / "x.yaml").write_text(TARGET.replace("ftp://me", "gopher://me"))
    answer = ask("dispatcher.py", "--check-config", "x.yaml", state=tmp_path)
    assert answer.status == 1 and re.search(r"\[target\] host: no mover for 'gopher'", answer.err)
    (tmp_path / "x.yaml").write_text(TARGET.replace("level3]", "level3]\n      conditions: 5"))
    answer = ask("dispatcher.py", "x.yaml", state=tmp_path)
    assert answer.status == 1 and answer.last_line == "dispatcher.py: x.yaml: 1 problem(s), see above"
