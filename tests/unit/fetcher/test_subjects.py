"""Subjects of messages with fields in them."""

from __future__ import annotations

import pytest

from trollmoves.config.fetching import FetcherSettings
from trollmoves.fetcher.fetching import FetcherPlan
from trollmoves.movers.base import SessionSettings

PLAN = FetcherPlan(FetcherSettings(name="fetcher", destination="/in"), SessionSettings())


def subject_of(text: str, **fields: object) -> str:
    return PLAN.report(text, {"uri": "/a", **fields}, "/in/a")[0]


def test_fields_are_filled_in() -> None:
    assert subject_of("/a/{platform}/{time:%Y%m}", platform="p", time="2026-03-01T00:00:00") == "/a/p/202603"


@pytest.mark.parametrize("text", [
    "/a/{missing}", "/a/{x:%>9999999999}", "/a/{x:9999999999%}", "/a/{x.__class__}",
    "/a/" + "{x:4000}" * 10_000, "/a/{long}" * 90])
def test_what_cannot_be_filled_in_is_published_as_it_is(text: str) -> None:
    assert subject_of(text, x="x", long="y" * 100_000) == text
