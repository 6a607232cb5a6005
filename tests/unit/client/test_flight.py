"""What is under way is known by the row of the journal and by its name."""

from __future__ import annotations

from tests.unit.client.test_deciding import announcement
from trollmoves.client.flight import Flight, Flights, Source


def flight(file: int, identity: str) -> Flight:
    return Flight(file, "s", identity, 0.0, Source("h:1", announcement()))


def test_other_contents_of_a_name_are_found_by_it() -> None:
    flights = Flights()
    first, second, other = flight(1, "x"), flight(2, "x"), flight(3, "y")
    for one in (first, second, other):
        flights.add(one)
    flights.add(first)  # asked for again
    assert len(flights) == 3 and list(flights) == [first, second, other]
    assert flights.of_other_content(2, "x") == [first] and flights.of_other_content(9, "x") == [first, second]
    assert flights.of_other_content(3, "y") == flights.of_other_content(9, "z") == []


def test_what_has_landed_is_under_way_no_more() -> None:
    flights = Flights()
    one = flight(1, "x")
    flights.add(one)
    assert 1 in flights and flights.get(1) is one
    assert flights.remove(one) and not flights.remove(one)
    assert 1 not in flights and flights.get(1) is None and not flights and flights.of_other_content(9, "x") == []
    flights.add(one)
    assert list(flights) == [one]
