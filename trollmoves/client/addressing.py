"""Where a file shall go, what the request says of it, and what the published message says of it.

A client's destination is a directory, with or without a slash at its end: the published uri is that directory and the uid, as
upstream has it. So the request says it with a slash: without one, a server that does not see that directory writes every file
over the same file, and with `delete` removes the originals. Only where the last part of the template holds the file's own name
(`sftp://host/in/{uid}`, what upstream's sftp mover needs) is it the place of the file, in the request and in the uri alike.
"""

from __future__ import annotations

import os
import posixpath
import socket
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from trollmoves.bus.addresses import is_this_machine
from trollmoves.config.settings import ClientSettings
from trollmoves.messages import EXTENSION, dated, translate, uids_of
from trollmoves.patterns import Template
from trollmoves.uris import Destination, last_part, parse_destination

PLACES_KEPT = 1000
NOT_PUBLISHED = ("request_address", "destination", EXTENSION)
"""Keys of a reply that concern the transfer only."""

NO_NAMES = ("", ".", "..")
"""What no file is called."""
QUERIED = ("http", "https")
"""Schemes in which what follows a `?` belongs to the place."""


class Place(NamedTuple):
    """A destination and what is said of it; worked out once for all files that go there."""

    destination: Destination
    """Its path ends in a slash, but where it is the place of the file."""
    requested: str
    """For the provider: with the login where one is set."""
    noticed: str
    """For the world: without credentials."""
    directory: str | None
    """To be made on this machine before the request."""


class Addressing:
    """The destination of one client chain."""

    def __init__(self, settings: ClientSettings, is_here: Callable[[str], bool | None] = is_this_machine):
        """*is_here* says whether a host is this machine; None when that is not known yet."""
        self._settings = settings
        self._is_here = is_here
        self._were_here: dict[str, bool] = {}
        self._template = Template(settings.destination.reveal())
        self._login = settings.login.reveal() if settings.login is not None else None
        self._here = socket.gethostname()
        self._replacements = settings.replacements.plain()
        self._places: OrderedDict[tuple[str, str], Place] = OrderedDict()

    def place(self, fields: Mapping[str, Any]) -> Place:
        """Where a message's files go.

        Raises `DestinationInvalid` when the metadata lead it astray, `ConfigurationError` when they lack a field of the template.
        """
        text = self._template.compose(_with_times(fields)) if self._template.fields else self._template.text
        name = self._name_within(fields)
        found = self._places.get((text, name))
        if found is None:
            found = self._places[text, name] = self._placed(text, name)
            if len(self._places) > PLACES_KEPT:
                self._places.popitem(last=False)
        return found

    def _name_within(self, fields: Mapping[str, Any]) -> str:
        """The name of the one file that *fields* are about, if a field in the last part of the template holds it; else empty."""
        last = self._template.last_fields
        if not last or "uid" not in fields or len(uids_of(fields)) > 1:
            return ""
        name = posixpath.basename(name_of(fields))
        return name if any(posixpath.basename(str(fields[field])) == name for field in last) else ""

    def _placed(self, text: str, name: str) -> Place:
        """Scheme `file` and this host unless the section says otherwise; a directory unless it holds *name*."""
        destination = parse_destination(text)
        if not destination.scheme:  # the provider is told a uri, of which what follows a `?` is no path
            destination = replace(destination, scheme="file", path=destination.path.partition("?")[0])
        if not destination.host:
            destination = replace(destination, host=self._here)
        if destination.scheme not in QUERIED:
            destination = replace(destination, query="")
        if not self._is_file(destination, name):
            destination = _as_directory(destination)
        asked = _asked(destination)
        noticed = replace(asked, user=None, password=None).with_credentials  # the whole of it but for these
        return Place(destination, asked.with_login(self._login).with_credentials, noticed, self._local_directory(destination))

    def _is_file(self, destination: Destination, name: str) -> bool:
        """Whether *destination* is the place of the file *name*. Not where upstream's client makes a directory of it, and its
        server puts the file into that."""
        makes = self._settings.create_target_directory and destination.is_local
        return bool(name) and name in destination.path.rpartition("/")[2] and not makes

    def _local_directory(self, destination: Destination) -> str | None:
        if not self._settings.create_target_directory or destination.scheme == "s3":
            return None
        path = destination.path
        parent = path if path.endswith("/") or not path else path.rpartition("/")[0] or "/"
        return os.path.join(self._settings.ftp_root, parent.lstrip("/"))

    def is_sent_to(self, fields: Mapping[str, Any], requested: object) -> bool:
        """Whether *requested*, the destination in a peer's notice, is where we would have the file sent. Upstream's has no slash
        at its end where the section has none.

        Raises as `place` does."""
        return isinstance(requested, str) and self.place(fields).noticed.rstrip("/") == requested.rstrip("/")

    def request_data(self, fields: Mapping[str, Any], place: Place) -> dict[str, Any]:
        """What goes to the provider: the announcement and the destination, with the login where one is set."""
        return {**self.known_data(fields), "destination": place.requested}

    def notice_data(self, place: Place) -> dict[str, Any]:
        """What the world sees of the request besides the announcement: no credentials."""
        return {**self.added, "destination": place.noticed}

    @property
    def added(self) -> dict[str, Any]:
        """What we add to an announcement that we hand on: our backup targets, where the section has some."""
        backups = self._settings.backup_targets
        return {"backup_targets": list(backups)} if backups else {}

    def known_data(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """The announcement as we hand it on."""
        return {**fields, **self.added}

    def is_settled(self, place: Place) -> bool:
        """Whether it is known what is to be published of files there: whether that is this machine."""
        host = place.destination.host
        if place.destination.scheme == "s3":
            return True
        found = self._is_here(host)
        if found is None:
            return False
        if len(self._were_here) >= PLACES_KEPT:
            self._were_here.clear()
        self._were_here[host] = found
        return True

    def published_data(self, fields: Mapping[str, Any], address: str, place: Place) -> dict[str, Any]:
        """What is published of delivered files: the provider's reply with the uris as they are now."""
        def published_uri(item: Mapping[str, Any]) -> str:
            return self._published_uri(place.destination, item)
        data = translate(fields, "uri", published_uri)
        for name in NOT_PUBLISHED:
            data.pop(name, None)
        data["origin"] = address
        return self._replaced(data)

    def local_path(self, place: Place, name: str) -> str:
        """Where the delivered file *name* is on this machine. Looks at the disk."""
        path = place.destination.path
        local = os.path.abspath(os.path.join(self._settings.ftp_root, path.lstrip("/")))
        return os.path.join(local, name) if not path or path.endswith("/") or os.path.isdir(local) else local

    def published_path(self, place: Place, local: str) -> str:
        """The uri of the file *local* beside a delivered one."""
        return self._uri(place.destination, "/" + os.path.relpath(local, self._settings.ftp_root))

    def _published_uri(self, place: Destination, item: Mapping[str, Any]) -> str:
        return self._uri(place, place.for_name(name_of(item)).path)

    def _uri(self, place: Destination, path: str) -> str:
        here = self._is_here(place.host) if place.scheme != "s3" else False
        if self._were_here.get(place.host, False) if here is None else here:
            return path
        user = self._login.partition(":")[0] if self._login else None
        return Destination(place.scheme, place.host, place.port, path, user, None, place.query).with_credentials  # no password

    def _replaced(self, data: dict[str, Any]) -> dict[str, Any]:
        """Metadata replacement: an option named like a key maps its values, or stands in their place."""
        for key, new in self._replacements.items():
            if key in data:
                data[key] = new.get(str(data[key]), data[key]) if isinstance(new, Mapping) else new
        return data


def name_of(item: Mapping[str, Any]) -> str:
    """The name that a delivered file has, as upstream tells it: its uid, which is kept from leaving the directory."""
    uid, named = str(item.get("uid", "")), last_part(str(item.get("uri", "")))
    if uid in NO_NAMES or uid.rpartition("/")[2] in NO_NAMES:
        return "" if named in NO_NAMES else named
    return posixpath.basename(uid) if uid.startswith("/") or ".." in uid.split("/") else uid


def _as_directory(place: Destination) -> Destination:
    """*place* with a slash at its end; without any path it is one already."""
    return place if place.path.endswith("/") or not place.path else place.with_path(place.path + "/")


def _asked(place: Destination) -> Destination:
    """The form requests have: host names in lower case, while buckets and urls stay as they were written."""
    return place if place.scheme in ("s3", *QUERIED) else replace(place, host=place.host.lower())


def _with_times(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {key: dated(value) for key, value in fields.items() if key != EXTENSION}


def make_open_directory(path: str, mode: int | None) -> None:
    """Make *path*, with the permissions *mode* (None: as they come) whatever the umask: the mover's account may write there.

    A directory that is there already, or that a link leads to, stays as it is. Raises `OSError`."""
    path = path.rstrip("/") or "/"  # with a slash at its end a link would be followed
    if os.path.isdir(path):
        return
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    try:
        os.mkdir(path)
    except FileExistsError:
        if os.path.isdir(path):
            return
        raise
    if mode is not None:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            os.fchmod(descriptor, mode)
        finally:
            os.close(descriptor)
