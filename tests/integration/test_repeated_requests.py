"""Requests that are safe to repeat: whatever is lost, repeated or restarted, a transfer is moved once.

Moves are counted where they are seen: each gives a file its final name once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.compatibility.network import ask
from tests.faults.checker import rows
from tests.faults.network import Network
from tests.integration.requesting import ENVELOPE, Scene
from tests.support.eventually import eventually
from trollmoves.bus.requesting import new_request
from trollmoves.messages import EXTENSION, Message, decode


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with Network(tmp_path) as network:
        scene = Scene(network)
        yield scene
        scene.close()


@pytest.mark.parametrize("times", [1, 2, 5])
@pytest.mark.parametrize("what", ["request push", "reply file"])
def test_a_move_is_made_once_whatever_is_lost(scene: Scene, what: str, times: int) -> None:
    announcement, request = scene.announced("a.bin"), new_request()
    scene.dropping.to_drop[what] = times
    reply = scene.outcome(announcement, request)
    assert (reply.type, reply.extension["request"], reply.extension["fence"]) == ("file", request, 1)
    assert scene.dropping.to_drop[what] == 0
    assert scene.moves("a.bin") == 1
    assert rows(scene.network.server_journal(), "SELECT attempt, state FROM transfers") == [(1, "moved")]


@pytest.mark.slow
@pytest.mark.parametrize("times", [1, pytest.param(2, marks=pytest.mark.nightly)])
@pytest.mark.parametrize("what", ["reply pending", "request status", "reply file"])
def test_a_long_move_is_made_once_whatever_is_lost(tmp_path: Path, what: str, times: int) -> None:
    with Network(tmp_path, server_options={"bandwidth_per_host": "100k"}) as network:
        scene = Scene(network, silence=18.0)  # asks again after six seconds, which is longer than a reply is held back
        try:
            # Each loss takes eleven seconds: six until the request itself is sent again, five until that is answered.
            announcement, request = scene.announced("long.bin", 900_000 * (2 * times - 1)), new_request()
            scene.dropping.to_drop[what] = times
            assert scene.outcome(announcement, request).type == "file"
            assert scene.dropping.to_drop[what] == 0
            assert scene.moves("long.bin") == 1
        finally:
            scene.close()


def test_a_move_is_made_once_when_the_server_is_restarted_behind_it(scene: Scene) -> None:
    announcement, request = scene.announced("a.bin"), new_request()
    assert scene.outcome(announcement, request).type == "file"
    scene.server.restart()
    scene.server.wait_for("watches")
    again = scene.outcome(announcement, request)
    assert (again.type, again.extension["state"]) == ("file", "delivered")
    assert scene.moves("a.bin") == 1


def test_a_partner_gets_the_same_delivery_and_waits_for_its_publication(scene: Scene) -> None:
    announcement, first, second = scene.announced("a.bin"), new_request(), new_request()
    scene.outcome(announcement, first)
    reply = ask(scene.network.request_ports[0],
                ENVELOPE.encode(announcement.subject, "push", scene.push(announcement, second, client="partner")))
    assert reply is not None
    said = decode(reply).extension
    assert (decode(reply).type, said["state"], said["holder"]) == ("held", "held", "me")
    for _ in range(2):  # confirming twice is the same as once
        scene.confirm(announcement, first)
    covered = scene.outcome(announcement, second, client="partner")
    assert (covered.type, covered.extension["state"]) == ("covered", "covered")
    assert scene.moves("a.bin") == 1


def test_a_partner_that_spells_the_destination_otherwise_shares_the_delivery(scene: Scene) -> None:
    announcement, first, second = scene.announced("a.bin"), new_request(), new_request()
    scene.outcome(announcement, first)
    scene.confirm(announcement, first)
    there = f"file://localhost/{scene.network.destination}/./"
    covered = scene.outcome(announcement, second, client="partner", destination=there)
    assert covered.type == "covered"
    assert len(rows(scene.network.server_journal(), "SELECT 1 FROM transfers WHERE destination <> ''")) == 1


def commit(scene: Scene, announcement: Message, request: str, fence: int, client: str = "me") -> dict[str, Any]:
    said = {"request": new_request(), "client": client, "group": "us", "epoch": announcement.extension["epoch"],
            "commits": [[announcement.extension["offset"], request, fence]]}
    reply = ask(scene.network.request_ports[0], ENVELOPE.encode("/", "commit", {EXTENSION: said}))
    assert reply is not None
    return dict(decode(reply).extension["results"][0])


def told(scene: Scene, announcement: Message, request: str, form: Callable[..., dict[str, Any]] = Scene.push) -> dict[str, Any]:
    """What is said of a request at once."""
    reply = ask(scene.network.request_ports[0], ENVELOPE.encode(announcement.subject, "push", form(scene, announcement, request)))
    assert reply is not None
    said = decode(reply).extension
    return dict(said["results"][0] if "results" in said else said)


@pytest.mark.parametrize("restart", [False, True], ids=["", "after a restart"])
def test_a_request_that_was_long_on_its_way_undoes_nothing_of_a_newer_one(scene: Scene, restart: bool) -> None:
    """The client asked again (its journal was lost, or it had asked by another address), and published what it got."""
    announcement, old, new = scene.announced("a.bin"), new_request(), new_request()
    scene.outcome(announcement, old)
    assert scene.outcome(announcement, new).type == "file"
    assert told(scene, announcement, old)["code"] == "busy", "what is to be done for it is done for the newer one"
    scene.confirm(announcement, new)
    eventually(lambda: rows(scene.network.server_journal(), "SELECT state FROM transfers") == [("acknowledged",)])
    (scene.network.destination / "a.bin").unlink()  # what is published is worked on, and may be gone
    if restart:
        scene.server.restart()
        scene.server.wait_for("watches")
    for form in (Scene.push, grouped):
        assert told(scene, announcement, old, form)["state"] == "covered"
    assert list(scene.network.destination.iterdir()) == []
    assert rows(scene.network.server_journal(), "SELECT request, state FROM transfers") == [(new, "acknowledged")]
    assert scene.moves("a.bin") == 1


def test_what_is_confirmed_under_an_earlier_id_of_the_same_client_is_confirmed(scene: Scene) -> None:
    """It published what it was given leave for, and then lost its journal."""
    announcement, old, new = scene.announced("a.bin"), new_request(), new_request()
    scene.outcome(announcement, old)
    scene.outcome(announcement, new)
    scene.confirm(announcement, "r:somebody else's")
    assert rows(scene.network.server_journal(), "SELECT state FROM transfers") == [("moved",)]
    scene.confirm(announcement, old)
    eventually(lambda: rows(scene.network.server_journal(), "SELECT state FROM transfers") == [("acknowledged",)])


def test_a_request_that_a_newer_one_follows_while_bytes_move_takes_nothing_from_it(tmp_path: Path) -> None:
    with Network(tmp_path, server_options={"bandwidth_per_host": "100k"}) as network:
        scene = Scene(network, silence=60.0)
        try:
            announcement, old, new = scene.announced("a.bin", 400_000), new_request(), new_request()
            replies: dict[str, Message | None] = {}
            for request in (old, new):
                scene.requester.ask(request, announcement.subject, "push", scene.push(announcement, request),
                                    lambda reply, request=request: replies.update({request: reply}))  # type: ignore[misc]
            eventually(lambda: (scene.loop.turn(0.05), any(network.destination.iterdir()))[1], message="bytes move")
            assert told(scene, announcement, old)["code"] == "busy"
            eventually(lambda: (scene.loop.turn(0.05), new in replies)[1], 20, interval=0.0)
            reply = replies[new]
            assert reply is not None
            assert (reply.type, reply.extension["fence"]) == ("file", 2)
            assert rows(network.server_journal(), "SELECT request, earlier FROM transfers") == [(new, old)]
            scene.confirm(announcement, new)
            eventually(lambda: (scene.loop.turn(0.05), old in replies)[1], 20, interval=0.0)
            other = replies[old]
            assert other is not None and other.type == "covered"
        finally:
            scene.close()


@pytest.mark.slow
def test_a_lease_that_is_not_renewed_goes_to_the_partner_with_a_higher_fence(scene: Scene) -> None:
    announcement, first, second = scene.announced("a.bin"), new_request(), new_request()
    scene.outcome(announcement, first, commit=False)
    assert commit(scene, announcement, first, 1)["state"] == "granted"
    taken_over = scene.outcome(announcement, second, client="partner")  # held until the lease of the first has expired
    assert taken_over.type == "file"
    assert taken_over.extension["fence"] == 2
    assert taken_over.extension["maybe_published"] is True, "the first one was told that it may publish, and did not confirm"
    assert commit(scene, announcement, first, 1)["state"] == "held", "a stale fence is refused"
    scene.server.restart()
    scene.server.wait_for("watches")
    assert commit(scene, announcement, first, 0)["state"] == "held", "also after a restart"
    granted = commit(scene, announcement, second, 2, "partner")
    assert (granted["state"], granted["maybe_published"]) == ("granted", True)
    assert scene.moves("a.bin") == 1


@pytest.mark.parametrize("priority", [0, 1], ids=["alone", "spare"])
def test_a_spare_is_told_that_what_an_upstream_primary_had_fetched_may_be_published(scene: Scene, priority: int) -> None:
    announcement, request = scene.announced("a.bin"), new_request()
    fields = {name: value for name, value in announcement.fields.items() if name != EXTENSION}
    raw = ENVELOPE.encode(announcement.subject, "push", {**fields, "destination": f"file://localhost{scene.network.destination}/"})
    assert ask(scene.network.request_ports[0], raw) is not None
    reply = scene.outcome(announcement, request, priority=priority)
    assert reply.type == "file"
    assert reply.extension.get("maybe_published", False) is bool(priority)
    assert scene.moves("a.bin") == 1
    scene.server.restart()
    scene.server.wait_for("watches")
    again = scene.outcome(announcement, request, priority=priority)
    assert again.extension.get("maybe_published", False) is bool(priority), "the journal has it"


def test_an_upstream_client_that_repeats_itself_gets_the_same_answer(scene: Scene) -> None:
    announcement = scene.announced("a.bin")
    fields = {name: value for name, value in announcement.fields.items() if name != EXTENSION}
    raw = ENVELOPE.encode(announcement.subject, "push",
                          {**fields, "destination": f"file://localhost{scene.network.destination}/"})
    replies = []
    for restart in (False, False, True):
        if restart:
            scene.server.restart()
            scene.server.wait_for("watches")
        reply = ask(scene.network.request_ports[0], raw)
        assert reply is not None
        replies.append((decode(reply).type, decode(reply).data))
    assert replies[0][0] == "file"
    assert replies[0] == replies[1] == replies[2]
    assert scene.moves("a.bin") == 1


def cancelled(scene: Scene, request: str) -> Callable[[], bool]:
    def is_cancelled() -> bool:
        reply = ask(scene.network.request_ports[0],
                    ENVELOPE.encode("/", "cancel", {EXTENSION: {"request": new_request(), "requests": [request]}}))
        return reply is not None and request in decode(reply).extension["cancelled"]
    return is_cancelled


def test_a_move_that_is_cancelled_ends_and_leaves_nothing(tmp_path: Path) -> None:
    with Network(tmp_path, server_options={"bandwidth_per_host": "50k"}) as network:
        scene = Scene(network)
        try:
            announcement, request = scene.announced("long.bin", 5_000_000), new_request()
            replies: list[Message | None] = []
            scene.requester.ask(request, announcement.subject, "push", scene.push(announcement, request), replies.append)
            for _ in range(20):
                scene.loop.turn(0.05)
            eventually(lambda: any(network.destination.iterdir()), message="bytes move")
            eventually(cancelled(scene, request))

            def is_over() -> bool:
                scene.loop.turn(0.05)
                return bool(replies)
            eventually(is_over)
            assert replies[0] is not None
            assert (replies[0].type, replies[0].extension["code"]) == ("err", "cancelled")
            eventually(lambda: not any(network.destination.iterdir()), message="nothing is left")
            assert not cancelled(scene, request)()
        finally:
            scene.close()


@pytest.mark.parametrize("more", [{}, {"client": "partner", "priority": 1}], ids=["the same client", "its spare"])
@pytest.mark.parametrize("queued", [True, False], ids=["queued", "under way"])
def test_who_asks_for_what_was_cancelled_gets_it(tmp_path: Path, queued: bool, more: dict[str, Any]) -> None:
    """Who cancelled it is told so; who comes after that is not, whether bytes moved already or not."""
    with Network(tmp_path, server_options={"bandwidth_per_host": "100k", "transfers_per_host": "1"}) as network:
        scene = Scene(network, silence=60.0)
        try:
            replies: dict[str, Message | None] = {}

            def asks(who: str, announcement: Message, request: str, **said: Any) -> None:
                scene.requester.ask(request, announcement.subject, "push", scene.push(announcement, request, **said),
                                    lambda reply: replies.update({who: reply}))

            def turns(*who: str) -> bool:
                scene.loop.turn(0.05)
                return all(name in replies for name in who)
            if queued:
                asks("somebody", scene.announced("before.bin", 200_000), new_request(), client="somebody", group="others")
                eventually(lambda: turns() or any(network.destination.iterdir()), message="something moves before it")
            announcement, first = scene.announced("a.bin", 400_000), new_request()
            asks("first", announcement, first)
            eventually(lambda: turns() or queued or any(network.destination.iterdir()), message="bytes move")
            eventually(cancelled(scene, first))
            asks("second", announcement, new_request(), **more)
            eventually(lambda: turns("first", "second"), 20, interval=0.0)
            told = [(reply.type, reply.extension.get("code")) for who in ("first", "second") if (reply := replies[who])]
            assert told[0] == ("err", "cancelled")
            assert told[1] in (("file", None), ("err", "busy")), "busy where it had ended when it was asked for"
            assert scene.outcome(announcement, new_request(), **more).type == "file"
        finally:
            scene.close()


def grouped(scene: Scene, announcement: Message, request: str) -> dict[str, Any]:
    said = {"version": 1, "epoch": announcement.extension["epoch"], "pushes": [[announcement.extension["offset"], request]],
            "client": "me", "group": "us"}
    return {"destination": f"file://localhost{scene.network.destination}/", EXTENSION: said}


@pytest.mark.parametrize("form", [Scene.push, grouped], ids=["alone", "in a group"])
def test_what_a_section_announced_is_not_refused_for_good_while_the_section_is_not_served(
        scene: Scene, form: Callable[..., dict[str, Any]]) -> None:
    """Whoever was told that nobody announced it would give it up, and the section comes back."""
    network, port = scene.network, scene.network.request_ports[0]
    announcement = scene.announced("a.bin")
    network.origins[0].parent.joinpath("other").mkdir()
    config = network.server_config()
    whole = config.read_text()
    config.write_text(whole.replace("[send]", "[other]").replace(str(network.origins[0]), f"{network.origins[0].parent}/other"))
    scene.server.wait_for(r"\[other\] watches")

    def told() -> dict[str, Any]:
        reply = ask(port, ENVELOPE.encode(announcement.subject, "push", form(scene, announcement, new_request())))
        assert reply is not None
        said = decode(reply).extension
        return dict(said["results"][0] if "results" in said else said)
    refused = told()
    assert (refused["code"], refused["permanent"]) == ("busy", False)
    config.write_text(whole)
    eventually(lambda: told().get("state") == "delivered", message="the section is served again")


def test_what_a_position_of_another_journal_stood_for_is_asked_for_by_its_name(tmp_path: Path) -> None:
    """The client noted its requests and died, the server's journal was lost: nothing is refused for good for having been asked
    for together with others."""
    with Network(tmp_path) as network:
        server = network.servers[0].start()
        client = network.arm("client.requested", 1)
        network.write_many(20)
        server.wait_for("watches")
        eventually(lambda: len(rows(network.server_journal(), "SELECT 1 FROM announcements")) == 20, message="all are announced")
        client.start()
        client.wait()
        network.disarm()
        requested = rows(network.client_journal, "SELECT count(*) FROM files WHERE state = 'requested' AND attempt = 1")[0][0]
        assert requested > 1
        server.kill()
        for path in network.server_journal().parent.glob(network.server_journal().name + "*"):
            path.unlink()
        server.start().wait_for("watches")
        eventually(lambda: len(rows(network.server_journal(), "SELECT 1 FROM announcements")) == 20, message="announced anew")
        network.client.start()
        network.settle()
        assert rows(network.client_journal, """SELECT identity FROM files WHERE steps LIKE '%["given_up"%'""") == []
        network.check()


@pytest.mark.parametrize("form", [Scene.push, grouped], ids=["alone", "in a group"])
def test_a_request_for_what_no_one_announced_is_refused_for_good_when_it_names_it(
        scene: Scene, form: Callable[..., dict[str, Any]]) -> None:
    """A position in another journal names nothing: who asks so is to ask by the name."""
    announcement = scene.announced("a.bin")
    of_old = announcement._replace(data={**announcement.fields, "uid": "other.bin",
                                         EXTENSION: {**announcement.extension, "epoch": "e:0"}})
    reply = ask(scene.network.request_ports[0], ENVELOPE.encode(of_old.subject, "push", form(scene, of_old, new_request())))
    assert reply is not None
    said = decode(reply).extension
    said = said["results"][0] if "results" in said else said
    assert (said["code"], said["permanent"]) == ("not_announced", form is Scene.push)


def test_who_has_no_name_is_told_of_grouped_requests_as_all_others_are(scene: Scene) -> None:
    """By a message of their kind: it got one about each, of the type `push`, which none takes for a delivery."""
    announcement, request = scene.announced("a.bin"), new_request()
    asked = grouped(scene, announcement, request)
    del asked[EXTENSION]["client"]
    reply = ask(scene.network.request_ports[0], ENVELOPE.encode(announcement.subject, "push", asked))
    assert reply is not None
    told = decode(reply)
    assert told.type == "results"
    assert [(said["request"], said["state"]) for said in told.extension["results"]] == [(request, "delivered")]
