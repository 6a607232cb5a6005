"""The audit of running programs: where it cannot be written nothing stops, and a kill costs no more than the last second."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.checker import rows
from tests.integration.hostile import Peer, Victim
from tests.support.auditing import audited
from tests.support.eventually import eventually, never
from tests.support.programs import CHECKOUT
from trollmoves.journal.audit import UNWRITTEN, audit_of


def verify(journal: Path) -> tuple[int, str]:
    done = subprocess.run([sys.executable, "-m", "trollmoves.cli.umbrella", "audit", "--verify", "--journal", str(journal)],
                          cwd=CHECKOUT, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout


def refused(victim: Victim, count: int, address: str = "127.0.0.1") -> None:
    with Peer(victim.port, address=address) as peer:
        for number in range(count):
            assert " err " in peer.ask(victim.push(f"{victim.origin}/none{number}.bin", f"file://{victim.allowed}/"))


def alarms(victim: Victim) -> list[tuple[object, ...]]:
    return rows(victim.journal, "SELECT text FROM alarms WHERE kind = 'audit' AND cleared IS NULL")


@pytest.mark.parametrize("make", [Path.mkdir, lambda path: path.symlink_to(path.with_name("precious")), os.mkfifo],
                         ids=["directory", "link", "pipe"])
def test_where_it_cannot_be_written_nothing_stops_and_what_is_lacking_is_told(tmp_path: Path,
                                                                              make: Callable[[Path], None]) -> None:
    precious, place = tmp_path / "precious", Path(audit_of(tmp_path / "server.journal"))
    precious.write_text("precious")
    make(place)
    victim = Victim(tmp_path)
    try:
        refused(victim, 3)
        said = eventually(lambda: alarms(victim), message="an alarm")
        assert str(place) in str(said[0][0])
        assert victim.healthy()
        victim.announce("later.bin", b"later")
        assert precious.read_text() == "precious"
        place.rmdir() if place.is_dir() and not place.is_symlink() else place.unlink()
        eventually(lambda: not alarms(victim), message="the alarm is over")
        (record,) = audited(victim.journal, UNWRITTEN, wait_for=1)
        assert record["records"] >= 4, "three refusals and the alarm"
        refused(victim, 1)
        assert audited(victim.journal, "refused", wait_for=1)[-1]["uid"] == "none0.bin"
        assert verify(victim.journal)[0] == 0
    finally:
        victim.close()


def test_after_a_kill_while_it_is_written_the_chain_goes_on(tmp_path: Path) -> None:
    victim = Victim(tmp_path)
    try:
        for round_ in range(3):  # each leaves a line without an end
            for peer in range(5):
                refused(victim, 50, address=f"127.0.{round_}.{peer + 1}")
            if round_:
                audited(victim.journal, "cut short", wait_for=round_)
            audited(victim.journal, wait_for=50 * (round_ + 1))
            refused(victim, 50)
            victim.program.kill()
            with Path(audit_of(victim.journal)).open("ab") as file:
                file.write(b'{"number":')
            victim.program.start()
            eventually(victim.healthy, message="it serves again")
        refused(victim, 1, address="127.0.9.9")
        assert eventually(lambda: audited(victim.journal)[-1:][0].get("address") == "127.0.9.9", message="it goes on")
        status, said = verify(victim.journal)
        assert status == 0, said
        numbers = [record["number"] for record in audited(victim.journal) if record["number"]]
        assert numbers == list(range(1, len(numbers) + 1))
        assert len(audited(victim.journal, "cut short")) == 3
    finally:
        victim.close()


def test_on_a_full_disk_records_wait_and_are_written_when_there_is_room(tmp_path: Path) -> None:
    place = tmp_path / "small"
    place.mkdir()
    if os.geteuid() or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m", "none", place], capture_output=True).returncode:
        pytest.skip("needs root to mount a small file system")
    try:
        victim = Victim(place)
        try:
            filler = place / "filler"
            with pytest.raises(OSError, match="No space"), filler.open("wb", buffering=0) as file:
                while True:
                    file.write(bytes(4096))
            refused(victim, 60)
            never(lambda: audited(victim.journal), 3, message="there is room for it")  # nor is there for the log
            filler.unlink()
            assert len(audited(victim.journal, "refused", wait_for=60)) == 60
            assert eventually(victim.healthy, message="it serves again")
            assert verify(victim.journal)[0] == 0
            assert "No space left on device" in audited(victim.journal, "alarm over", wait_for=1)[0]["text"]
        finally:
            victim.close()
    finally:
        subprocess.run(["umount", "-l", place], check=True)
