"""The demo's configurations are the examples' with its own directory and ports."""

from __future__ import annotations

from pathlib import Path

from trollmoves.cli.demo_network import Network


def test_a_directory_or_a_port_that_looks_like_a_port_of_the_examples_stays_as_it_is() -> None:
    network = Network(Path("/data/demo-9010"), (), ("9010", "9011"), ports={"9010": "39011", "9011": "40000"})
    text = "origin = /tmp/trollmoves-example/outgoing/{name}\nproviders = 127.0.0.1:9010\npublish_port = 9011\n"
    assert network.own(text) == "origin = /data/demo-9010/outgoing/{name}\nproviders = 127.0.0.1:39011\npublish_port = 40000\n"
