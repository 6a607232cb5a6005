"""A server and a client that say what does not come: real processes, `expect` in their sections."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.faults.checker import rows
from tests.faults.network import Network
from tests.integration.test_dead_letters import command
from tests.support.eventually import eventually


def test_what_is_missing_of_a_product_is_named_by_server_and_client(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    expect = {"expect": "segment 1-3 within 2s of start_time"}
    network = Network(tmp_path, server_options={"origin": f"{tmp_path}/origin0/{{start_time:%Y%m%d%H%M%S}}_{{segment:3d}}.bin",
                                                **expect}, client_options=expect)
    network.killed = True
    journals = (network.server_journal(), network.client_journal)

    def late(journal: Path) -> list[str]:
        return [str(text) for (text,) in rows(journal, "SELECT text FROM alarms WHERE kind = 'late' AND cleared IS NULL")]
    with network:
        network.start()
        network.servers[0].wait_for("watches")
        network.client.wait_for("listens to")
        stamp = time.strftime("%Y%m%d%H%M%S", time.gmtime(time.time() + 20))  # after the calm that follows a start
        network.write(f"{stamp}_001.bin", b"one")
        network.write(f"{stamp}_003.bin", b"three")
        for journal in journals:
            (text,) = eventually(lambda journal=journal: late(journal), 60, message="an alarm")
            assert "is missing: segment 2 (expected segment 1-3" in text
            assert command(capsys, "status", "--journal", journal)[0] == 1
        for program in (network.servers[0], network.client):
            assert program.stop() == 0
            program.start()
        network.write(f"{stamp}_002.bin", b"two")
        for journal in journals:
            eventually(lambda journal=journal: not late(journal), 60, message="the alarm is over")
            assert rows(journal, "SELECT count(*) FROM alarms WHERE kind = 'late'") == [(1,)]
        network.settle()
        network.check()


def test_a_mistake_in_expect_is_explained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network = Network(tmp_path, client_options={"expect": "segment 1-8 after 12m of start_time"})
    status, text = command(capsys, "check", network.client_config)
    assert status == 1
    assert "[recv] expect: " in text
    assert "'after' where `within` should stand" in text
    network.recorder.close()
