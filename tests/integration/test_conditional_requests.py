"""A client asks for a file on condition that it is other content than what it has: by checksums of that."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.faults.checker import rows
from tests.integration.requesting import Scene
from tests.integration.test_removal_after_confirmation import delivered, is_there, serving
from tests.support.eventually import eventually
from trollmoves.bus.requesting import new_request
from trollmoves.movers.checksums import checksum_of_bytes

OTHER = "sha256:" + "0" * 64


def content(scene: Scene, name: str) -> bytes:
    return (scene.network.origins[0] / name).read_bytes()


def test_the_same_is_not_moved_and_counts_as_confirmed(tmp_path: Path) -> None:
    with serving(tmp_path, "true") as scene:
        delivered(scene, scene.announced("first.bin"), "me")
        announcement, request = scene.announced("a.bin"), new_request()
        had = [OTHER, checksum_of_bytes(content(scene, "a.bin"))]
        for _ in range(2):  # the second time its answer got lost, and the file is removed
            reply = scene.outcome(announcement, request, group="me", unless=had)
            assert (reply.type, reply.extension["code"], reply.extension["request"]) == ("err", "same", request)
            eventually(lambda: not is_there(scene, "a.bin"), message="it is removed")
        covered = scene.outcome(announcement, new_request(), client="partner", group="me")
        assert covered.type == "covered", "others of the group need not have it either"
        same = scene.outcome(announcement, new_request(), client="third", group="me", unless=[OTHER])
        assert (same.type, same.extension["code"]) == ("err", "same"), "who compares learns that nothing was published"
        assert not (scene.network.destination / "a.bin").exists()
        states = rows(scene.network.server_journal(), "SELECT state FROM files WHERE identity = 'a.bin'")
        assert states == [("acknowledged",)]


@pytest.mark.parametrize("unless", [[OTHER], [], "sha256:", [1, None], None, {"a": 1}])
def test_other_content_is_moved(tmp_path: Path, unless: Any) -> None:
    with serving(tmp_path, "true") as scene:
        announcement = scene.announced("a.bin")
        data, reply = content(scene, "a.bin"), scene.outcome(announcement, new_request(), unless=unless)
        assert (reply.type, reply.extension["state"]) == ("file", "delivered")
        assert (scene.network.destination / "a.bin").read_bytes() == data
        assert is_there(scene, "a.bin")


def test_what_was_delivered_and_removed_since_is_compared_by_what_was_delivered(tmp_path: Path) -> None:
    with serving(tmp_path, "true") as scene:
        announcement = scene.announced("a.bin")
        had = [checksum_of_bytes(content(scene, "a.bin"))]
        delivered(scene, announcement, "me")
        eventually(lambda: not is_there(scene, "a.bin"), message="it is removed")
        reply = scene.outcome(announcement, new_request(), client="me", group="me", unless=had)
        assert (reply.type, reply.extension.get("code")) == ("err", "same")


def test_the_same_is_the_same_again_where_an_earlier_try_to_move_it_failed(tmp_path: Path) -> None:
    with serving(tmp_path, "true") as scene:
        announcement = scene.announced("a.bin")
        had, blocked = [checksum_of_bytes(content(scene, "a.bin"))], scene.network.destination / "blocked"
        blocked.write_bytes(b"no directory")
        there = f"file://localhost{blocked}/"
        assert scene.outcome(announcement, new_request(), destination=there).type == "err"
        request = new_request()
        for asked in (request, request, new_request()):
            reply = scene.outcome(announcement, asked, destination=there, unless=had)
            assert (reply.type, reply.extension.get("code")) == ("err", "same")
