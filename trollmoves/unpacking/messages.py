"""What a message says after its files were unpacked; no files are touched here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from trollmoves.unpacking.base import Unpacked

Data = Mapping[str, Any]
Members = Mapping[str, Sequence[Unpacked]]
UriOf = Callable[[Unpacked], str]


def _path(member: Unpacked) -> str:
    return member.path


def unpacked_message_data(data: Data, unpacked: Members, uri_of: UriOf = _path) -> tuple[str, dict[str, Any]]:
    """The type and the data of a message whose files with the uids in *unpacked* were unpacked to the members given there.

    A file with one member stays a `file`; with several it becomes a `dataset` with uid and uri of each, its other fields staying
    where they are. The same holds for each file of a dataset or collection: there the several members are a `dataset` within.
    Files without members in *unpacked* stay as they are. *uri_of* says where a member can be reached; its path, unless given.
    """
    found = _replaced(data, unpacked, uri_of)
    kind = next((kind for kind in ("collection", "dataset") if kind in found), "file")
    return kind, found


def _replaced(data: Data, unpacked: Members, uri_of: UriOf) -> dict[str, Any]:
    found = dict(data)
    for key in ("dataset", "collection"):
        if key in found:
            found[key] = [_replaced(item, unpacked, uri_of) for item in found[key]]
    members = unpacked.get(str(found["uid"]), ()) if "uid" in found else ()
    return _with_members(found, members, uri_of) if members else found


def _with_members(data: dict[str, Any], members: Sequence[Unpacked], uri_of: UriOf) -> dict[str, Any]:
    files = [{"uid": member.uid, "uri": uri_of(member)} for member in members]
    if len(files) == 1:
        return {**data, **files[0]}
    rest = {key: value for key, value in data.items() if key not in ("uid", "uri")}
    return {**rest, "dataset": files}
