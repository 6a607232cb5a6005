"""A mirror between a server and a client."""

from __future__ import annotations

from behave import given, then
from behave.runner import Context

from features.network import Network
from tests.support.eventually import eventually


@given("a server, a mirror and a client with the example configurations")
def start_all(context: Context) -> None:
    network: Network = context.network
    network.configure("server", "server")
    network.configure("mirror", "mirror", {"remove_delay": "1"})
    network.configure("client", "client", {"providers": f"127.0.0.1:{network.ports['9015']}"})
    network.listen("client", network.ports["9011"])
    for name in ("server", "mirror", "client"):
        network.start(name, name)


def kept(context: Context) -> list[str]:
    return [path.name for path in (context.network.root / "mirror").rglob("*") if path.is_file()]


@then("within {seconds:d} seconds the mirror keeps nothing")
def keeps_nothing(context: Context, seconds: int) -> None:
    eventually(lambda: not kept(context), seconds, message="the copies are removed")


@then("the mirror has fetched nothing")
def fetched_nothing(context: Context) -> None:
    assert kept(context) == []
