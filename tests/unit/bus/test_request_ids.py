"""The ids of requests, by which they are confirmed and cancelled."""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import islice

import pytest

from trollmoves.bus.requesting import new_request, new_requests


@pytest.mark.parametrize("make", [lambda: [new_request() for _ in range(1000)], lambda: list(islice(new_requests(), 1000))])
def test_who_knows_some_ids_guesses_no_other(make: Callable[[], list[str]]) -> None:
    found = make()
    assert len({request[:18] for request in found}) == 1000, "a common part tells one server of the requests to another"
    assert os.path.commonprefix(found) == "r:" and all(len(request) <= 64 for request in found)
