"""What an operator does, and what has to follow within so many seconds."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

from behave import given, then, when
from behave.runner import Context

from features.network import Network
from tests.support.eventually import eventually
from tests.support.ports import free_port


def name_of(number: int) -> str:
    return f"demo_20260101120000_{number:05d}.dat"


def write(network: Network, name: str, content: str, directory: Path | None = None) -> None:
    """As careful programs write files: complete before they get their name."""
    staged = network.root / "staged"
    staged.write_text(content)
    os.rename(staged, (directory or network.outgoing) / name)


def arrived(network: Network, name: str) -> str | None:
    found = [path for path in network.incoming.rglob(name) if path.is_file()]
    return found[0].read_text() if found else None


# Starting and ending.

@given("a server and a client with the example configurations")
def start_both(context: Context) -> None:
    network: Network = context.network
    network.configure("server", "server")
    network.configure("client", "client")
    network.listen("client", network.ports["9011"])
    network.start("server", "server")
    network.start("client", "client")


@given("a hot spare of the client that waits {seconds:d} second")
def start_spare(context: Context, seconds: int) -> None:
    network: Network = context.network
    providers = f"127.0.0.1:{network.ports['9010']} 127.0.0.1:{network.ports['9011']}"
    port = str(free_port())
    network.configure("spare", "client", {"providers": providers, "publish_port": port, "processing_delay": str(seconds)})
    network.listen("spare", port)
    network.start("spare", "client")


@when("the {name:w} is killed")
def kill(context: Context, name: str) -> None:
    context.network.programs[name].kill()


@when("the {name:w} is started again")
def start_again(context: Context, name: str) -> None:
    context.network.start(name, name if name in ("server", "mirror") else "client")


@when("the {name:w} is asked to stop")
def ask_to_stop(context: Context, name: str) -> None:
    context.status = context.network.programs[name].stop()


@then("it ended with status {status:d}")
def ended_with(context: Context, status: int) -> None:
    assert context.status == status, context.status


# Files.

@when('file {number:d} is written with "{content}"')
def write_one(context: Context, number: int, content: str) -> None:
    write(context.network, name_of(number), content)


@when("files {first:d} to {last:d} are written")
def write_many(context: Context, first: int, last: int) -> None:
    for number in range(first, last + 1):
        write(context.network, name_of(number), f"content of {number}")


@then('within {seconds:d} seconds file {number:d} has been moved with "{content}"')
def moved_one(context: Context, seconds: int, number: int, content: str) -> None:
    eventually(lambda: arrived(context.network, name_of(number)) == content, seconds, message=f"file {number} arrives")


@then("within {seconds:d} seconds files {first:d} to {last:d} have been moved")
def moved_many(context: Context, seconds: int, first: int, last: int) -> None:
    def missing() -> list[int]:
        return [number for number in range(first, last + 1)
                if arrived(context.network, name_of(number)) != f"content of {number}"]
    eventually(lambda: not missing(), seconds, message="all files arrive")


@then("within {seconds:d} seconds the {name:w} has published file {number:d}")
def published_one(context: Context, seconds: int, name: str, number: int) -> None:
    data = eventually(lambda: context.network.published(name).get(name_of(number)), seconds, message=f"{name} publishes it")
    assert data["uri"] == str(next(context.network.incoming.rglob(name_of(number)))), data
    assert "request_address" not in data, data


@then("within {seconds:d} seconds files {first:d} to {last:d} are published in the journal of the {name:w}")
def journaled_many(context: Context, seconds: int, first: int, last: int, name: str) -> None:
    def published() -> bool:
        reports = json.loads(context.network.ask("status", "--json"))
        counts = next(report["chains"]["example"]["counts"] for report in reports
                      if report["journal"] == str(context.network.journal(name)))
        return bool(counts == {"published": last - first + 1})
    eventually(published, seconds, interval=0.3, message="all files are published")


# What the programs say.

@then("within {seconds:d} seconds the journal of the {name:w} has file {number:d} as {state:w}")
def has_state(context: Context, seconds: int, name: str, number: int, state: str) -> None:
    def last_state() -> bool:
        found = context.network.trace(name_of(number), name)
        return bool(found) and found[-1]["state"] == state
    eventually(last_state, seconds, interval=0.3, message=f"the {name} has it as {state}")


@then("the trace of file {number:d} at the {name:w} tells {steps}")
def trace_tells(context: Context, number: int, name: str, steps: str) -> None:
    history = context.network.trace(name_of(number), name)[-1]
    told = [step["step"] for step in history["steps"]]
    assert told == steps.split(", "), told
    text = context.network.ask("trace", name_of(number))
    for step in told:
        assert f"  {step}" in text, text


@then('within {seconds:d} seconds the status says "{text}"')
def status_says(context: Context, seconds: int, text: str) -> None:
    eventually(lambda: text in context.network.ask("status"), seconds, interval=0.3, message=f"the status says {text!r}")


@then('within {seconds:d} seconds the log of the {name:w} says "{text}"')
def log_says(context: Context, seconds: int, name: str, text: str) -> None:
    eventually(lambda: text in context.network.programs[name].output(), seconds, message=f"the {name} says {text!r}")


# Configurations.

@when('the {name:w} is told that "{option}" is "{value}"')
def set_option(context: Context, name: str, option: str, value: str) -> None:
    role = "server" if name == "server" else "client"
    context.network.configure(name, role, {option: value})


@when("a section is added to both configurations")
def add_sections(context: Context) -> None:
    network: Network = context.network
    more = network.root / "more"
    more.mkdir()
    for name, options in {
            "server": f"origin = {more}/{{name}}.txt\ntopic = /more\nrequest_port = {network.ports['9094']}\n"
                      "request_address = 127.0.0.1\n",
            "client": f"providers = 127.0.0.1:{network.ports['9010']}\ntopic = /more\ndestination = file://{network.incoming}/more/\n"
                      "nameservers = False\n"}.items():
        with network.config(name).open("a") as config:
            config.write(f"[more]\n{options}listen_address = 127.0.0.1\n")


@when("a line without meaning is added to the configuration of the {name:w}")
def break_config(context: Context, name: str) -> None:
    with context.network.config(name).open("a") as config:
        config.write("this line means nothing\n")


@when("the {name:w} gets SIGHUP")
def send_hangup(context: Context, name: str) -> None:
    context.network.programs[name].signal(signal.SIGHUP)


@when('the file "{name}" of the new section is written with "{content}"')
def write_new(context: Context, name: str, content: str) -> None:
    write(context.network, name, content, context.network.root / "more")


@then('within {seconds:d} seconds "{name}" has been moved with "{content}"')
def moved_new(context: Context, seconds: int, name: str, content: str) -> None:
    eventually(lambda: arrived(context.network, name) == content, seconds, message=f"{name} arrives")
