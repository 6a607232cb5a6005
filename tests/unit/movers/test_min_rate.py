"""How long an attempt may take at least so many bytes a second: the patience, and the time of the bytes it sends itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from trollmoves.config.reading import read_server_config
from trollmoves.errors import Stalled
from trollmoves.movers.bandwidth import Bandwidth
from trollmoves.movers.moving import How, hurried, ignore

HOW = How("0123456789abcdef", min_rate=100, patience=10.0)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_an_attempt_is_ended_when_its_time_is_over() -> None:
    clock, told = Clock(), list[int]()
    watched = hurried(told.append, 1000, HOW, clock)
    watched(0)
    clock.now += 19.9
    watched(500)
    clock.now += 0.2
    with pytest.raises(Stalled, match="500 of 1000 bytes in 20 s: .* min_rate = 100"):
        watched(500)
    watched(1000)
    assert told == [0, 500, 500, 1000], "what has come all the way is not thrown away"


def test_what_was_there_before_buys_no_time() -> None:
    clock = Clock()
    watched = hurried(ignore, 1000, HOW, clock)
    watched(900)
    clock.now += 11.5
    with pytest.raises(Stalled):
        watched(901)


def test_time_that_our_own_limit_takes_does_not_count() -> None:
    bandwidth = Bandwidth()
    bandwidth.limit("one", 10_000)
    watched = hurried(ignore, 100, HOW._replace(min_rate=10_000, patience=0.3))
    watched(0)
    bandwidth.wait_for("one", "host", 6000)
    watched(50)


def test_without_a_rate_nothing_is_watched() -> None:
    assert hurried(ignore, 1000, How("0123456789abcdef")) is ignore


@pytest.mark.parametrize(("line", "rate"), [("", None), ("min_rate = none", None), ("min_rate = 64k", 65536)])
def test_the_option(tmp_path: Path, line: str, rate: int | None) -> None:
    config = tmp_path / "server.ini"
    config.write_text(f"[one]\norigin = {tmp_path}/{{name}}\ntopic = /a\nrequest_port = 9010\n{line}\n")
    assert read_server_config(config).chains["one"].min_rate == rate
