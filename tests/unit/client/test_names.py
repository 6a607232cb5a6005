"""The names of delivered files, as what a provider says of them tells."""

from __future__ import annotations

import pytest

from trollmoves.client.addressing import name_of


@pytest.mark.parametrize(("uid", "name"), [
    ("a.nc", "a.nc"), ("d/a.nc", "d/a.nc"), ("", "real.nc"), ("/etc/passwd", "passwd"), ("../x", "x"), ("a/../b", "b"),
    ("..", "real.nc"), (".", "real.nc"), ("a/..", "real.nc"), ("../../", "real.nc")])
def test_a_uid_leads_out_of_no_directory(uid: str, name: str) -> None:
    assert name_of({"uid": uid, "uri": "/data/real.nc"}) == name


def test_nothing_is_called_like_a_directory() -> None:
    assert name_of({"uid": "..", "uri": "/data/.."}) == ""
