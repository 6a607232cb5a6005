"""Names are looked up in the background, kept, looked up again, and outlive a name server that does not answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from trollmoves.bus import names as module
from trollmoves.bus.names import Names, Whereabouts
from trollmoves.server import trusting as trusting_module
from trollmoves.server.trusting import Trusting


class Bench:
    """A loop and a worker by hand: look-ups end when the test says so."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Callable[[], Any], Callable[[Any], Any]]] = []
        self.planned: list[tuple[float, Callable[[], Any]]] = []
        self.told: dict[str, tuple[str, ...] | None] = {}
        self.now = 1000.0
        self.names = Names(lambda function, *arguments: function(*arguments),
                           lambda seconds, function: self.planned.append((seconds, function)), lambda: self.now)
        self.names.in_worker = lambda run, done: self.waiting.append((run, done))
        self.names.look_up = lambda host: self.told[host]

    def answer(self, **told: tuple[str, ...] | None) -> None:
        self.told.update(told)
        waiting, self.waiting = self.waiting, []
        for run, done in waiting:
            done(run())

    def later(self, **told: tuple[str, ...] | None) -> float:
        """Let the time pass until what is planned is done; how many seconds that was."""
        (seconds, again), = self.planned
        self.planned.clear()
        self.now += seconds
        again()
        self.answer(**told)
        return seconds


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_nobody_is_asked_for_an_address_nor_for_this_machine(bench: Bench) -> None:
    assert bench.names.now("192.0.2.1") == ("192.0.2.1",) and bench.names.now("localhost") == ("127.0.0.1",)
    assert bench.names.is_this_machine("") is True and bench.names.is_this_machine("127.0.0.1") is True
    assert not bench.waiting


def test_a_name_is_unknown_until_somebody_answers(bench: Bench) -> None:
    heard: list[str] = []
    assert bench.names.now("a") is None and bench.names.is_this_machine("a") is None and not bench.names.is_certain("a")
    bench.names.when_asked("a", lambda: heard.append("asked"))
    assert len(bench.waiting) == 1, "it is looked up once at a time"
    assert heard == []
    bench.answer(a=("192.0.2.1",))
    assert heard == ["asked"] and bench.names.now("a") == ("192.0.2.1",) and bench.names.is_certain("a")
    assert bench.names.is_this_machine("a") is False


def test_who_follows_a_name_is_told_of_other_addresses_only(bench: Bench) -> None:
    heard: list[tuple[str, ...] | None] = []
    end = bench.names.follow("a", lambda: heard.append(bench.names.now("a")))
    bench.answer(a=("192.0.2.1",))
    bench.later(a=("192.0.2.1",))
    assert heard == [("192.0.2.1",)]
    bench.later(a=("192.0.2.2",))
    assert heard[1:] == [("192.0.2.2",)]
    end()
    bench.planned.pop()[1]()
    assert not bench.planned, "nobody is interested any more"


def test_an_answer_outlives_the_name_server_for_some_time(bench: Bench) -> None:
    bench.names.follow("a", lambda: None)
    bench.answer(a=("192.0.2.1",))
    assert bench.later(a=None) == module.KEEP
    assert bench.names.now("a") == ("192.0.2.1",) and bench.names.is_certain("a")
    assert bench.later(a=None) == module.AGAIN
    bench.now += module.OUTLIVES
    bench.later(a=None)
    assert bench.names.now("a") == () and not bench.names.is_certain("a")


def test_many_names_are_not_all_kept(bench: Bench) -> None:
    for number in range(module.MOST_NAMES):
        bench.names.now(f"h{number}")
    assert bench.names.now("one more") == (), "all of them are being asked for"
    bench.answer(**{f"h{number}": () for number in range(module.MOST_NAMES)})
    assert bench.names.now("one more") is None, "what nobody follows made way"


def test_a_connection_goes_where_the_name_leads_and_stays_there(bench: Bench) -> None:
    moves: list[str | None] = []
    where = Whereabouts(bench.names, "a", lambda: moves.append(where.address))
    assert where.address is None
    bench.answer(a=("192.0.2.1", "192.0.2.2"))
    bench.later(a=("192.0.2.2", "192.0.2.1"))
    assert moves == ["192.0.2.1"], "its address is still one of those"
    bench.later(a=())
    assert where.address == "192.0.2.1", "it may still be there"
    bench.later(a=("192.0.2.3", "192.0.2.4"))
    assert moves == ["192.0.2.1", "192.0.2.3"]
    where.try_another()
    assert where.address == "192.0.2.4"
    where.close()
    where.close()


def test_nobody_is_trusted_by_a_name_that_is_not_known(bench: Bench) -> None:
    late: list[str] = []
    trusting = Trusting(bench.names, ("a", "192.0.2.9"))
    assert trusting.trusts("192.0.2.9") and not trusting.trusts("192.0.2.1")
    trusting.when_trusted("192.0.2.1", lambda: late.append("friend"))
    trusting.when_trusted("192.0.2.2", lambda: late.append("stranger"))
    bench.answer(a=None)
    assert late == [] and not trusting.trusts("192.0.2.1")
    bench.later(a=("192.0.2.1",))
    assert late == ["friend"] and trusting.trusts("192.0.2.1") and not trusting.trusts("192.0.2.2")
    trusting.when_trusted("192.0.2.2", lambda: late.append("stranger"))
    bench.later(a=("192.0.2.2",))
    assert late == ["friend"], "when it spoke it was known that it is a stranger"
    trusting.close()


@pytest.mark.parametrize(("trusted", "expected"), [
    ((), False), (("any",), True), (("192.0.2.7",), True), (("192.0.2.8",), False)])
def test_whose_ack_counts(bench: Bench, trusted: tuple[str, ...], expected: bool) -> None:
    assert Trusting(bench.names, trusted).trusts("192.0.2.7") is expected


def test_an_ack_waits_for_all_names_that_are_not_known(bench: Bench) -> None:
    late: list[str] = []
    trusting = Trusting(bench.names, ("a", "b"))
    (ask_a, ask_b), bench.waiting = bench.waiting, []
    for peer in ("198.51.100.1", "198.51.100.2", "198.51.100.3"):
        trusting.when_trusted(peer, lambda peer=peer: late.append(peer))  # type: ignore[misc]
    for (run, done), told in ((ask_a, {"a": ("198.51.100.1",)}), (ask_b, {"b": ("198.51.100.2",)})):
        bench.told.update(told)
        done(run())
    assert late == ["198.51.100.1", "198.51.100.2"], "each once"
    trusting.close()


@pytest.mark.parametrize(("peer", "expected"), [("127.0.0.1", True), ("198.51.100.1", False)])
def test_this_machine_is_trusted_by_its_name_whatever_address_it_asks_from(bench: Bench, peer: str, expected: bool) -> None:
    trusting = Trusting(bench.names, ("me", "other"))
    bench.answer(me=("127.0.1.1",), other=("198.51.100.2",))
    assert trusting.trusts(peer) is expected
    assert not Trusting(bench.names, ("other",)).trusts(peer)


def test_of_many_acks_the_oldest_wait_no_more(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trusting_module, "MOST_DOUBTFUL", 2)
    late: list[int] = []
    trusting = Trusting(bench.names, ("a",))
    for number in range(3):
        trusting.when_trusted("198.51.100.1", lambda number=number: late.append(number))  # type: ignore[misc]
    bench.answer(a=("198.51.100.1",))
    assert late == [1, 2]
