"""Where the file of a message is. What a message says is read, never run: it chooses among protocols that are allowed and among
arguments that do no harm; the class it names is compared with that of the protocol and not looked up.
"""

from __future__ import annotations

import ipaddress
import json
import posixpath
import re
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from fnmatch import fnmatchcase
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from trollmoves.bus.addresses import addresses_of
from trollmoves.config.hidden import is_secret
from trollmoves.errors import Denied, MalformedMessage
from trollmoves.uris import hide_password, may_name_a_file

ALIASES = {"": "file", "local": "file", "ssh": "sftp", "s3a": "s3"}
ARCHIVES = ("tar", "zip")
WEB = ("http", "https")
PORTS = {"sftp": 22, "ftp": 21, "http": 80, "https": 443}
CLASSES = {
    "file": ("fsspec.implementations.local.LocalFileSystem",),
    "sftp": ("fsspec.implementations.sftp.SFTPFileSystem", "sshfs.spec.SSHFileSystem", "sshfs.SSHFileSystem"),
    "ftp": ("fsspec.implementations.ftp.FTPFileSystem",),
    "http": ("fsspec.implementations.http.HTTPFileSystem",),
    "https": ("fsspec.implementations.http.HTTPFileSystem",),
    "s3": ("s3fs.core.S3FileSystem", "s3fs.S3FileSystem"),
    "tar": ("fsspec.implementations.tar.TarFileSystem",),
    "zip": ("fsspec.implementations.zip.ZipFileSystem",),
}
ARGUMENTS = {
    "sftp": ("host", "port", "username"),
    "ftp": ("host", "port", "username", "encoding", "tls"),
    "s3": ("anon", "endpoint_url", "profile", "client_kwargs", "use_ssl", "requester_pays"),
}
"""What a message may say of a filesystem. Anything else is left out; secrets make the message unusable."""
FIRST = {"sftp": "host", "ftp": "host", "tar": "fo", "zip": "fo"}
"""What the first of the arguments without a name is."""
CLIENT = ("endpoint_url", "region_name")
DEEPEST = 3
LONGEST = 4096
ENCODINGS = ("ascii", "iso-8859-1", "latin-1", "latin1", "utf-8", "utf8")
"""Of the commands to an ftp server. In some others a name can hold what is read as further commands."""
METADATA = "metadata.google.internal"
"""Name of what tells virtual machines their credentials; its address is mostly one of the local link."""
_TELL_CREDENTIALS = frozenset(map(ipaddress.ip_address, (
    "fd00:ec2::254", "fd20:ce::254", "fd00:c1::a9fe:a9fe", "100.100.100.200")))
"""Its addresses that are none: at Amazon, Google, Oracle and Alibaba."""
_WITH_PORT = re.compile(r"[^:]*:[0-9]+")
_QUERY = re.compile(r"(?<=\w)(://[^\s?'\"]*+)(\?[^\s'\")]*+)?")
"""Also a url without one, so that each letter is looked at once."""


class Place(NamedTuple):
    """A file on a filesystem."""

    protocol: str
    path: str
    """As the filesystem of this protocol takes it: for http the whole url, for s3 `bucket/key`."""
    arguments: Mapping[str, Any]
    inside: Place | None = None
    """The archive the file is in."""

    @property
    def name(self) -> str:
        """The name of the file."""
        path = urlsplit(self.path).path if self.protocol in WEB else self.path
        return unquote(posixpath.basename(path.rstrip("/")))

    @property
    def outermost(self) -> Place:
        """What is on a disk or a server, and no archive's."""
        return self if self.inside is None else self.inside.outermost

    @property
    def host(self) -> str:
        """The host one connects to; empty for this machine."""
        place = self.outermost
        if place.protocol in WEB:
            return urlsplit(place.path).hostname or ""
        if place.protocol == "s3":
            return urlsplit(str(place.arguments.get("endpoint_url") or "")).hostname or ""
        return str(place.arguments.get("host") or "")

    @property
    def port(self) -> int | None:
        """The port there; None where only a library knows it."""
        place = self.outermost
        given = place.arguments.get("port")
        if place.protocol in WEB or (place.protocol == "s3" and place.host):
            parts = urlsplit(str(place.path if place.protocol in WEB else place.arguments.get("endpoint_url")))
            return parts.port or PORTS.get(parts.scheme.lower())
        return int(given) if given else PORTS.get(place.protocol)

    @property
    def server(self) -> str:
        """Names the host in the journal: protocol, host, and the bucket of an object."""
        place = self.outermost
        bucket = place.path.partition("/")[0] if place.protocol == "s3" else ""
        port = place.arguments.get("port")
        return f"{place.protocol}://{self.host}{f':{port}' if port else ''}{f'/{bucket}' if bucket else ''}"

    def layers(self) -> Iterator[Place]:
        """The file, the archive it is in, and so on."""
        yield self
        if self.inside is not None:
            yield from self.inside.layers()

    def __str__(self) -> str:
        if self.protocol in WEB:
            own = hide_secrets(self.path)
        else:
            own = f"{self.protocol}://{self.arguments.get('host') or ''}{self.path}"
        return own if self.inside is None else f"{own}::{self.inside}"


def hide_secrets(text: str) -> str:
    """*text* without the credentials, and without the queries, of the urls in it: a query is often a signature or a token."""
    return _QUERY.sub(lambda found: found[1] + ("?***" if found[2] else ""), hide_password(text))


def origin_of(url: str) -> tuple[str, str]:
    """Scheme, host and port of a url: what tells one web server from another."""
    parts = urlsplit(url)
    return parts.scheme.lower(), parts.netloc.rpartition("@")[2].lower()


def place_of(data: Mapping[str, Any]) -> Place:
    """Where the file of a message is: `path` on `filesystem` where those are given, else `uri`. Raises `MalformedMessage`."""
    uri, path, filesystem = data.get("uri"), data.get("path"), data.get("filesystem")
    for text in (uri, path):
        if text is not None and (not isinstance(text, str) or len(text) > LONGEST or not may_name_a_file(text)):
            raise MalformedMessage("its uri or path is no printable text")
    if filesystem is not None:
        path = path or (_of_uri(str(uri)).path if uri else None)
        if not path:
            raise MalformedMessage("it has a filesystem and neither path nor uri")
        return _checked(_on(_mapping(filesystem), str(path), 0))
    if not uri:
        raise MalformedMessage("it has no uri")
    return _checked(_of_uri(str(uri)))


def _checked(place: Place) -> Place:
    try:
        place.port  # noqa: B018 - whether there is one
    except ValueError:
        raise MalformedMessage(f"{place} has no port") from None
    if place.name in ("", ".", "..") or "/" in place.name:
        raise MalformedMessage(f"{place} names no file")
    return place


def _mapping(filesystem: Any) -> Mapping[str, Any]:
    if isinstance(filesystem, str) and len(filesystem) <= 16 * LONGEST:
        with suppress(ValueError, RecursionError):
            filesystem = json.loads(filesystem)
    if not isinstance(filesystem, dict):
        raise MalformedMessage("its filesystem is no mapping")
    secrets = sorted(set(_secrets(filesystem, 0)))
    if secrets:
        raise Denied(f"its filesystem has {', '.join(secrets)}: secrets are not taken from messages; give them in "
                     "filesystem_options")
    return filesystem


def _secrets(given: Any, depth: int) -> Iterator[str]:
    """The names of what is a secret in *given*."""
    if depth > 2 * DEEPEST:
        raise MalformedMessage("its filesystem is nested too deep")
    for name, value in given.items() if isinstance(given, dict) else ():
        if value and is_secret(str(name)):
            yield str(name)[:40]
    for value in given.values() if isinstance(given, dict) else given if isinstance(given, list) else ():
        yield from _secrets(value, depth + 1)


def _on(filesystem: Mapping[str, Any], path: str, depth: int) -> Place:
    """*path* on a filesystem as fsspec describes it in JSON."""
    protocol = _protocol_of(filesystem)
    arguments = dict(filesystem)
    positional = filesystem.get("args")
    if isinstance(positional, list) and positional and protocol in FIRST:
        arguments.setdefault(FIRST[protocol], positional[0])
    if protocol not in ARCHIVES:
        if protocol in WEB:
            protocol = path.partition("://")[0].lower()
            if protocol not in WEB:
                raise MalformedMessage("its path is no url, and its filesystem is http")
            return _of_plain_uri(protocol, path, "")
        return Place(protocol, path, _arguments(protocol, arguments))
    below = arguments.get("fo")
    if not isinstance(below, str) or not below or depth >= DEEPEST:
        raise MalformedMessage("its filesystem is an archive that is nowhere (fo)")
    options = arguments.get("target_options") or {}
    if not isinstance(options, dict):
        raise MalformedMessage("its filesystem has target_options that are no mapping")
    target = arguments.get("target_protocol")
    if target is None:
        return Place(protocol, path.lstrip("/"), {}, _of_uri(below, depth + 1))
    found = _of_uri(below, depth + 1) if "://" in below else None
    inner = found.path if found is not None else below
    return Place(protocol, path.lstrip("/"), {}, _on({**options, "protocol": target}, inner, depth + 1))


def _protocol_of(filesystem: Mapping[str, Any]) -> str:
    """The protocol that it names, which its class must fit."""
    given = filesystem.get("protocol")
    names = [given] if isinstance(given, str) else given if isinstance(given, list) else []
    if not names or not all(isinstance(name, str) for name in names):
        raise MalformedMessage("its filesystem has no protocol")
    protocol = ALIASES.get(names[0].lower(), names[0].lower())
    cls = filesystem.get("cls")
    if cls is not None:
        if not isinstance(cls, str):
            raise MalformedMessage("its filesystem has a class that is no text")
        known = CLASSES.get(protocol)
        if known is not None and cls.replace(":", ".") not in known:
            raise Denied(f"class {cls[:100]!r} is not that of the protocol {protocol}")
    return protocol


def _arguments(protocol: str, given: Mapping[str, Any]) -> dict[str, Any]:
    found = {name: given[name] for name in ARGUMENTS.get(protocol, ()) if given.get(name) is not None}
    client = found.pop("client_kwargs", None)
    if isinstance(client, dict):
        known = {name: client[name] for name in CLIENT if isinstance(client.get(name), str) and client[name]}
        if "endpoint_url" in known:  # in one place only, so that what is checked is what is used
            found["endpoint_url"] = known.pop("endpoint_url")
        found |= {"client_kwargs": known}
    for name, value in found.items():
        if name != "client_kwargs" and not isinstance(value, str | int | bool):
            raise MalformedMessage(f"its filesystem has a {name} that is no plain value")
    if str(found.get("encoding", "utf-8")).lower() not in ENCODINGS:
        raise Denied(f"its filesystem has an encoding that is none of {', '.join(ENCODINGS)}")
    return found


def _of_uri(uri: str, depth: int = 0) -> Place:
    """A uri as fsspec takes it: `tar://member::ssh://host/archive.tar`."""
    first, chained, rest = uri.partition("::")
    scheme, mark, after = first.partition("://")
    if not mark and first.partition(":")[0] in ARCHIVES:  # some write tar:/member
        scheme, _, after = first.partition(":")
    elif not mark:
        scheme, after = "", first
    protocol = ALIASES.get(scheme.lower(), scheme.lower())
    if protocol in ARCHIVES:
        if not chained or depth >= DEEPEST:
            raise MalformedMessage("its uri is in an archive that is nowhere")
        return Place(protocol, after.lstrip("/"), {}, _of_uri(rest, depth + 1))
    if chained:
        raise MalformedMessage(f"its uri has :: after {protocol}, which is no archive")
    return _of_plain_uri(protocol, first, after)


def _of_plain_uri(protocol: str, uri: str, after: str) -> Place:
    if protocol in WEB:
        try:
            has_login = "@" in urlsplit(uri).netloc
        except ValueError:
            raise MalformedMessage("its uri has a malformed host or port") from None
        if has_login:
            raise Denied("its uri has a login: that is not taken from messages; give it in filesystem_options")
        return Place(protocol, uri, {})
    if protocol == "s3":
        return Place(protocol, after, {})
    if protocol == "file":
        host, _, path = after.partition("/")
        return Place(protocol, f"/{path}", {"host": host} if host else {}) if "://" in uri else Place(protocol, uri, {})
    authority, _, path = after.partition("/")
    login, _, place = authority.rpartition("@")
    if ":" in login:
        raise Denied("its uri has a password: that is not taken from messages; give it in filesystem_options")
    try:
        parts = urlsplit(f"//{place}")
        given = {"host": parts.hostname, "port": parts.port, "username": login or None}
    except ValueError:
        raise MalformedMessage("its uri has a malformed host or port") from None
    return Place(protocol, "/" + path, {name: value for name, value in given.items() if value is not None})


class Rights(NamedTuple):
    """What the configuration allows."""

    protocols: tuple[str, ...]
    hosts: tuple[str, ...]
    """Patterns, with or without a port; none given means all but addresses that only this machine's link has."""
    addresses: Callable[[str], Iterable[str]] = addresses_of
    """Those that a name leads to."""

    def check(self, place: Place) -> None:
        """Raise `Denied`, naming the option."""
        for layer in place.layers():
            if layer.protocol not in self.protocols:
                raise Denied(f"the protocol {layer.protocol!r} is not allowed; add it to allowed_protocols")
        self.check_host(place.host, place.port)

    def check_host(self, host: str, port: int | None) -> None:
        """The same for a host alone, empty for this machine."""
        host = host.lower()
        if host and self.hosts and not any(_fits(host, port, pattern.lower()) for pattern in self.hosts):
            there = f"the host {host!r}" if port is None else f"port {port} of the host {host!r}"
            raise Denied(f"{there} is not allowed; add it to allowed_hosts")
        if host and not self.hosts and _is_link_local(host):
            raise Denied(f"the host {host!r} is only of this machine's link; name it in allowed_hosts")

    def reach(self, host: str, port: int | None) -> tuple[str, ...]:
        """The same, also of what the name of the host leads to: the addresses to connect to, so that it is those that were
        looked at. Asks a name server, so it belongs into a worker."""
        self.check_host(host, port)
        found = tuple(sorted(self.addresses(host), key=lambda address: ":" in address)) if host else ()
        if not self.hosts and any(map(_is_link_local, found)):
            raise Denied(f"the host {host!r} has an address that is only of this machine's link; name it in allowed_hosts")
        return found or (host,)

    def check_redirection(self, url: str) -> None:
        """The same for a url that a web server sends us on to."""
        scheme = urlsplit(url).scheme.lower()
        if scheme not in self.protocols:
            raise Denied(f"sends on to {scheme!r}, which is not allowed; add it to allowed_protocols")
        place = Place(scheme, url, {})
        self.reach(place.host, place.port)


def _fits(host: str, port: int | None, pattern: str) -> bool:
    """Whether *pattern*, `host` or `host:port`, lets through that port of *host*; addresses with colons have none in patterns."""
    return fnmatchcase(f"{host}:{port}" if _WITH_PORT.fullmatch(pattern) else host, pattern)


def _is_link_local(host: str) -> bool:
    """Whether *host* is such a name or address (or one that tells credentials), in whatever way that is written: 2852039166 is
    169.254.169.254 too."""
    host = host.rstrip(".")
    if host.lower() == METADATA:
        return True
    try:
        address = ipaddress.ip_address(host.partition("%")[0] if ":" in host else socket.inet_aton(host))
    except (OSError, ValueError):
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address.is_link_local or address in _TELL_CREDENTIALS
