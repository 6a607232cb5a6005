"""Not all may wait for a directory that does not answer."""

from __future__ import annotations

import threading
import time

import pytest

from tests.support.eventually import eventually
from trollmoves.errors import Busy
from trollmoves.server import gate
from trollmoves.server.gate import Gate


class Visitor:
    """Who goes in, and stays until told to leave."""

    def __init__(self, through: Gate, most: int):
        self.is_in, self.outcome = threading.Event(), ""
        self._leave = threading.Event()
        self._thread = threading.Thread(target=self._visit, args=(through, most), daemon=True)
        self._thread.start()

    def _visit(self, through: Gate, most: int) -> None:
        try:
            with through.passed(most):
                self.is_in.set()
                self._leave.wait(60)
            self.outcome = "was in"
        except Busy as error:
            self.outcome = str(error)

    def leave(self) -> None:
        self._leave.set()
        self._thread.join(10)


def test_some_go_in_and_others_wait_until_there_is_room() -> None:
    made = Gate("it")
    first, second = Visitor(made, 2), Visitor(made, 2)
    assert first.is_in.wait(10) and second.is_in.wait(10)
    third = Visitor(made, 2)
    assert not third.is_in.wait(0.2)
    first.leave()
    assert third.is_in.wait(10)
    second.leave()
    third.leave()
    assert [one.outcome for one in (first, second, third)] == ["was in"] * 3


def test_nobody_goes_in_or_waits_while_somebody_stays_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "WITHIN", 0.5)
    made = Gate("it")
    hangs = Visitor(made, 2)
    assert hangs.is_in.wait(10)
    time.sleep(0.6)
    for _ in range(3):
        with pytest.raises(Busy, match="it does not answer") as caught, made.passed(2):
            pass
        assert caught.value.retry_after == gate.RETRY
    hangs.leave()
    with made.passed(2):
        pass


def test_who_waits_for_room_is_told_when_there_will_be_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "WITHIN", 0.5)
    made = Gate("it")
    hangs = Visitor(made, 1)
    assert hangs.is_in.wait(10)
    waits = Visitor(made, 1)
    eventually(lambda: waits.outcome == "it does not answer", 10)
    hangs.leave()


def test_nobody_goes_in_while_one_of_several_stays_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "WITHIN", 0.5)
    made = Gate("it")
    hangs = Visitor(made, 3)
    assert hangs.is_in.wait(10)
    time.sleep(0.4)
    late = Visitor(made, 3)
    if late.is_in.wait(0.1):  # else the machine was busy for so long
        time.sleep(0.2)
    with pytest.raises(Busy), made.passed(3):
        pass
    late.leave()
    hangs.leave()


def test_who_fails_in_there_is_out() -> None:
    made = Gate("it")
    with pytest.raises(ZeroDivisionError), made.passed(1):
        raise ZeroDivisionError
    with made.passed(1):
        pass
