"""A full destination, a stop in the middle, a reload under load; and passwords, which never show."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.faults.network import Network, section
from tests.support.eventually import eventually
from tests.unit.cli.asking import ask
from trollmoves.journal import Journal


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MB."""
    place = tmp_path / "small"
    place.mkdir()
    if os.geteuid() or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "none", place], capture_output=True).returncode:
        pytest.skip("needs root to mount a small file system")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def test_status_says_that_the_disk_of_the_journal_is_full(tmp_path: Path, small_disk: Path) -> None:
    path = small_disk / "j"
    Journal(path, lambda calls: [called(*arguments) for called, arguments in calls], lambda error: None).close()
    assert ask("trollmoves", "status", "--journal", path, state=tmp_path).status == 0
    (small_disk / "filler").write_bytes(bytes(os.statvfs(path).f_bavail * os.statvfs(path).f_frsize - 2**19))
    answer = ask("trollmoves", "status", "--journal", path, state=tmp_path)
    assert answer.status == 1 and "the disk of the journal is full" in answer.out


def test_a_full_destination_gets_its_file_when_there_is_room(tmp_path: Path, small_disk: Path) -> None:
    with Network(tmp_path, destination=small_disk) as network:
        (small_disk / ".filler").write_bytes(bytes(6_000_000))
        network.start()
        network.write("large.bin", os.urandom(5_000_000))
        network.servers[0].wait_for("No space left on device")
        time.sleep(1)
        assert [path.name for path in small_disk.iterdir()] == [".filler"]
        (small_disk / ".filler").unlink()
        network.settle(60)
        network.check()


def test_a_stop_in_the_middle_of_a_burst_loses_nothing(tmp_path: Path) -> None:
    network = Network(tmp_path)
    network.killed = True
    with network:
        for round_number in range(3):
            marks = network.servers[0].mark(), network.client.mark()
            network.start()
            network.servers[0].wait_for("watches", since=marks[0])
            network.client.wait_for("listens to", since=marks[1])
            network.write_many(300, f"r{round_number}-", size=20_000)
            for program in ((network.servers[0], network.client), (network.client, network.servers[0]))[round_number % 2]:
                assert program.stop(12) == 0  # T07: 10 seconds
        network.start()
        network.settle()
        network.check()


def replace(path: Path, content: str) -> None:
    """As an editor does it: a new file takes the name."""
    fresh = path.with_suffix(".new")
    fresh.write_text(content)
    os.rename(fresh, path)


@contextmanager
def writing(network: Network) -> Iterator[None]:
    """Some hundred files a second are written meanwhile."""
    ending = threading.Event()

    def write() -> None:
        number = 0
        while not ending.is_set():
            network.write(f"f{number:05}.bin", os.urandom(2000))
            number += 1
            time.sleep(0.01)
    writer = threading.Thread(target=write)
    writer.start()
    try:
        yield
    finally:
        ending.set()
        writer.join()


def test_reloads_under_load_lose_nothing(tmp_path: Path) -> None:
    """Sections come, change and go in both programs, by the file and by SIGHUP, while files are written."""
    network = Network(tmp_path)
    network.killed = True
    server_text, client_text = network.server_config().read_text(), network.client_config.read_text()
    extra = section("extra", {"origin": f"{tmp_path}/other/{{name}}.txt", "topic": "/extra"})
    (tmp_path / "other").mkdir()
    with network:
        network.start()
        network.servers[0].wait_for("watches")
        with writing(network):
            for number in range(4):
                for path, text, program in ((network.server_config(), server_text, network.servers[0]),
                                            (network.client_config, client_text, network.client)):
                    mark = program.mark()
                    changed = f"{text.rstrip()}\nretention = {number + 3}d\n\n"
                    replace(path, changed + (extra if number % 2 == 0 and program is network.servers[0] else ""))
                    if number % 2:
                        program.signal(signal.SIGHUP)
                    program.wait_for("reloading", since=mark)
                    time.sleep(0.3)
        network.settle()
        assert network.stop() == [0, 0]
        network.check()


@pytest.mark.parametrize("role", ["server", "client"])
def test_a_section_that_gets_another_name_under_load_loses_nothing(tmp_path: Path, role: str) -> None:
    """T09: the old chain goes, the new one comes, and what was announced meanwhile arrives."""
    network = Network(tmp_path, killed=True)
    path, program = (network.server_config(), network.servers[0]) if role == "server" else (network.client_config, network.client)
    with network:
        network.begin()
        with writing(network):
            for name in ("second", "third"):
                mark = program.mark()
                replace(path, f"[{name}]\n" + path.read_text().partition("\n")[2])
                program.wait_for("reloading", since=mark)
                program.wait_for(f"\\[{name}\\].*(watches|listens to)", since=mark)
                time.sleep(0.5)
        eventually(lambda: not network.scene().missing(), 60, message="all files delivered")
        assert network.stop() == [0, 0]
        assert network.observer.violations == []


def test_a_limited_bandwidth_holds_up_no_stop_and_a_reload_lifts_it(tmp_path: Path) -> None:
    network = Network(tmp_path, server_options={"bandwidth_per_host": "1k"})
    network.killed = True
    server = network.servers[0]
    def begun() -> bool:
        return any(path.stat().st_size for path in network.destination.iterdir())

    with network:
        network.start()
        server.wait_for("watches")
        network.write("large.bin", os.urandom(2_000_000))  # would take half an hour
        eventually(begun, message="it has begun")
        assert server.stop(12) == 0  # T07: 10 seconds
        for path in network.destination.iterdir():
            path.unlink()
        server.start()
        eventually(begun, message="it has begun again")
        network.server_options.clear()
        network.write_server_config()
        network.settle()
        network.check()


SECRETS = ["s3cr3t-in-url", "s3cr3t-in-login", "s3cr3t-parameter"]


def test_passwords_show_nowhere(tmp_path: Path) -> None:
    refused = f"ftp://user:{SECRETS[0]}@127.0.0.1:1/data/"
    network = Network(tmp_path, server_options={"connection_parameters__password": SECRETS[2], "connect_timeout": "1"})
    more = (section("url", {"providers": f"127.0.0.1:{network.publish_ports[0]}", "topic": "/faults", "nameservers": "false",
                            "listen_address": "127.0.0.1", "destination": refused, "create_target_directory": "false"})
            + section("login", {"providers": f"127.0.0.1:{network.publish_ports[0]}", "topic": "/faults", "nameservers": "false",
                                "listen_address": "127.0.0.1", "destination": "ftp://127.0.0.1:1/login/",
                                "login": f"user:{SECRETS[1]}", "create_target_directory": "false"}))
    network.client_options["login"] = f"user:{SECRETS[1]}"
    network.write_client_config(more)
    with network:
        network.start()
        network.write_many(3)
        eventually(lambda: not network.scene().missing(), message="the local chain gets its files")
        network.servers[0].wait_for("127.0.0.1:1")
        for chain in ("url", "login"):
            network.client.wait_for(rf"\[{chain}\] .*refused")
        for program in (network.servers[0], network.client):
            arguments = Path(f"/proc/{program.pid}/cmdline").read_text()
            assert not any(secret in arguments for secret in SECRETS)
        time.sleep(1)
        assert network.stop() == [0, 0]
        broken = [line for line in network.scene(secrets=SECRETS).violations() if line.startswith("I7")]
        assert not broken, broken
        text = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".ini")
        assert not any(secret.encode() in text for secret in SECRETS)
