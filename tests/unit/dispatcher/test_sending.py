"""What becomes of the file of one message: sent, tried again, or what is left of it removed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.unit.dispatcher.test_reading import read
from trollmoves.dispatcher.destinations import Route
from trollmoves.dispatcher.sending import Sending
from trollmoves.errors import ConnectionLost, Denied, DestinationInvalid, OriginGone, TemporaryError
from trollmoves.movers.base import Origin, Progress, Sent, Session, SessionSettings
from trollmoves.movers.memory import MemoryMover, MemorySession
from trollmoves.movers.moving import RESUME_FROM
from trollmoves.movers.sessions import Sessions
from trollmoves.queueing.triggers import Trigger
from trollmoves.uris import Destination

TRANSFER = "0123456789abcdef"


class Scene:
    """A file, and the host in memory it is to be sent to."""

    def __init__(self, root: Path, options: str = "", directory: str = "/in"):
        text = f"target:\n  host: ftp://h\n  directory: '{directory}'\n{options}  dispatch_configs: [{{topics: [/a]}}]\n"
        target = read(root, text).chains["target"]
        self.mover = MemoryMover()
        self.host = self.mover.host("h")
        self.sessions = Sessions(mover_for=lambda scheme: self.mover)
        self.sending = Sending(target, Route(target.dispatch_configs[0]))
        self.path = root / "a.dat"
        self.path.write_bytes(b"x" * (RESUME_FROM + 10))

    def send(self, attempt: int = 1, *, begun: bool = False, **more: str) -> None:
        fields = {"uid": "a.dat", "uri": str(self.path), **more}
        self.sending.send(Trigger("/a", fields, "k", "somebody"), TRANSFER, attempt, begun, self.sessions)


def test_what_is_written_to_while_it_is_sent_is_sent_later(tmp_path: Path) -> None:
    scene = Scene(tmp_path)

    class Disturbing(MemorySession):
        def put(self, origin: Origin, path: str, progress: Progress, offset: int = 0) -> Sent:
            sent = super().put(origin, path, progress, offset)
            os.utime(scene.path, (1, 1))
            return sent

    def opened(destination: Destination, settings: SessionSettings) -> Session:
        return Disturbing(scene.host, settings, settings.pace("h"))
    scene.mover.open = opened  # type: ignore[method-assign]
    with pytest.raises(TemporaryError, match="was written to"):
        scene.send()
    assert not scene.host.files


def test_a_later_attempt_goes_on_behind_what_an_earlier_one_has_sent(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    scene.host.cut_after = RESUME_FROM
    with pytest.raises(ConnectionLost):
        scene.send()
    [(part, stored)] = scene.host.files.items()
    assert len(stored.content) == RESUME_FROM and part != "/in/a.dat"
    stored.content[0] = ord("y")  # by which what was there is known again
    scene.send(2)
    assert bytes(scene.host.files["/in/a.dat"].content) == b"y" + b"x" * (RESUME_FROM + 9)


@pytest.mark.parametrize("begun", [True, False])
def test_what_is_left_of_a_file_that_is_gone_is_removed_if_there_may_be_any(tmp_path: Path, begun: bool) -> None:
    scene = Scene(tmp_path)
    scene.host.cut_after = RESUME_FROM
    with pytest.raises(ConnectionLost):
        scene.send(2)
    opened = scene.host.opened
    scene.path.unlink()
    for reachable in (False, True):  # the first error is told, whatever else goes wrong
        scene.host.reachable = reachable
        with pytest.raises(OriginGone):
            scene.send(2, begun=begun)
    assert bool(scene.host.files) is not begun
    assert (scene.host.opened > opened) is begun


def test_a_hidden_file_goes_where_its_directory_is_allowed(tmp_path: Path) -> None:
    (tmp_path / ".kept").mkdir()
    for options, goes in (("", False), (f"  allowed_origins: ['{tmp_path}/.kept']\n", True)):
        scene = Scene(tmp_path, options)
        scene.path = tmp_path / ".kept" / "a.dat"
        scene.path.write_bytes(b"content")
        if goes:
            scene.send()
        else:
            with pytest.raises(Denied, match="is hidden"):
                scene.send()
        assert ("/in/a.dat" in scene.host.files) is goes


def test_a_message_that_lacks_a_field_of_the_place_leads_nowhere(tmp_path: Path) -> None:
    with pytest.raises(DestinationInvalid):
        Scene(tmp_path, directory="/in/{sensor}").send()
