"""The network of examples/end_to_end, as `bin/demo --end-to-end` starts it."""

from __future__ import annotations

from pathlib import Path

from behave import given, then, when
from behave.runner import Context

from tests.support.eventually import eventually
from trollmoves.cli.demo_chain import CLEANER, PLACES, PORTS, RUNNING, Show, clean
from trollmoves.cli.demo_network import Network
from trollmoves.cli.watching import PlainDisplay


@given("the whole network of the examples")
def start(context: Context) -> None:
    directory = Path(context.network.root) / "whole"
    network = Network(directory, (*RUNNING, CLEANER), PORTS)
    network.prepare("centre", "edge", *PLACES)
    context.add_cleanup(network.stop)
    for member in RUNNING:
        network.start(member)
    context.show = Show(network, PlainDisplay(), 0, {})


@when("{count:d} files are written at the centre")
def write(context: Context, count: int) -> None:
    for _ in range(count):
        context.show.write()


@when("the {name:w} is killed and started again")
def kill(context: Context, name: str) -> None:
    network: Network = context.show.network
    process = network.processes.pop(name)
    process.kill()
    process.wait(20)
    network.start(next(member for member in RUNNING if member.name == name))


@then("within {seconds:d} seconds {count:d} files are with the user, as they were written")
def with_user(context: Context, seconds: int, count: int) -> None:
    eventually(lambda: context.show.good("user") == count == len(context.show.written), seconds)


@then("within {seconds:d} seconds {count:d} files are in the archive, as they were written")
def in_archive(context: Context, seconds: int, count: int) -> None:
    eventually(lambda: context.show.good("archive") == count, seconds)


@then("within {seconds:d} seconds nothing is left at the edge")
def edge_empty(context: Context, seconds: int) -> None:
    eventually(lambda: context.show.arrived("edge") == {}, seconds)


@then("within {seconds:d} seconds remove_it has cleared the service")
def service_empty(context: Context, seconds: int) -> None:
    eventually(lambda: clean(context.show.network) is None and context.show.arrived("service") == {}, seconds, interval=0.5)
