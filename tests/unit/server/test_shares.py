"""What one peer may take, and what is left for others."""

from __future__ import annotations

from trollmoves.server.shares import Shares


def taken(shares: Shares, peer: str, most: int) -> int:
    """How much *peer* gets when it takes all it can."""
    before = shares.of(peer)
    while shares.has_room(peer, most):
        shares.add(peer, 1)
    return shares.of(peer) - before


def test_one_alone_gets_half_and_the_next_half_of_what_is_left() -> None:
    shares = Shares()
    assert [taken(shares, peer, 1000) for peer in ("a", "b", "c", "d")] == [500, 250, 125, 63]
    assert shares.total == 938


def test_those_that_take_in_turns_get_equal_shares_and_leave_one() -> None:
    shares = Shares()
    for _ in range(1000):
        for peer in "abc":
            if shares.has_room(peer, 1000):
                shares.add(peer, 1)
    assert [shares.of(peer) for peer in "abc"] == [250, 250, 250]


def test_what_is_given_back_is_free_again_and_nobody_is_remembered() -> None:
    shares = Shares()
    shares.add("a", 5)
    shares.add("b", 3)
    shares.add("a", -5)
    assert (shares.total, shares.of("a"), shares.of("b")) == (3, 0, 3)
    assert shares.__dict__ == {"total": 3, "_of": {"b": 3}}
    assert taken(shares, "a", 10) == 4
