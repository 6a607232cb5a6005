"""Whom a client may ask, and whom first."""

from __future__ import annotations

from trollmoves.client.providers import MOST_PROVIDERS, Providers


def test_a_provider_has_room_for_what_is_left_of_the_most() -> None:
    providers = Providers(2, ())
    providers.took_off("a:1")
    assert (providers.room("a:1"), providers.room("b:1")) == (1, 2)
    providers.took_off("a:1")
    assert providers.room("a:1") == 0
    providers.landed("a:1")
    assert providers.room("a:1") == 1
    providers.close()
    assert providers.room("a:1") == providers.room("b:1") == 0


def test_what_takes_much_memory_takes_more_room() -> None:
    providers = Providers(4, ())
    providers.took_off("a:1", 3)
    assert providers.room("a:1") == 1
    providers.took_off("a:1", 3)
    assert providers.room("a:1") <= 0
    for _ in range(2):
        providers.landed("a:1", 3)
    assert providers.room("a:1") == 4


def test_no_more_than_so_many_providers_are_asked_at_a_time() -> None:
    providers = Providers(2, ())
    for number in range(MOST_PROVIDERS):
        providers.took_off(f"host:{number}")
    assert (providers.room("host:0"), providers.room("other:1")) == (1, 0)
    providers.landed("host:0")
    assert providers.room("other:1") == 2


def test_who_has_delivered_something_comes_before_others() -> None:
    providers = Providers(2, ())
    providers.delivered("b:1")
    assert providers.best_first(["a:1", "b:1", "c:1"]) == ["b:1", "a:1", "c:1"]


def test_who_did_not_answer_rests_until_it_or_its_host_is_heard_of() -> None:
    providers = Providers(2, ())
    for address in ("a:1", "a:2", "b:1"):
        providers.rest(address)
    providers.wake(address="a:1")
    assert [providers.room(address) for address in ("a:1", "a:2", "b:1")] == [2, 0, 0]
    providers.wake(host="a")
    assert not providers.is_resting("a:2") and providers.is_resting("b:1")
    providers.wake_all()
    assert not providers.is_resting("b:1")


def test_the_first_of_the_lease_servers_that_answers_is_preferred() -> None:
    providers = Providers(2, ("first:1", "second:1"))
    assert [providers.rank(address) for address in ("first:1", "second:1", "other:1")] == [0, 1, 2]
    assert [providers.is_preferred(address) for address in ("first:1", "second:1", "other:1")] == [True, False, False]
    providers.rest("first:1")
    assert providers.is_preferred("second:1") and not providers.is_preferred("other:1")
