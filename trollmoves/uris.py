"""Destinations: parse once, strictly; compare, compose and show without the password.

A destination is a uri (`sftp://user@host:22/data/in/`), a plain path, or `file://host/path`. Everything that leaves the process
(replies, logs, errors, the journal) uses `Destination.clean` or `str()`, which never show credentials.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, replace
from functools import lru_cache
from urllib.parse import quote, unquote, urlsplit

from trollmoves.errors import DestinationInvalid

CACHED = 500
"""Characters up to which a parsed text is kept."""
LONGEST_NAME = 255
"""Bytes of a file name that every common file system takes."""
LOCAL_SCHEMES = ("", "file")
CONTROL = re.compile(r"[\x00-\x1f\x7f]")
# Also a password that holds a slash, `?` or `#` and is not quoted: then it stands where no credentials can be, and only what
# cannot be a port tells it from a path with an `@` in it.
_CREDENTIALS = re.compile(r"(?<=://)(?:[^/?#\s]*@|[^/?#\s:@\[]*+:(?!\d{0,5}(?:[/?#]|$))(?:(?!://)[^\s@])*+@)")
_REPEATED = re.compile(r"/(?:\.?/)+")
_WITH_LOGIN = re.compile(r"""(?<![^\s'"`])[^\s'"`]+@(?=[\w\[])""")
"""A word up to its last `@`; and where in it a login begins as scp has it, `user:password@host:path`."""
_LOGIN = re.compile(r"(?<![^=(\[{<,;|])[^/:@=(\[{<,;|]++:(?!//)")
_BEFORE_LOGIN = re.compile(r"(?<=://)|^(?=[^/:@]*:(?!//))")
"""Where in what cannot be read all may begin that belongs to a login: passwords of other clients stand there as they are."""
_QUOTED = re.compile(r"%(?=[0-9A-Fa-f]{2})|[/?#\s\x00-\x1f\x7f]")
"""What has to be quoted in a password, and no more: upstream's servers take what stands there as it is."""
_QUOTED_IN_USER = re.compile(rf"{_QUOTED.pattern}|:")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)")


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a file shall be. The password is kept out of `repr`, `str` and comparison by humans, not out of equality."""

    scheme: str
    """Lower case; empty for a plain path."""
    host: str
    """As written (S3 buckets keep their case); empty for this machine."""
    port: int | None
    path: str
    """Absolute or empty; the literal path, not percent-decoded."""
    user: str | None = None
    password: str | None = None
    query: str = ""
    connect_to: str = ""
    """Literal address to connect to in place of looking up `host`, when somebody decided on the address that was looked up."""

    def __repr__(self) -> str:
        return f"<Destination {self}>"

    def __str__(self) -> str:
        """The exact uri without the password and the query (the user stays: it says which account)."""
        return self._text(with_user=True)

    @property
    def is_local(self) -> bool:
        """Whether the scheme means this machine's file system (the host, if any, is not looked at)."""
        return self.scheme in LOCAL_SCHEMES

    @property
    def clean(self) -> str:
        """The form upstream's replies carry: scheme, lower-case host and path; user, password, port and query dropped."""
        if not self.scheme:
            return self.path
        return f"{self.scheme}://{self.host.lower()}{self.path}"

    @property
    def exact(self) -> str:
        """Scheme, host, port and path: all that says where, nothing that says who. Of a query, in which some have their keys,
        only that there is one."""
        return self._text(with_user=False)

    @property
    def place(self) -> str:
        """The same with one spelling of the path: equal for destinations that are one place."""
        path = one_spelling(self.path)
        return self.exact if path == self.path else self.with_path(path).exact

    @property
    def with_credentials(self) -> str:
        """The whole uri, password included: for the one request that needs it, never for a log."""
        return self._text(with_user=True, with_password=True)

    @property
    def address(self) -> tuple[str, str, int | None, str | None]:
        """What a connection depends on: scheme, host, port, user."""
        return self.scheme, self.host, self.port, self.user

    def _text(self, *, with_user: bool, with_password: bool = False) -> str:
        if not self.scheme:
            return self.path
        login = ""
        if with_user and self.user is not None:
            login = _QUOTED_IN_USER.sub(_quoted, self.user)
            if with_password and self.password is not None:
                login += ":" + _QUOTED.sub(_quoted, self.password)
            login += "@"
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = f":{self.port}" if self.port is not None else ""
        query = f"?{self.query if with_password else '***'}" if self.query else ""
        return f"{self.scheme}://{login}{host}{port}{self.path}{query}"

    def with_path(self, path: str) -> Destination:
        return Destination(self.scheme, self.host, self.port, path, self.user, self.password, self.query, self.connect_to)

    def with_host(self, host: str, port: int | None = None) -> Destination:
        """The same place on another host (a backup target): the user stays, port and password do not."""
        return replace(self, host=host, port=port, password=None, connect_to="")

    def with_login(self, login: str | None) -> Destination:
        """With `user[:password]`; unchanged when *login* is empty."""
        if not login:
            return self
        user, separator, password = login.partition(":")
        return replace(self, user=user, password=password if separator else None)

    def below(self, relative: str) -> Destination:
        """The place *relative* below this directory. Refuses what would leave it (`..`, an absolute path)."""
        check_relative(relative)
        return self.with_path(self.path.rstrip("/") + "/" + relative)

    def for_name(self, name: str) -> Destination:
        """The destination with *name* appended when it names a directory by its trailing slash (or has no path at all)."""
        if self.path.endswith("/") or not self.path:
            return self.with_path((self.path or "/") + name)
        return self


def _quoted(found: re.Match[str]) -> str:
    return quote(found[0], safe="")


def parse_destination(text: object) -> Destination:
    """Read a destination. Raises `DestinationInvalid` with what is wrong; the text of the error never holds credentials."""
    if not isinstance(text, str):
        raise DestinationInvalid(f"a destination must be text, not {type(text).__name__}")
    # Caches hold short texts only: strangers send long ones to fill the memory.
    return _parsed_destination(text) if len(text) <= CACHED else _parsed_destination.__wrapped__(text)


@lru_cache(maxsize=256)
def _parsed_destination(text: str) -> Destination:
    shown = hide_login(text)
    if not text or CONTROL.search(text):
        raise DestinationInvalid(f"destination {shown!r} is empty or holds control characters")
    scheme, authority, path = _split(text)
    if not scheme:
        return Destination("", "", None, _checked_path(text, shown))
    user, password, host, port = _authority(authority, shown)
    path, _, query = path.partition("?")
    return Destination(scheme, host, port, _checked_path(path, shown, scheme), user, password, query)


def _split(text: str) -> tuple[str, str, str]:
    """Scheme (lower case), authority and the rest; the first two empty for a plain path."""
    match = _SCHEME.match(text)
    if match is None:
        return "", "", text
    return match[1].lower(), match[2], text[match.end():]


def _authority(authority: str, shown: str) -> tuple[str | None, str | None, str, int | None]:
    login, at, place = authority.rpartition("@")
    user, colon, password = login.partition(":")
    try:
        parts = urlsplit(f"//{place}")
        port = parts.port
    except ValueError as error:
        raise DestinationInvalid(f"destination {shown!r} has a malformed host or port; write for example "
                                 "sftp://user@host:22/data/in/") from error
    if place and not parts.hostname:
        raise DestinationInvalid(f"destination {shown!r} has a port, but no host")
    host = _host_as_written(place, parts.hostname) if parts.hostname else ""
    if any(mark in host for mark in "\\%<>\"'` {}|^"):
        raise DestinationInvalid(f"destination {shown!r} has a malformed host; write for example sftp://user@host/data/in/")
    return (unquote(user) if at else None), (unquote(password) if at and colon else None), host, port


def _host_as_written(place: str, lowered: str) -> str:
    start = place.lower().find(lowered)
    return place[start:start + len(lowered)]


def _checked_path(path: str, shown: str, scheme: str = "") -> str:
    if any(part == ".." for part in path.split("/")):
        raise DestinationInvalid(f"destination {shown!r} leaves its directory with '..'")
    if scheme in LOCAL_SCHEMES and not path.startswith("/"):
        raise DestinationInvalid(f"destination {shown!r} needs an absolute path, or a uri like sftp://user@host/data/in/")
    return path


def check_relative(path: str) -> None:
    """Raise `DestinationInvalid` unless *path* stays below the directory it is joined to."""
    if not isinstance(path, str) or not path or CONTROL.search(path):
        raise DestinationInvalid("a relative path must be text without control characters")
    if path.startswith("/") or any(part in ("..", "") for part in path.rstrip("/").split("/")):
        raise DestinationInvalid(f"path {path!r} would leave its directory")


def hide_password(text: str) -> str:
    """*text* with the credentials of every uri in it, and of every `user:password@host`, replaced by `***`."""
    return _WITH_LOGIN.sub(_without_login, _CREDENTIALS.sub("***@", text)) if "@" in text else text


def _without_login(found: re.Match[str]) -> str:
    login = _LOGIN.search(found[0])
    return found[0] if login is None else found[0][:login.start()] + "***@"


def hide_login(uri: str) -> str:
    """As `hide_password`, for what is one uri or was meant to be: all up to its last `@` goes, also what would be no login within
    other text (a password with blanks, say)."""
    before, at, behind = uri.rpartition("@")  # first, as anybody sends texts that are full of places where a login may begin
    start = _BEFORE_LOGIN.search(before) if at else None
    return uri if start is None else f"{before[:start.start()]}***@{behind}"


def printable(text: str) -> str:
    """*text* as one line that a terminal or a log may show: what strangers put into names (escapes, line ends, marks that turn
    the direction of writing, bytes that are no UTF-8) stands there as `\\x1b` and the like."""
    return text if text.isprintable() else "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def is_hidden(path: str) -> bool:
    """Whether the file at *path*, or a directory above it, has a name that begins with a dot."""
    return any(part.startswith(".") for part in path.split("/"))


def is_utf8(text: str) -> bool:
    """Whether a path or name can be written in a message: one of other bytes cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def may_name_a_file(text: str) -> bool:
    """Whether what a message names may be a file of ours: whatever a server announces, which is any name in UTF-8 without control
    characters. (Blanks that are none of ASCII, and characters that are not seen, are in many names.)"""
    return CONTROL.search(text) is None and is_utf8(text)


def local_path(uri: str) -> str:
    """The path part of an announced uri: of a plain path itself, of a `file://` uri (or any other) what follows the host."""
    scheme, _, path = _split(uri)
    return path if scheme else uri


def host_of(uri: str) -> tuple[str, str]:
    """Scheme and host of a uri, both empty for a plain path."""
    scheme, authority, _ = _split(uri)
    if not scheme:
        return "", ""
    place = authority.rpartition("@")[2]
    host = place[1:place.index("]")] if place.startswith("[") and "]" in place else place.partition(":")[0]
    return scheme, host


def last_part(path: str) -> str:
    """What stands behind the last slash of *path*. (As `os.path.basename`, in a fifth of its time: servers need it often.)"""
    return path[path.rfind("/") + 1:]


def one_spelling(path: str) -> str:
    """*path* without `//` and `/./`, which mean the same. (What leads elsewhere, `..` and links, is left as it is.)"""
    return _REPEATED.sub("/", path) if "//" in path or "/./" in path else path  # done twice for every file


def is_address(host: str) -> bool:
    """Whether *host* is a literal IP address."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


LONGEST_HOST = 255
"""Characters of the name of one (RFC 1035)."""
LOCAL_SOCKET = "ipc://"
"""How the address of a socket in the file system of this machine begins; it takes the place of a host, with the port 0."""


def parse_endpoint(text: object) -> tuple[str, int]:
    """Host and port of `host:port` or `[v6]:port`. Raises `ValueError` saying what is wrong."""
    if not isinstance(text, str):
        raise ValueError(f"an address must be text like host:port, not {type(text).__name__}")
    return _parsed_endpoint(text) if len(text) <= CACHED else _parsed_endpoint.__wrapped__(text)


@lru_cache(maxsize=256)
def _parsed_endpoint(text: str) -> tuple[str, int]:
    host, separator, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not separator or not host or not port.isascii() or not port.isdigit() or len(port) > 5 or not 0 < int(port) < 65536:
        raise ValueError(f"{text[:200]!r} is not an address like host:port")
    if len(host) > LONGEST_HOST or CONTROL.search(host) or any(mark in host for mark in " /?#@\\"):
        raise ValueError(f"{text[:200]!r} is not an address like host:port")
    return host, int(port)


def format_endpoint(host: str, port: int) -> str:
    """`host:port`, with brackets round an IPv6 address; `ipc://path` as it is."""
    if host.startswith(LOCAL_SOCKET):
        return host
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
