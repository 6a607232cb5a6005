"""Open sessions of a worker: kept while used, closed when idle, and what happens when a host does not answer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.support.clock import Clock
from trollmoves.errors import LoginRefused, TemporaryError, Unreachable
from trollmoves.movers.base import SessionSettings
from trollmoves.movers.memory import MemoryMover
from trollmoves.movers.sessions import ASK_WHEN_IDLE, Sessions, at_backup
from trollmoves.uris import parse_destination

SETTINGS = SessionSettings(connection_uptime=30.0)
ASKED = parse_destination("memory://user:secret@primary:2222/in/")


@pytest.fixture
def mover() -> MemoryMover:
    return MemoryMover()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sessions(mover: MemoryMover, clock: Clock) -> Iterator[Sessions]:
    sessions = Sessions(clock, lambda scheme: mover)
    yield sessions
    sessions.close()


def test_a_session_is_used_again(sessions: Sessions, mover: MemoryMover) -> None:
    kept = sessions.get(ASKED, SETTINGS)
    assert sessions.get(ASKED.with_path("/elsewhere"), SETTINGS) is kept
    assert mover.host("primary").opened == 1


@pytest.mark.parametrize("other", ["memory://user:secret@primary:2223/in/", "memory://user:secret@secondary:2222/in/",
                                   "memory://somebody:secret@primary:2222/in/", "memory://user:other@primary:2222/in/",
                                   "memory://primary:2222/in/"])
def test_what_leads_elsewhere_or_is_someone_else_gets_its_own(sessions: Sessions, other: str) -> None:
    assert sessions.get(ASKED, SETTINGS) is not sessions.get(parse_destination(other), SETTINGS)


def test_another_section_gets_its_own(sessions: Sessions) -> None:
    assert sessions.get(ASKED, SETTINGS) is not sessions.get(ASKED, replace(SETTINGS))


def test_an_idle_session_is_closed_after_its_time(sessions: Sessions, mover: MemoryMover, clock: Clock) -> None:
    kept = sessions.get(ASKED, SETTINGS)
    clock.advance(29)
    sessions.close_idle()
    assert kept.session.is_alive()
    clock.advance(1)
    sessions.close_idle()
    assert not kept.session.is_alive()
    assert sessions.get(ASKED, SETTINGS) is not kept
    assert mover.host("primary").opened == 2


def test_one_that_is_too_old_is_not_used_even_when_nobody_closed_it(sessions: Sessions, clock: Clock) -> None:
    kept = sessions.get(ASKED, SETTINGS)
    clock.advance(30)
    assert sessions.get(ASKED, SETTINGS) is not kept
    assert not kept.session.is_alive()


def test_use_keeps_it_young_and_so_does_the_end_of_a_long_move(sessions: Sessions, clock: Clock) -> None:
    kept = sessions.get(ASKED, SETTINGS)
    for _ in range(5):
        clock.advance(20)
        assert sessions.get(ASKED, SETTINGS) is kept
    clock.advance(3600)
    sessions.release(kept)
    assert sessions.get(ASKED, SETTINGS) is kept


def test_a_session_that_rested_is_asked_whether_it_lives(sessions: Sessions, mover: MemoryMover, clock: Clock) -> None:
    kept = sessions.get(ASKED, SETTINGS)
    kept.session.close()
    clock.advance(ASK_WHEN_IDLE / 2)
    assert sessions.get(ASKED, SETTINGS) is kept  # the move that runs into it discards it
    clock.advance(ASK_WHEN_IDLE)
    assert sessions.get(ASKED, SETTINGS) is not kept
    assert mover.host("primary").opened == 2


def test_a_discarded_session_is_closed_and_replaced(sessions: Sessions, mover: MemoryMover) -> None:
    kept = sessions.get(ASKED, SETTINGS)
    sessions.discard(kept)
    sessions.discard(kept)
    assert not kept.session.is_alive()
    assert sessions.get(ASKED, SETTINGS) is not kept
    assert mover.host("primary").opened == 2


def test_closing_closes_all_and_may_be_repeated(sessions: Sessions) -> None:
    kept = [sessions.get(ASKED.with_host(host), SETTINGS) for host in "abc"]
    sessions.close()
    sessions.close()
    assert not any(one.session.is_alive() for one in kept)


def test_without_a_backup_an_unreachable_host_is_just_that(sessions: Sessions, mover: MemoryMover) -> None:
    mover.host("primary").reachable = False
    with pytest.raises(Unreachable) as caught:
        sessions.get(ASKED, SETTINGS)
    assert "secret" not in str(caught.value)
    mover.host("primary").reachable = True
    assert sessions.get(ASKED, SETTINGS).destination is ASKED


def test_the_first_backup_that_answers_takes_over_and_is_kept(sessions: Sessions, mover: MemoryMover,
                                                              caplog: pytest.LogCaptureFixture) -> None:
    mover.host("primary").reachable = mover.host("one").reachable = False
    kept = sessions.get(ASKED, SETTINGS, ["one", "two:2200", "three"])
    assert str(kept.destination) == "memory://user@two:2200/in/"
    assert kept.destination.password is None
    assert str(kept.at(ASKED.with_path("/other"))) == "memory://user@two:2200/other"
    assert "secret" not in caplog.text and "one" in caplog.text
    mover.host("primary").reachable = True
    assert sessions.get(ASKED, SETTINGS, ["one", "two:2200", "three"]) is kept
    assert (mover.host("two").opened, mover.host("three").opened) == (1, 0)


def test_the_primary_is_asked_again_when_the_backup_is_gone(sessions: Sessions, mover: MemoryMover) -> None:
    mover.host("primary").reachable = False
    kept = sessions.get(ASKED, SETTINGS, ["two"])
    mover.host("primary").reachable = True
    sessions.discard(kept)
    fresh = sessions.get(ASKED, SETTINGS, ["two"])
    assert fresh.destination is ASKED
    assert fresh.at(ASKED) is ASKED


@pytest.mark.parametrize("backups", [(), ("three",), ("two", "three")])
def test_who_names_other_backup_targets_is_not_sent_to_those_of_somebody_else(sessions: Sessions, mover: MemoryMover,
                                                                              backups: tuple[str, ...]) -> None:
    mover.host("primary").reachable = False
    sessions.get(ASKED, SETTINGS, ["two"])
    mover.host("primary").reachable = True
    assert sessions.get(ASKED, SETTINGS, backups).destination.host == "primary"


def test_a_backup_target_is_the_place_that_was_decided_on(sessions: Sessions, mover: MemoryMover) -> None:
    mover.host("primary").reachable = False
    place = replace(ASKED.with_host("two"), connect_to="192.0.2.7")
    kept = sessions.get(ASKED, SETTINGS, [place])
    assert kept.destination is place
    assert sessions.get(ASKED, SETTINGS, [replace(place, path="/other/")]) is kept
    assert sessions.get(ASKED, SETTINGS, [replace(place, connect_to="192.0.2.8")]) is not kept


def test_one_name_at_another_address_gets_its_own(sessions: Sessions) -> None:
    assert sessions.get(ASKED, SETTINGS) is not sessions.get(replace(ASKED, connect_to="192.0.2.7"), SETTINGS)


def test_a_backup_that_refuses_us_is_passed_over(sessions: Sessions, mover: MemoryMover) -> None:
    mover.host("primary").reachable = False
    mover.host("one").password = "of its own"
    assert sessions.get(ASKED, SETTINGS, ["one", "two"]).destination.host == "two"


def test_a_refused_login_is_no_reason_to_go_elsewhere(sessions: Sessions, mover: MemoryMover) -> None:
    mover.host("primary").password = "another"
    with pytest.raises(LoginRefused):
        sessions.get(ASKED, SETTINGS, ["two"])
    assert mover.host("two").opened == 0


def test_when_nobody_answers_the_first_trouble_is_told(sessions: Sessions, mover: MemoryMover) -> None:
    for host in ("primary", "one", "two"):
        mover.host(host).reachable = False
    with pytest.raises(Unreachable, match="primary.*none of 2 backup targets"):
        sessions.get(ASKED, SETTINGS, ["one", "two"])


def test_a_backup_on_the_same_host_has_its_own_port(sessions: Sessions) -> None:
    assert at_backup(ASKED, "primary:2200").port == 2200


@pytest.mark.parametrize(("backup", "expected"), [
    ("other", "memory://user@other/in/"),
    ("other:22", "memory://user@other:22/in/"),
    ("192.0.2.1", "memory://user@192.0.2.1/in/"),
    ("fe80::1", "memory://user@[fe80::1]/in/"),
    ("[fe80::1]", "memory://user@[fe80::1]/in/"),
    ("[fe80::1]:22", "memory://user@[fe80::1]:22/in/"),
])
def test_how_a_backup_target_is_written(backup: str, expected: str) -> None:
    assert at_backup(ASKED, backup).with_credentials == expected


@pytest.mark.parametrize(("error", "raised", "lives"), [
    (LoginRefused("no"), LoginRefused, True),  # says nothing about the connection
    (Unreachable("gone"), Unreachable, False),
    (OSError(5, "broken"), TemporaryError, False),
    (KeyboardInterrupt(), KeyboardInterrupt, False),
])
def test_a_lent_session_is_not_used_again_when_its_state_is_unknown(sessions: Sessions, error: BaseException,
                                                                    raised: type[BaseException], lives: bool) -> None:
    with pytest.raises(raised), sessions.lent(ASKED, SETTINGS) as kept:
        raise error
    assert kept.session.is_alive() is lives
    assert (sessions.get(ASKED, SETTINGS) is kept) is lives


def test_an_error_of_opening_names_the_destination(sessions: Sessions, mover: MemoryMover) -> None:
    mover.host("primary").reachable = False
    with pytest.raises(Unreachable, match="primary"), sessions.lent(ASKED, SETTINGS):
        pytest.fail("nothing was lent")
