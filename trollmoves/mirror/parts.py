"""What an announcement consists of, and where on this machine each of its files is once it was fetched."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from trollmoves.config.settings import ClientSettings
from trollmoves.errors import DestinationInvalid
from trollmoves.messages import EXTENSION
from trollmoves.uris import check_relative, local_path, parse_destination


class Part(NamedTuple):
    """One file of an announcement."""

    uid: str
    """The same at all providers, whose paths differ; the name where none is announced."""
    name: str
    """That it has at its provider, and wherever it is delivered."""
    relative: str | None
    """The path below the destination that it shall get, if the announcement says so."""

    @property
    def place(self) -> str:
        """Path and name below the destination."""
        return posixpath.join(self.relative or "", self.name)


def parts_of(fields: Mapping[str, Any]) -> tuple[Part, ...]:
    """The files of an announcement, a dataset or a collection. Raises `DestinationInvalid` when there are none, or when they
    cannot lie in one directory."""
    parts = tuple(_part(item) for item in _with_uri(fields))
    if not parts:
        raise DestinationInvalid("it has no uri")
    if len({part.place for part in parts}) < len(parts) or len({part.uid for part in parts}) < len(parts):
        raise DestinationInvalid("several of its files have the same name")
    return parts


def _with_uri(data: Any) -> Iterator[Mapping[str, Any]]:
    """Every mapping that has a uri, as deep as messages may be nested."""
    if isinstance(data, list):
        for item in data:
            yield from _with_uri(item)
    elif isinstance(data, Mapping):
        if "uri" in data:
            yield data
        for name, value in data.items():
            if name != EXTENSION and isinstance(value, dict | list):
                yield from _with_uri(value)


def _part(item: Mapping[str, Any]) -> Part:
    name, relative = posixpath.basename(local_path(str(item["uri"]))), item.get("path")
    if relative is not None:
        check_relative(relative)
    if name in ("", ".", "..") or "\0" in name:
        raise DestinationInvalid("it has a uri without the name of a file")
    return Part(str(item.get("uid") or name), name, relative)


class Store:
    """The directory of this machine in which one section keeps what it has fetched."""

    def __init__(self, settings: ClientSettings):
        self._top = settings.ftp_root
        self.root = self._local(_fixed_directory(settings.destination.reveal()))
        """Above all files that are kept."""

    def path_of(self, directory: str, part: Part) -> str:
        """Where *part* is when it was delivered to *directory*, the path of a destination."""
        return os.path.join(self._local(directory), part.place)

    def _local(self, path: str) -> str:
        return os.path.normpath(os.path.join(self._top, path.lstrip("/")))


def _fixed_directory(template: str) -> str:
    """The directory that a destination is in, whatever the fields in it are."""
    try:
        path = parse_destination(template.partition("{")[0]).path
    except DestinationInvalid:  # the fields begin before the path
        return "/"
    return path[:path.rfind("/") + 1] or "/"
