"""The rules of a lease at their very bounds, where a random history (test_lease_model.py) seldom comes."""

from __future__ import annotations

import pytest

from trollmoves.bus.leases import MOST_EARLIER, TTL, UNCONTESTED, Lease, Leases

NOW = 1000.0
GRAIN = 0.001


@pytest.fixture
def leases() -> Leases:
    return Leases(NOW)


@pytest.fixture
def lease(leases: Leases) -> Lease:
    """That of the primary, granted for its first request."""
    return leases.grant("x", "primary", "r:1", NOW)


def test_nobody_else_gets_it_before_it_expires(lease: Lease) -> None:
    assert not lease.claim("spare", "r:2", NOW + TTL - GRAIN)
    assert lease.is_held_by("primary", "r:1") and lease.durable == (1, 0, 0)
    assert lease.claim("spare", "r:2", NOW + TTL)
    assert lease.is_held_by("spare", "r:2") and lease.durable == (2, 0, 0)
    assert not lease.is_held_by("spare", "r:1") and not lease.is_held_by("primary", "r:2")


def test_a_refusal_changes_nothing(lease: Lease) -> None:
    """Who asks again and again does not keep it alive for a holder that is gone, either."""
    for second in range(int(TTL)):
        assert not lease.claim("spare", "r:2", NOW + second)
    assert lease.expires == NOW + TTL and lease.earlier == ()


def test_who_is_heard_of_keeps_it(lease: Lease) -> None:
    later = NOW + TTL - GRAIN
    assert lease.claim("primary", "r:1", later)
    assert not lease.claim("spare", "r:2", later + TTL - GRAIN)
    assert lease.commit("r:1", 1, later + TTL - GRAIN)
    assert not lease.claim("spare", "r:2", later + 2 * (TTL - GRAIN) - GRAIN)
    assert lease.durable == (1, 1, 0)


def test_a_holder_that_comes_back_before_anybody_else_asks_still_has_it(lease: Lease) -> None:
    assert lease.claim("primary", "r:1", NOW + 10 * TTL)
    assert lease.durable == (1, 0, 0) and lease.expires == NOW + 11 * TTL


@pytest.mark.parametrize(("request_", "fence", "may"), [
    ("r:1", 1, True), ("r:1", 0, True), ("r:1", 2, False), ("r:1", -1, False), ("r:2", 1, False), ("r:2", 0, False)])
def test_only_the_holder_may_publish(lease: Lease, request_: str, fence: int, may: bool) -> None:
    assert lease.commit(request_, fence, NOW + 1) == may
    assert lease.committed == may
    assert lease.expires == NOW + TTL + may


def test_what_a_former_holder_was_told_is_worth_nothing(lease: Lease) -> None:
    assert lease.claim("spare", "r:2", NOW + TTL)
    assert not lease.commit("r:1", 1, NOW + TTL) and not lease.commit("r:1", 0, NOW + TTL)
    assert not lease.commit("r:2", 1, NOW + TTL)
    assert lease.commit("r:2", 2, NOW + TTL)


def test_who_takes_over_from_one_that_perhaps_published_is_marked_and_so_are_all_after(lease: Lease) -> None:
    assert lease.commit("r:1", 1, NOW)
    assert lease.claim("spare", "r:2", NOW + TTL)
    assert lease.durable == (2, 0, 1)
    assert lease.claim("third", "r:3", NOW + 2 * TTL)
    assert lease.durable == (3, 0, 1)


def test_a_holder_that_lost_its_journal_has_it_at_once_and_is_marked(lease: Lease) -> None:
    """It may have published what it no longer knows of."""
    assert lease.commit("r:1", 1, NOW)
    assert lease.claim("primary", "r:2", NOW + 1)
    assert lease.durable == (2, 0, 1) and lease.expires == NOW + 1 + TTL
    assert not lease.commit("r:1", 1, NOW + 1)


def test_what_it_asked_with_before_is_heard_no_more_as_long_as_it_lives(lease: Lease) -> None:
    assert lease.claim("primary", "r:2", NOW)
    assert not lease.claim("primary", "r:1", NOW + TTL - GRAIN)
    assert lease.is_outdated("primary", "r:1", NOW + TTL - GRAIN)
    assert not lease.is_outdated("spare", "r:1", NOW) and not lease.is_outdated("primary", "r:2", NOW)
    assert not lease.is_outdated("primary", "r:1", NOW + TTL)
    assert lease.claim("primary", "r:1", NOW + TTL), "the journal of before is back"
    assert lease.earlier == ("r:2",)


def test_another_holder_has_no_earlier_requests(lease: Lease) -> None:
    assert lease.claim("primary", "r:2", NOW)
    assert lease.claim("spare", "r:3", NOW + TTL)
    assert lease.earlier == ()


def test_the_last_of_its_earlier_requests_are_kept(lease: Lease) -> None:
    for number in range(2, MOST_EARLIER + 3):
        assert lease.claim("primary", f"r:{number}", NOW)
    assert lease.earlier == tuple(f"r:{number}" for number in range(2, MOST_EARLIER + 2))


def test_an_upstream_client_that_names_no_request_leaves_none(leases: Leases) -> None:
    lease = leases.grant("x", "primary", "", NOW)
    assert lease.claim("primary", "r:1", NOW) and lease.earlier == ()


@pytest.mark.parametrize("told", [True, False])
def test_its_time_begins_anew_when_the_holder_is_told_of_the_delivery(leases: Leases, lease: Lease, told: bool) -> None:
    leases.drop("x")
    leases.settle("x", lease, NOW + 5, told=told)
    assert lease.expires == NOW + TTL + 5 * told
    assert leases.restored("x", "primary", "r:1", UNCONTESTED) is lease


def test_what_an_earlier_process_granted_is_nobody_elses_for_a_while(leases: Leases) -> None:
    """Its holder had no chance to be heard."""
    lease = leases.restored("x", "primary", "r:2", (3, 1, 0), ("r:1",))
    assert (lease.durable, lease.earlier) == ((3, 1, 0), ("r:1",))
    assert not lease.claim("spare", "r:3", NOW + TTL - GRAIN)
    assert leases.restored("x", "primary", "r:0", UNCONTESTED) is lease, "what is in memory is newer"
    assert lease.claim("spare", "r:3", NOW + TTL)
    assert lease.durable == (4, 0, 1)


def test_an_old_one_of_which_it_is_said_that_it_is_doubtful_stays_so(leases: Leases) -> None:
    assert leases.restored("x", "primary", "r:1", (2, 0, 1)).durable == (2, 0, 1)


def test_what_expired_long_ago_is_left_to_the_journal(leases: Leases, lease: Lease) -> None:
    leases.forget_expired(NOW + 2 * TTL)
    assert leases.restored("x", "primary", "r:1", UNCONTESTED) is lease
    leases.forget_expired(NOW + 2 * TTL + GRAIN)
    assert leases.restored("x", "primary", "r:1", UNCONTESTED) is not lease


def test_what_was_published_is_nobodys_any_more(leases: Leases, lease: Lease) -> None:
    leases.drop("x")
    leases.drop("x")
    assert leases.restored("x", "spare", "r:2", UNCONTESTED).is_held_by("spare", "r:2")
