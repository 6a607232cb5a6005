"""The ids of requests, by which they are confirmed and cancelled."""

from __future__ import annotations

import os

from trollmoves.bus.requesting import new_request


def test_who_knows_some_ids_guesses_no_other() -> None:
    found = [new_request() for _ in range(1000)]
    assert len({request[:18] for request in found}) == 1000, "a common part tells one server of the requests to another"
    assert os.path.commonprefix(found) == "r:" and all(len(request) <= 64 for request in found)
