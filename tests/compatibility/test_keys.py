"""Networks whose peers have keys (posttroll's backend `secure_zmq`): ours and upstream's, and those who have none."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from zmq.auth import create_certificates

from tests.compatibility.network import Make, Network, delivered, files, join
from tests.unit.cli.asking import ask

OURS, UPSTREAM = Make.OURS, Make.UPSTREAM


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Network]:
    known = tmp_path / "known"
    known.mkdir()
    for name in ("server", "client", "stranger"):
        create_certificates(str(tmp_path), name)
    (tmp_path / "client.key").rename(known / "client.key")
    environment = {"POSTTROLL_BACKEND": "secure_zmq", "POSTTROLL_SERVER_SECRET_KEY_FILE": str(tmp_path / "server.key_secret"),
                   "POSTTROLL_CLIENTS_PUBLIC_KEYS_DIRECTORY": str(known),
                   "POSTTROLL_CLIENT_SECRET_KEY_FILE": str(tmp_path / "client.key_secret"),
                   "POSTTROLL_SERVER_PUBLIC_KEY_FILE": str(tmp_path / "server.key")}
    with Network(tmp_path, environment=environment) as made:
        yield made


@pytest.mark.parametrize(("server_make", "client_make"), [(OURS, OURS), (OURS, UPSTREAM), (UPSTREAM, OURS)])
def test_files_cross(network: Network, server_make: Make, client_make: Make) -> None:
    server = network.server(server_make)
    client = network.client(client_make, [server.address])
    join(server, client)
    wanted = files(20)
    for name, content in wanted.items():
        server.put(name, content)
    delivered(client, wanted)


def test_who_has_no_key_or_an_unknown_one_is_not_answered(network: Network, tmp_path: Path) -> None:
    server = network.server(OURS)
    question = ("move_it_req.py", "--ping", "--timeout", "0.5", server.request_address)
    stranger = {**network.environment, "POSTTROLL_CLIENT_SECRET_KEY_FILE": str(tmp_path / "stranger.key_secret")}
    assert ask(*question, state=tmp_path, environment=network.environment).status == 0
    assert ask(*question, state=tmp_path, environment=stranger).status == 1
    assert ask(*question, state=tmp_path).status == 1


@pytest.mark.parametrize("name", ["server.key_secret", "server.key", "known", "known/client.key"])
def test_keys_that_everybody_may_write_are_refused(network: Network, name: str, tmp_path: Path) -> None:
    (tmp_path / "x.ini").write_text(f"[one]\norigin = {tmp_path}/{{a}}.dat\ntopic = /t\n")
    (tmp_path / name).chmod(0o777)
    answer = ask("move_it_server.py", "-p", "0", "x.ini", state=tmp_path, environment=network.environment)
    assert answer.status == 1 and f"run: chmod o-w {tmp_path}/{name}" in answer.last_line and "Traceback" not in answer.err


@pytest.mark.parametrize(("changed", "complaint"), [
    ({"POSTTROLL_SERVER_SECRET_KEY_FILE": None},
     "posttroll's backend secure_zmq needs the setting server_secret_key_file: set POSTTROLL_SERVER_SECRET_KEY_FILE"),
    ({"POSTTROLL_SERVER_SECRET_KEY_FILE": "/none/server.key_secret"}, "Invalid certificate file: /none/server.key_secret"),
    ({"POSTTROLL_BACKEND": "other"}, "the backend 'other'; set POSTTROLL_BACKEND to unsecure_zmq or secure_zmq"),
])
def test_what_is_missing_is_named(network: Network, changed: dict[str, str | None], complaint: str, tmp_path: Path) -> None:
    (tmp_path / "x.ini").write_text(f"[one]\norigin = {tmp_path}/{{a}}.dat\ntopic = /t\n")
    environment = {name: value for name, value in {**network.environment, **changed}.items() if value is not None}
    answer = ask("move_it_server.py", "-p", "0", "x.ini", state=tmp_path, environment=environment)
    assert answer.status == 1 and complaint in answer.last_line and "Traceback" not in answer.err
