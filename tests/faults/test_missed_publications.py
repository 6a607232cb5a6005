"""A dispatcher behind a client: whoever of them is away, every file goes all the way, once."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.faults.checker import payload_of, rows
from tests.faults.network import Network, Recorder
from tests.integration.fetching import Fetching
from tests.integration.moving import MovingIt, arrives, gone
from tests.support.eventually import eventually
from tests.support.ports import free_port
from tests.support.programs import CHECKOUT, Program


class Behind:
    """A network of server and client, and a dispatcher that hears the client. Use it as a context."""

    def __init__(self, root: Path):
        self.network = Network(root, killed=True)
        self.target = root / "target"
        self.target.mkdir()
        self.journal = root / "dispatcher.journal"
        self.port = free_port()
        config = root / "dispatcher.yaml"
        config.write_text(
            f"posttroll_subscriber:\n  nameserver: false\n  subscribe_addresses: [tcp://127.0.0.1:{self.network.client_port}]\n"
            f"archive:\n  host: ''\n  directory: {self.target}\n  publish_topic: /archived\n"
            f"  dispatch_configs:\n    - topics: [/faults]\n")
        self.dispatcher = Program.ours("dispatcher", "-p", str(self.port), "-n", "false", "--journal", self.journal, "--", config,
                                       log=root / "dispatcher.log")
        self.recorder = Recorder(self.port)

    def __enter__(self) -> Behind:
        self.network.__enter__()
        self.network.start()
        self.dispatcher.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.dispatcher.kill()
        self.recorder.close()
        self.network.__exit__(None, None, None)

    def is_followed(self) -> bool:
        """Whether the dispatcher has heard where the client is, and misses nothing."""
        return bool(rows(self.journal, "SELECT 1 FROM cursors"))

    def settle(self, seconds: float = 60) -> None:
        """Everything is at the target, was dispatched once, and is reported."""
        self.network.settle(seconds)
        wanted = set(self.network.ledger.latest())
        eventually(lambda: {path.name for path in self.target.iterdir() if not path.name.startswith(".")} >= wanted, seconds,
                   message="all files at the target")
        eventually(lambda: not rows(self.journal, "SELECT 1 FROM files WHERE state NOT IN ('published')"), seconds,
                   message="all of them reported")
        counts = Counter(name for (name,) in rows(self.journal, "SELECT identity FROM files"))
        assert set(counts) == wanted
        assert not [name for name, count in counts.items() if count > 1], "a file was dispatched twice"


def test_a_dispatcher_that_was_away_gets_what_its_client_published(tmp_path: Path) -> None:
    with Behind(tmp_path) as behind:
        eventually(behind.is_followed, message="the dispatcher follows the client")
        behind.network.write_many(20, "first")
        behind.settle()
        behind.dispatcher.kill()
        behind.network.write_many(700, "missed", size=200)
        behind.network.settle()
        behind.dispatcher.start()
        behind.settle()
        behind.network.write_many(3, "last")
        behind.settle()
        behind.network.check()
        assert not rows(behind.journal, "SELECT text FROM alarms WHERE kind = 'gap'")


def test_a_client_that_is_killed_between_journal_and_publication_is_asked_for_it(tmp_path: Path) -> None:
    with Behind(tmp_path) as behind:
        eventually(behind.is_followed, message="the dispatcher follows the client")
        behind.network.client.kill()
        armed = behind.network.arm("client.publishing", 3)
        armed.start()
        behind.network.write_many(5)
        assert armed.wait(60) == -9
        behind.network.disarm()
        behind.network.client.start()
        behind.settle()
        behind.network.check()


def test_results_of_a_dispatcher_are_numbered_and_can_be_asked_for_again(tmp_path: Path) -> None:
    with Behind(tmp_path) as behind:
        eventually(behind.is_followed, message="the dispatcher follows the client")
        behind.network.write_many(4)
        behind.settle()
        eventually(lambda: len(behind.recorder.files()) == 4, message="four results")
        offsets = [data["trollmoves"]["offset"] for data in behind.recorder.files()]  # type: ignore[index]
        assert sorted(offsets) == [1, 2, 3, 4]
        beat = next(payload_of(text) for text in behind.recorder.texts if text.startswith("pytroll://heartbeat/dispatcher "))
        address = beat["trollmoves"]["address"]  # type: ignore[index]
        question = ["req", "replay", address, "--since", "1h", "--topic", "/archived"]
        done = subprocess.run([sys.executable, "-m", "trollmoves.cli.umbrella", *question], capture_output=True, text=True,
                              timeout=60, cwd=CHECKOUT, check=True)
        assert done.stdout.count("/archived file") == 4


def test_an_order_to_ask_a_client_again_that_is_away_outlives_the_dispatcher(tmp_path: Path) -> None:
    with Behind(tmp_path) as behind:
        eventually(behind.is_followed, message="the dispatcher follows the client")
        behind.network.write_many(3)
        behind.settle()
        behind.network.client.kill()
        said = ["retry", "--since", "1h", "--journal", str(behind.journal)]
        subprocess.run([sys.executable, "-m", "trollmoves.cli.umbrella", *said], check=True, timeout=60, cwd=CHECKOUT)
        behind.dispatcher.kill()
        assert len(rows(behind.journal, "SELECT 1 FROM orders")) == 1
        behind.dispatcher.start()
        mark = behind.dispatcher.mark()
        behind.network.client.start()
        behind.dispatcher.wait_for("all that was asked for again is here", since=mark)
        eventually(lambda: not rows(behind.journal, "SELECT 1 FROM orders"), message="the order is done")
        behind.settle()


def test_sections_that_listen_get_what_their_client_published_while_they_were_away_each_of_them_once(tmp_path: Path) -> None:
    with Network(tmp_path, killed=True) as network:
        journal, config, port = tmp_path / "relay.journal", tmp_path / "relay.ini", free_port()
        config.write_text("".join(
            f"[{name}]\nlisten = /faults\ntopic = /{name}\nnameserver = false\naddresses = tcp://127.0.0.1:{network.client_port}\n"
            f"listen_address = 127.0.0.1\nrequest_address = 127.0.0.1\nrequest_port = {free_port()}\n"
            for name in ("one", "two")))
        relay = Program.ours("server", "-p", str(port), "--journal", journal, config, log=tmp_path / "relay.log")

        def announced(count: int) -> None:
            for chain in ("one", "two"):
                said = f"SELECT identity, state FROM files WHERE chain = '{chain}'"
                eventually(lambda said=said: len(rows(journal, said)) >= count, 60, message=f"{count} files in [{chain}]")
                eventually(lambda said=said: {state for _, state in rows(journal, said)} == {"announced"}, message="announced")
        with relay:
            network.start()
            eventually(lambda: len(rows(journal, "SELECT 1 FROM cursors WHERE chain IN ('one', 'two')")) == 4,
                       message="both sections follow the client")
            network.write_many(5, "first")
            announced(5)
        relay.kill()
        network.write_many(20, "missed")
        network.settle()
        with relay:
            announced(25)
            network.write_many(1, "last")
            announced(26)
            repeated = rows(journal, "SELECT chain, identity FROM files GROUP BY chain, identity HAVING count(*) > 1")
            assert not repeated, "what was heard before is no news"


@pytest.mark.parametrize("times", [4, pytest.param(50, marks=[pytest.mark.nightly, pytest.mark.timeout(900)])])
def test_nothing_is_lost_while_everybody_comes_and_goes(tmp_path: Path, times: int) -> None:
    dice = random.Random(int(os.environ.get("TROLLMOVES_TEST_SEED") or 7))
    with Behind(tmp_path) as behind:
        eventually(behind.is_followed, message="the dispatcher follows the client")
        programs = [behind.network.servers[0], behind.network.client, behind.dispatcher]
        for number in range(times):
            down = [program for program in programs if dice.random() < 0.6]
            for program in down:
                program.kill()
            behind.network.write_many(5, f"r{number}-", size=500)
            time.sleep(dice.uniform(0.0, 0.5))
            dice.shuffle(down)
            for program in down:
                program.start()
        behind.settle(120)
        behind.network.check()


def test_a_dispatcher_that_was_away_gets_what_move_it_published(tmp_path: Path) -> None:
    """Its originals are gone by then: nobody else would say so again."""
    archive, journal, config = tmp_path / "archive", tmp_path / "dispatcher.journal", tmp_path / "dispatcher.yaml"
    with MovingIt(tmp_path, f"destinations = {tmp_path}/out/\ndelete = true") as moving:
        config.write_text(
            f"posttroll_subscriber:\n  nameserver: false\n  subscribe_addresses: [tcp://127.0.0.1:{moving.publish_port}]\n"
            f"archive:\n  host: ''\n  directory: {archive}\n  dispatch_configs:\n    - topics: [/moved]\n")
        dispatcher = Program.ours("dispatcher", "-n", "false", "--journal", journal, "--", config, log=tmp_path / "log")
        with dispatcher:
            moving.start()
            eventually(lambda: rows(journal, "SELECT 1 FROM cursors"), message="the dispatcher follows")
            arrives(archive / "one.dat", moving.write("one.dat").read_bytes())
        dispatcher.kill()
        written = {path: path.read_bytes() for path in map(moving.write, ("two.dat", "three.dat"))}
        for path in written:
            gone(path)
        moving.program.kill()
        with dispatcher:
            moving.start()
            for path, content in written.items():
                arrives(archive / path.name, content)
            arrives(archive / "four.dat", moving.write("four.dat").read_bytes())


def test_a_dispatcher_that_was_away_gets_what_a_fetcher_published(tmp_path: Path) -> None:
    """Its messages are published, and were heard by nobody: the fetcher does not say them anew by itself."""
    archive, journal, config = tmp_path / "archive", tmp_path / "dispatcher.journal", tmp_path / "dispatcher.yaml"
    replay_port = free_port()
    with Fetching(tmp_path, f"replay_port: {replay_port}") as fetching:
        config.write_text(
            f"posttroll_subscriber:\n  nameserver: false\n  subscribe_addresses: [tcp://127.0.0.1:{fetching.publish_port}]\n"
            f"archive:\n  host: ''\n  directory: {archive}\n  dispatch_configs:\n    - topics: [/new]\n")
        dispatcher = Program.ours("dispatcher", "-n", "false", "--journal", journal, "--", config, log=tmp_path / "log")

        def fetched(name: str) -> bytes:
            path = tmp_path / name
            path.write_bytes(name.encode() * 1000)
            fetching.announce(str(path))
            arrives(fetching.into / "M9" / name, path.read_bytes())
            return path.read_bytes()
        fetching.start()
        with dispatcher:
            eventually(lambda: rows(journal, "SELECT 1 FROM cursors"), message="the dispatcher follows")
            arrives(archive / "one.dat", fetched("one.dat"))
        dispatcher.kill()
        written = {name: fetched(name) for name in ("two.dat", "three.dat")}
        eventually(lambda: set(fetching.states()) == {"published"}, message="all of them published")
        fetching.program.kill()
        with dispatcher:
            fetching.start()
            for name, content in written.items():
                arrives(archive / name, content)
            arrives(archive / "four.dat", fetched("four.dat"))
            assert not rows(journal, "SELECT text FROM alarms WHERE kind = 'gap'")
        beat = next(payload_of(text) for text in fetching.recorder.texts if text.startswith("pytroll://heartbeat/fetcher "))
        assert beat["trollmoves"]["address"] == f"127.0.0.1:{replay_port}"  # type: ignore[index]
