"""Tables of events: what is known, what comes, what has to be done."""

from __future__ import annotations

import orjson
import pytest

from trollmoves.client.deciding import (
    EXPIRES_AFTER,
    MENDABLE,
    MENDABLE_WAIT,
    PEER_PATIENCE,
    Ask,
    Covered,
    GiveUp,
    Known,
    Notice,
    Verdict,
    Wait,
    after_failure,
    after_notice,
    earlier_copy,
    is_moved_on,
    is_overtaken,
    is_replaced,
    is_same_content,
    is_successor,
    is_written_later,
    judge,
    read_notice,
)
from trollmoves.lifecycle import State
from trollmoves.messages import Announcement, Message, decode, read_announcement

HERE, THERE = "192.0.2.1:9094", "192.0.2.2:9094"
PLAIN = {"uid": "a.dat", "uri": "/data/a.dat"}


def message(kind: str, data: dict[str, object]) -> Message:
    return decode(b"pytroll://1b/x " + kind.encode() + b" u@h 2026-01-01T00:00:00 v1.01 application/json " + orjson.dumps(data))


def announcement(address: str = HERE, key: str = "k:1", size: int = 10, mtime: float | None = None) -> Announcement:
    """From one of our servers when it has a *key*, else as upstream announces."""
    data = {**PLAIN, "request_address": address}
    if key:
        data["trollmoves"] = {"version": 1, "epoch": "e:1", "offset": 7, "previous": 6, "key": key, "size": size,  # type: ignore
                              "address": address, **({} if mtime is None else {"mtime": mtime})}
    return read_announcement(message("file", data))


def known(state: State, key: str = "k:1", size: int | None = 10, provider: str = HERE, epoch: str = "e:1") -> Known:
    return Known(state, key, size, provider, epoch)


FINISHED_STATES = (State.PUBLISHING, State.PUBLISHED, State.COVERED)
UNDER_WAY = (State.ANNOUNCED, State.REQUESTED, State.MOVED, State.FAILED)


@pytest.mark.parametrize("key, provider, size, same", [
    ("k:1", HERE, 10, True), ("k:1", "", None, True), ("", "", None, True), ("k:2", HERE, 10, False), ("k:2", THERE, 10, True),
    ("k:2", THERE, 11, False), ("k:2", THERE, None, False), ("k:2", "", 10, False)])
def test_what_a_peer_speaks_of(key: str, provider: str, size: int | None, same: bool) -> None:
    assert is_same_content(known(State.ANNOUNCED), key, provider, size) is same


@pytest.mark.parametrize("before, comes, verdict", [
    (None, announcement(), Verdict.NEW),
    (None, announcement(key=""), Verdict.NEW),
    *((known(state), announcement(), Verdict.IGNORE) for state in (*FINISHED_STATES, *UNDER_WAY)),
    *((known(state), announcement(THERE), Verdict.TELL) for state in FINISHED_STATES),
    *((known(state, epoch="e:0"), announcement(), Verdict.TELL) for state in FINISHED_STATES),  # its journal is a new one
    *((known(state), announcement(THERE), Verdict.SOURCE) for state in UNDER_WAY),
    (known(State.GIVEN_UP), announcement(), Verdict.NEW),
    (known(State.GIVEN_UP), announcement(THERE), Verdict.NEW),
])
def test_the_same_content(before: Known | None, comes: Announcement, verdict: Verdict) -> None:
    assert judge(before, comes) is verdict


@pytest.mark.parametrize("state", [*FINISHED_STATES, *UNDER_WAY])
def test_a_new_content_of_the_same_provider_is_news(state: State) -> None:
    assert judge(known(state), announcement(key="k:2")) is Verdict.NEW
    assert judge(known(state), announcement(key="k:2", size=11)) is Verdict.NEW


@pytest.mark.parametrize("state, same_size, other_size", [
    *((state, Verdict.DOUBTFUL, Verdict.NEW) for state in FINISHED_STATES),
    *((state, Verdict.SOURCE, Verdict.NEW) for state in UNDER_WAY),
])
def test_another_provider_with_another_key_may_have_a_copy_if_it_is_as_large(
        state: State, same_size: Verdict, other_size: Verdict) -> None:
    assert judge(known(state), announcement(THERE, "k:2")) is same_size
    assert judge(known(state), announcement(THERE, "k:2", 11)) is other_size


@pytest.mark.parametrize("state, again, elsewhere", [
    *((state, Verdict.TELL, Verdict.TELL) for state in FINISHED_STATES),
    *((state, Verdict.IGNORE, Verdict.SOURCE) for state in UNDER_WAY),
])
def test_upstream_servers_tell_nothing_of_the_content(state: State, again: Verdict, elsewhere: Verdict) -> None:
    assert judge(known(state, key="", size=None), announcement(key="")) is again
    assert judge(known(state, key="", size=None), announcement(THERE, key="")) is elsewhere
    assert judge(known(state), announcement(THERE, key="")) is elsewhere


@pytest.mark.parametrize("state", [*FINISHED_STATES, *UNDER_WAY])
def test_what_a_mirror_had_of_upstream_and_announces_again_of_one_of_ours_may_be_other_content(state: State) -> None:
    before = known(state, key="", size=None)
    assert judge(before._replace(offset=6), announcement()) is Verdict.DOUBTFUL
    assert judge(before._replace(offset=7), announcement()) is Verdict.IGNORE


@pytest.mark.parametrize("state", [*FINISHED_STATES, *UNDER_WAY])
@pytest.mark.parametrize(("subject", "verdict"), [
    ("/1b/y", Verdict.DOUBTFUL), ("/1b/x", Verdict.IGNORE), ("", Verdict.IGNORE)])  # the last one is not known
def test_what_a_mirror_has_of_two_upstream_servers_under_two_subjects_may_be_two_contents(state: State, subject: str,
                                                                                          verdict: Verdict) -> None:
    before = known(state, key="", size=None)._replace(place=(subject,) if subject else ())
    again = announcement()._replace(key="")
    assert judge(before._replace(offset=6), again) is verdict
    assert judge(before._replace(offset=7), again) is Verdict.IGNORE


@pytest.mark.parametrize("kind, data, notice", [
    ("push", PLAIN, Notice.ASKED),
    ("push", {**PLAIN, "request_address": HERE}, Notice.ASKED),
    ("ack", {**PLAIN, "request_address": HERE}, Notice.HAS),
    ("file", PLAIN, Notice.HAS),
    ("dataset", {"dataset": [PLAIN]}, Notice.HAS),
    ("collection", {"collection": [{"dataset": [PLAIN]}]}, Notice.HAS),
    ("file", {**PLAIN, "request_address": HERE}, None),
    ("dataset", {"dataset": [PLAIN], "request_address": HERE}, None),
    ("info", PLAIN, None),
])
def test_notices_of_peers(kind: str, data: dict[str, object], notice: Notice | None) -> None:
    assert read_notice(message(kind, data)) is notice


@pytest.mark.parametrize("notice, state, delay, action", [
    (Notice.HAS, State.ANNOUNCED, 0, Covered()),
    (Notice.HAS, State.ANNOUNCED, 5, Covered()),
    (Notice.HAS, State.FAILED, 5, Covered()),
    (Notice.HAS, State.GIVEN_UP, 0, Covered()),  # nobody lacks it any more
    (Notice.ASKED, State.GIVEN_UP, 5, None),
    (Notice.ASKED, State.ANNOUNCED, 5, Wait(PEER_PATIENCE)),
    (Notice.ASKED, State.FAILED, 100, Wait(300)),
    (Notice.ASKED, State.ANNOUNCED, 0, None),  # a primary does not wait for a spare
    *((notice, state, delay, None) for notice in Notice for delay in (0, 5)
      for state in (State.REQUESTED, State.MOVED, State.PUBLISHING, State.PUBLISHED, State.COVERED)),
])
def test_what_a_notice_means(notice: Notice, state: State, delay: float, action: object) -> None:
    assert after_notice(notice, state, delay) == action


def test_a_spare_that_shares_a_lease_with_who_asks_asks_soon() -> None:
    assert after_notice(Notice.ASKED, State.ANNOUNCED, 5.0, shared=True) == Wait(5.0)
    assert after_notice(Notice.ASKED, State.ANNOUNCED, 5.0, patience=90.0, shared=True) == Wait(5.0)
    assert after_notice(Notice.ASKED, State.ANNOUNCED, 0.0, shared=True) is None
    assert after_notice(Notice.HAS, State.ANNOUNCED, 5.0, shared=True) == Covered()


def test_what_was_cancelled_is_given_up_though_others_could_be_asked() -> None:
    assert after_failure(code="cancelled", permanent=True, untried=[THERE], age=1, backoff=1) == GiveUp()


OLDER = Known(State.PUBLISHED, "k:0", 10, HERE, "e:1", 6, ("/1b/x", "/data/a.dat"))
NEWER = Known(State.PUBLISHED, "k:2", 10, HERE, "e:1", 9)


@pytest.mark.parametrize("versions, expected", [
    ([NEWER], False),  # content that was never heard of
    ([NEWER, Known(State.PUBLISHED, "k:1", 10, HERE, "e:1", 7)], True),  # the same announcement again
    ([NEWER, Known(State.REQUESTED, "k:1", 10, HERE, "e:1", 8)], True),  # announced once more since
    ([NEWER, Known(State.PUBLISHED, "k:1", 10, HERE, "e:1", 6)], False),  # the old content was put back
    ([NEWER, Known(State.GIVEN_UP, "k:1", 10, HERE, "e:1", 7)], False),
    ([NEWER, Known(State.PUBLISHED, "k:1", 10, HERE, "e:0", 7)], False),  # of another journal: positions tell nothing
    ([NEWER, Known(State.PUBLISHED, "k:1", 10, THERE, "e:1", 7)], True),  # its provider has another address since
    ([NEWER, Known(State.PUBLISHED, "k:1", 10, THERE, "e:1", 5, OLDER.place)], True),  # another section announced it as well
    ([NEWER, OLDER, Known(State.PUBLISHED, "k:1", 10, THERE, "e:1", 5, OLDER.place)], False),  # the old content was put back
    ([NEWER, Known(State.PUBLISHED, "k:1", 10, HERE, "e:1", 5, OLDER.place)], False),  # sent anew, when others had newer content
    ([NEWER, Known(State.PUBLISHED, "k:1", 10, THERE, "e:1", 5, ("/other", OLDER.place[1]))], False),  # under another subject
])
def test_an_announcement_may_come_after_newer_ones(versions: list[Known], expected: bool) -> None:
    assert is_overtaken(versions, announcement()) is expected


@pytest.mark.parametrize("known, expected", [
    (NEWER._replace(place=("/1b/x", "/data/a.dat")), True),
    (NEWER._replace(place=("/1b/x", "/data/a.dat"), state=State.GIVEN_UP), True),
    (NEWER._replace(place=("/1b/x", "/other/b.dat")), False),  # two files of one name
    (NEWER._replace(place=("/other", "/data/a.dat")), False),  # of another section, which announces the same file
    (NEWER._replace(place=("/1b/x", "/data/a.dat"), offset=6), False),
    (NEWER._replace(place=("/1b/x", "/data/a.dat"), epoch="e:0"), False),
    (NEWER._replace(place=("/1b/x", "/data/a.dat"), provider=THERE), True),  # its provider has another address since
    (NEWER._replace(place=("/1b/x", "/data/a.dat"), key="k:1"), False),  # the same content, announced again
])
def test_content_is_replaced_by_what_was_announced_later_in_its_place(known: Known, expected: bool) -> None:
    assert is_replaced([known], announcement()) is expected


@pytest.mark.parametrize("known, expected", [
    (OLDER, True),
    (OLDER._replace(offset=8), False),  # announced later
    (OLDER._replace(epoch="e:0"), False),  # by another one, of which this may be a copy
    (OLDER._replace(place=("/1b/x", "/other/a.dat")), False),
    (OLDER._replace(key="k:1"), False),
    (OLDER._replace(key=""), False),
])
def test_what_its_provider_announces_after_other_content_is_no_copy(known: Known, expected: bool) -> None:
    assert is_successor([known], announcement()) is expected


@pytest.mark.parametrize("before, now, alike", [((10, 5.0), 5.0, True), ((11, 5.0), 5.0, False), ((10, 4.0), 5.0, False),
                                                ((10, None), None, False)])
def test_what_its_provider_announces_with_the_size_and_time_it_had_may_be_the_same(
        before: tuple[int, float | None], now: float | None, alike: bool) -> None:
    known = OLDER._replace(size=before[0], mtime=before[1])
    assert is_successor([known], announcement(mtime=now)) is not alike


@pytest.mark.parametrize("one, other, later", [(2.0, 1.0, True), (1.0, 2.0, False), (1.0, 1.0, False), (2.0, None, False),
                                               (None, 1.0, False)])
def test_what_was_written_later(one: float | None, other: float | None, later: bool) -> None:
    assert is_written_later(announcement(mtime=one).message, announcement(mtime=other).message) is later


MIRRORED = Known(State.PUBLISHED, "k:1", 10, THERE, "e:2", 3)
MIRRORED_NEWER = Known(State.PUBLISHED, "k:2", 12, THERE, "e:2", 4)


@pytest.mark.parametrize("versions, expected", [
    ({1: MIRRORED, 2: MIRRORED_NEWER}, 1),  # a mirror was heard before the server, and the server is heard late
    ({1: MIRRORED._replace(state=State.FAILED), 2: MIRRORED_NEWER}, 1),
    ({1: MIRRORED._replace(key="k:0"), 2: MIRRORED_NEWER}, None),  # content that was never heard of
    ({1: MIRRORED, 2: MIRRORED_NEWER._replace(epoch="e:1", provider=HERE)}, None),  # the server itself has it back
    ({1: MIRRORED._replace(epoch="e:1"), 2: MIRRORED_NEWER}, None),
    ({1: MIRRORED._replace(epoch="e:0", provider=HERE), 2: MIRRORED_NEWER}, None),  # its journal is new
    ({1: MIRRORED}, None),  # not known as what was looked up
])
def test_replaced_content_of_another_provider_is_no_news(versions: dict[int, Known], expected: int | None) -> None:
    assert earlier_copy(versions, 2, announcement()) == expected


def written(when: float | None, size: int = 10) -> Announcement:
    """What another server, which has its own keys, announces of a file written at *when*."""
    data = {**PLAIN, "request_address": HERE, "trollmoves": {
        "version": 1, "epoch": "e:1", "offset": 7, "previous": 6, "key": "k:9", "size": size, "address": HERE, "mtime": when}}
    return read_announcement(message("file", data))


THIRD = Known(State.PUBLISHED, "k:1", 10, THERE, "e:2", 3, (), 100.0)
FOURTH = Known(State.PUBLISHED, "k:2", 10, THERE, "e:2", 4, (), 200.0)


@pytest.mark.parametrize("versions, when, expected", [
    ({1: THIRD, 2: FOURTH}, 103.0, 1),  # this server was heard late
    ({1: THIRD, 2: FOURTH}, 203.0, None),  # of the newest
    ({1: THIRD, 2: FOURTH}, 300.0, None),  # newer than all
    ({1: THIRD, 2: FOURTH._replace(size=12)}, 103.0, 1),
    ({1: THIRD, 2: FOURTH._replace(size=12)}, 203.0, None),  # the first size again, later
    ({1: THIRD._replace(size=12), 2: FOURTH}, 103.0, None),  # another size
    ({1: THIRD._replace(mtime=None), 2: FOURTH}, 103.0, None),
    ({1: THIRD._replace(provider=HERE), 2: FOURTH}, 103.0, None),  # a server has no copy of what it had itself
    ({1: THIRD._replace(epoch="e:1"), 2: FOURTH}, 103.0, None),
    ({1: THIRD, 2: FOURTH}, 150.0, None),  # as near to the newest
    ({1: THIRD, 2: FOURTH}, None, None),
])
def test_a_copy_is_of_what_was_written_at_its_time(versions: dict[int, Known], when: float | None, expected: int | None) -> None:
    assert earlier_copy(versions, 2, written(when)) == expected


OURS = Known(State.PUBLISHED, "k:2", 10, HERE, "e:1", 6, ("/1b/x", "/data/a.dat"))


@pytest.mark.parametrize("known, expected", [
    (OURS, True),
    (OURS._replace(key="k:1"), False),  # the same content
    (OURS._replace(key=""), False),
    (OURS._replace(epoch="e:0"), False),  # another provider's copy
    (OURS._replace(place=("/other", "/data/a.dat")), False),  # what another of its sections announces is the same file
])
def test_a_provider_may_have_another_address(known: Known, expected: bool) -> None:
    assert is_moved_on(known, announcement(THERE)) is expected


@pytest.mark.parametrize("event, action", [
    ({"code": "gone", "permanent": True, "untried": [THERE, HERE]}, Ask(THERE)),
    ({"code": "dest_unreachable", "permanent": False, "untried": [THERE]}, Ask(THERE)),
    ({"code": "gone", "permanent": True, "untried": [THERE], "age": EXPIRES_AFTER + 1}, Ask(THERE)),
    ({"code": "dest_unreachable", "permanent": False, "backoff": 4.0}, Wait(4.0)),
    ({"code": "busy", "permanent": False, "backoff": 4.0, "retry_after": 10.0}, Wait(10.0)),
    ({"code": "busy", "permanent": False, "backoff": 40.0, "retry_after": 10.0}, Wait(40.0)),
    ({"code": "dest_unreachable", "permanent": False, "backoff": 240.0, "retry_after": 20.0}, Wait(60.0)),
    ({"code": "dest_unreachable", "permanent": False, "backoff": 4.0, "retry_after": 20.0}, Wait(20.0)),
    ({"code": "dest_unreachable", "permanent": False, "backoff": 240.0}, Wait(240.0)),
    ({"code": "stalled", "permanent": False, "age": 3601.0, "lifetime": 3600.0}, GiveUp()),
    ({"code": "stalled", "permanent": False, "age": EXPIRES_AFTER + 1, "lifetime": 7 * EXPIRES_AFTER}, Wait(1.0)),
    ({"code": "stalled", "permanent": False, "age": EXPIRES_AFTER - 1}, Wait(1.0)),
    ({"code": "stalled", "permanent": False, "age": EXPIRES_AFTER + 1}, GiveUp()),
    *(({"code": code, "permanent": True}, Wait(MENDABLE_WAIT)) for code in sorted(MENDABLE)),
    *(({"code": code, "permanent": True, "backoff": 200.0}, Wait(200.0)) for code in sorted(MENDABLE)),
    *(({"code": code, "permanent": True, "age": EXPIRES_AFTER + 1}, GiveUp()) for code in sorted(MENDABLE)),
    ({"code": "gone", "permanent": True, "hopeful": True, "backoff": 40.0}, Wait(40.0)),  # another provider is only down
    ({"code": "gone", "permanent": True, "hopeful": True, "age": EXPIRES_AFTER + 1}, GiveUp()),
    ({"code": "cancelled", "permanent": True, "hopeful": True}, GiveUp()),
    *(({"code": code, "permanent": True}, GiveUp()) for code in ("gone", "changed", "not_announced", "bad_request")),
])
def test_what_follows_a_failure(event: dict[str, object], action: object) -> None:
    given: dict[str, object] = {"untried": [], "age": 1.0, "backoff": 1.0, **event}
    assert after_failure(**given) == action  # type: ignore[arg-type]
