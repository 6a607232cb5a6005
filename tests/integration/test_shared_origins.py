"""Two sections announce the same files, and one of them removes: not before the consumers of both have what they wait for."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.compatibility.network import ask
from tests.faults.network import TOPIC, Network, section
from tests.integration.requesting import ENVELOPE, Scene
from tests.integration.test_removal_after_confirmation import delivered, is_there
from tests.support.eventually import eventually, never
from trollmoves.bus.requesting import new_request
from trollmoves.messages import EXTENSION, Message, decode
from trollmoves.movers.checksums import checksum_of_bytes

OTHER = "/other"


def more(network: Network, **options: str) -> str:
    """Another section, of the same origin."""
    port = str(network.request_ports[0])
    real, link = network.origins[0], network.root / "link"
    if not link.is_symlink():
        link.symlink_to(network.root)
    origin = {"one": real, "link": link / real.name, "slashes": f"{network.root}//./{real.name}"}[options.pop("spelling", "one")]
    return section("other", {"origin": f"{origin}/{{uid}}.bin", "topic": OTHER, "request_address": "127.0.0.1",
                             "request_port": port, "listen_address": "127.0.0.1", **options})


@contextmanager
def two_sections(tmp_path: Path, options: dict[str, str], others: dict[str, str]) -> Iterator[Scene]:
    """A server with two sections of the same origin: one with *options*, and *others*."""
    with Network(tmp_path, server_options=options) as network:
        network.write_server_config(more=more(network, **others))
        scene = Scene(network)
        try:
            scene.server.wait_for("announces under /other")  # or a test that changes it would take that line for its own
            yield scene
        finally:
            scene.close()


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with two_sections(tmp_path, {"delete": "true", "remove_delay": "0.5"}, {}) as scene:
        yield scene


def announced(scene: Scene, name: str, topic: str) -> Message:
    """What a section says of a file, which is written first unless it is there."""
    if not is_there(scene, name):
        scene.network.write(name, name.encode())
    texts, begin = scene.recorder.texts, f"pytroll:/{topic} "
    return eventually(lambda: next(decode(text.encode()) for text in texts if text.startswith(begin) and name in text))


def make_known(scene: Scene) -> None:
    """The other section has a consumer from now on."""
    delivered(scene, announced(scene, "first.bin", OTHER), "other@two/b")


@pytest.mark.parametrize("spelling", ["one", "link", "slashes"])
def test_what_another_section_has_to_deliver_stays(scene: Scene, spelling: str) -> None:
    """Also where it comes to the same directory by another name."""
    if spelling != "one":
        mark = scene.server.mark()
        scene.network.write_server_config(more=more(scene.network, spelling=spelling))
        scene.server.wait_for("announces under /other" if spelling == "link" else "reloading", since=mark)
    make_known(scene)
    delivered(scene, announced(scene, "a.bin", TOPIC), "recv@one/a")
    never(lambda: not is_there(scene, "a.bin"), 4.0, message="it goes before the consumer of the other section has it")
    delivered(scene, announced(scene, "a.bin", OTHER), "other@two/b")
    eventually(lambda: not is_there(scene, "a.bin"), message="it goes when both have it")


def have_from_elsewhere(scene: Scene) -> None:
    """A client that both sections serve has `a.bin` from another server, and says so to one of them."""
    for topic in (TOPIC, OTHER):
        delivered(scene, announced(scene, "first.bin", topic), "recv@one/a")
    announced(scene, "a.bin", TOPIC)
    announcement = announced(scene, "a.bin", OTHER)
    data = {**announcement.fields, EXTENSION: {"client": "recv@one/a", "group": "recv@one/a"}}
    assert ask(scene.network.request_ports[0], ENVELOPE.encode(OTHER, "ack", data)) is not None


def test_what_a_client_has_from_elsewhere_it_says_once(tmp_path: Path) -> None:
    """Both sections announced it to the client, which has it from another server and knows one address to tell so."""
    options = {"delete": "true", "remove_delay": "0.5", "trusted_acks": "127.0.0.1"}
    with two_sections(tmp_path, options, options) as scene:
        have_from_elsewhere(scene)
        eventually(lambda: not is_there(scene, "a.bin"), message="it goes")


def announced_by_both(scene: Scene, name: str) -> list[Message]:
    """What two sections of one subject say of a new file."""
    scene.network.write(name, name.encode())
    texts = scene.recorder.texts
    eventually(lambda: sum(f"/{name}" in text for text in texts) == 2, message="both announce it")
    return [decode(text.encode()) for text in texts if f"/{name}" in text]


@pytest.fixture
def alike(tmp_path: Path) -> Iterator[Scene]:
    """Both sections announce under one subject: to a client it is one file, which it has from either."""
    options = {"delete": "true", "remove_delay": "0.5", "topic": OTHER}
    with two_sections(tmp_path, options, options) as scene:
        yield scene


@pytest.mark.parametrize("had", [False, True])
@pytest.mark.parametrize("one", [0, 1])
def test_what_two_sections_announce_alike_a_client_confirms_once(alike: Scene, one: int, had: bool) -> None:
    """Or it has the same already, and says so with the request."""
    for announcement in announced_by_both(alike, "first.bin"):  # of both it is known that somebody is served
        delivered(alike, announcement, "recv@one/a", confirmed=False)
    announcement = announced_by_both(alike, "a.bin")[one]
    if had:
        unless = [checksum_of_bytes(b"a.bin")]
        reply = alike.outcome(announcement, new_request(), client="recv@one/a", group="recv@one/a", unless=unless)
        assert (reply.type, reply.extension["code"]) == ("err", "same")
    else:
        delivered(alike, announcement, "recv@one/a")
    eventually(lambda: not is_there(alike, "a.bin"), message="it goes")


@pytest.mark.parametrize("had", [False, True])
@pytest.mark.parametrize("one", [0, 1])
def test_of_what_two_sections_announce_alike_a_member_of_a_group_hears_once_that_another_one_has_it(
        alike: Scene, one: int, had: bool) -> None:
    def both_have(announcement: Message, *, had: bool = False) -> None:
        request, unless = new_request(), [checksum_of_bytes(str(announcement.fields["uid"]).encode())] if had else []
        assert alike.outcome(announcement, request, client="recv@one/a", unless=unless).type == ("err" if had else "file")
        if not had:
            alike.confirm(announcement, request)
        assert alike.outcome(announcement, new_request(), client="recv@two/b").type == "covered"
    for announcement in announced_by_both(alike, "first.bin"):  # of both it is known that both are served
        both_have(announcement)
    both_have(announced_by_both(alike, "a.bin")[one], had=had)
    eventually(lambda: not is_there(alike, "a.bin"), message="it goes")


def test_an_ack_of_a_client_of_one_section_is_not_the_first_of_another(tmp_path: Path) -> None:
    """What the client has from another server nobody of the other section has."""
    options = {"delete": "first", "remove_delay": "0.5", "trusted_acks": "127.0.0.1"}
    with two_sections(tmp_path, options, options) as scene:
        make_known(scene)
        delivered(scene, announced(scene, "first.bin", TOPIC), "recv@one/a")
        announced(scene, "a.bin", OTHER)
        announcement = announced(scene, "a.bin", TOPIC)
        data = {**announcement.fields, EXTENSION: {**announcement.extension, "client": "recv@one/a", "group": "recv@one/a"}}
        assert ask(scene.network.request_ports[0], ENVELOPE.encode(TOPIC, "ack", data)) is not None
        never(lambda: not is_there(scene, "a.bin"), 4.0, message="it goes before the consumer of the other section has it")
        delivered(scene, announced(scene, "a.bin", OTHER), "other@two/b")
        eventually(lambda: not is_there(scene, "a.bin"), message="it goes when both have it")


def test_a_section_that_does_not_trust_an_ack_keeps_its_file(tmp_path: Path) -> None:
    """Though the ack counts for another section."""
    options = {"delete": "true", "remove_delay": "0.5"}
    with two_sections(tmp_path, options, {**options, "trusted_acks": "127.0.0.1"}) as scene:
        have_from_elsewhere(scene)
        never(lambda: not is_there(scene, "a.bin"), 4.0, message="it goes on the word of somebody who is not trusted")


def test_a_section_that_nobody_was_served_by_is_not_waited_for(scene: Scene) -> None:
    delivered(scene, announced(scene, "a.bin", TOPIC), "recv@one/a")
    eventually(lambda: not is_there(scene, "a.bin"), message="nobody waits for it")


def test_a_section_that_is_served_no_more_is_not_waited_for(scene: Scene) -> None:
    make_known(scene)
    delivered(scene, announced(scene, "a.bin", TOPIC), "recv@one/a")
    never(lambda: not is_there(scene, "a.bin"), 2.0, message="it goes although it is waited for")
    scene.network.write_server_config()
    eventually(lambda: not is_there(scene, "a.bin"), message="nobody can ask for it any more")


def test_newer_content_is_not_waited_for_in_place_of_older(scene: Scene) -> None:
    """Of what the other section announced under the name before, nobody can have anything any more."""
    make_known(scene)
    announced(scene, "a.bin", OTHER)
    scene.network.write("a.bin", b"newer content")
    eventually(lambda: len([text for text in scene.recorder.texts if "a.bin" in text]) == 4)
    scene.recorder.texts[:] = [text for text in scene.recorder.texts if '"size":13' in text or '"size": 13' in text]
    delivered(scene, announced(scene, "a.bin", TOPIC), "recv@one/a")
    delivered(scene, announced(scene, "a.bin", OTHER), "other@two/b")
    eventually(lambda: not is_there(scene, "a.bin"), message="it goes when both have it")


def test_both_sections_remove(scene: Scene) -> None:
    mark = scene.server.mark()
    scene.network.write_server_config(more=more(scene.network, delete="first", remove_delay="0.5"))
    scene.server.wait_for("announces under /other", since=mark)
    make_known(scene)
    delivered(scene, announced(scene, "a.bin", OTHER), "other@two/b")
    delivered(scene, announced(scene, "first.bin", TOPIC), "recv@one/a")
    never(lambda: not is_there(scene, "a.bin"), 4.0, message="it goes before the consumer of the first section has it")
    delivered(scene, announced(scene, "a.bin", TOPIC), "recv@one/a")
    eventually(lambda: not is_there(scene, "a.bin"), message="it goes when both have it")


@pytest.mark.parametrize("heard", [False, True])
def test_a_section_that_cannot_be_served_yet_is_waited_for(scene: Scene, heard: bool) -> None:
    """Its port is taken; its consumers want what it announced (*heard*), and what it will announce when the port is free."""
    make_known(scene)
    if heard:
        announced(scene, "a.bin", OTHER)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        mark = scene.server.mark()
        scene.network.write_server_config(more=more(scene.network, request_port=str(taken.getsockname()[1])))
        scene.server.wait_for(r"\[other\] is not started yet", since=mark)
        delivered(scene, announced(scene, "a.bin", TOPIC), "recv@one/a")
        never(lambda: not is_there(scene, "a.bin"), 4.0, message="it goes before the consumer of the other section has it")
        mark = scene.server.mark()  # while the port is still taken: else it is tried again, and served there for a moment
        scene.network.write_server_config(more=more(scene.network))
        scene.server.wait_for("announces under /other", since=mark)
    delivered(scene, announced(scene, "a.bin", OTHER), "other@two/b")
    eventually(lambda: not is_there(scene, "a.bin"), message="it goes when both have it")
