"""What is changed inside botocore, where that is another one than we know: its own limits hold, and all works."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from trollmoves.movers.s3_answers import bind


def client_of(connection: type) -> SimpleNamespace:
    session = SimpleNamespace(_pool_classes_by_scheme={"http": type("Pool", (), {"ConnectionCls": connection})})
    return SimpleNamespace(_endpoint=SimpleNamespace(http_session=session))


@pytest.mark.parametrize("client", [SimpleNamespace(), SimpleNamespace(_endpoint=SimpleNamespace(http_session=None))])
def test_one_with_other_parts_is_left_as_it_is(client: SimpleNamespace) -> None:
    bind(client, 1.0, streams=False)


@pytest.mark.parametrize("known", [True, False])
def test_the_go_ahead_is_waited_for_as_that_one_does_unless_it_has_what_we_need(known: bool) -> None:
    own = {"_handle_expect_response": lambda *_: "its own"} | ({"_send_message_body": None} if known else {})
    connection = type("Connection", (), own)
    client = client_of(connection)
    bind(client, 1.0, streams=False)
    made = client._endpoint.http_session._pool_classes_by_scheme["http"].ConnectionCls
    assert (made._handle_expect_response is connection._handle_expect_response) != known
