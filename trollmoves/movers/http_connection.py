"""One HTTP connection on the standard library's http.client: who logs in, what is trusted, where redirects may lead, errors.

- Every read and write has a time limit of its own, so a slow transfer lives and a stalled one ends.
- A redirect is followed on the same server only (scheme, host and port); credentials go nowhere else.
- Credentials from the section's parameters go to the hosts of `auth_hosts`, and through no connection that anybody can read.
- When a server answers before it has all bytes, sending stops and the answer counts.
"""

from __future__ import annotations

import http.client
import ipaddress
import re
import socket
import ssl
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NoReturn
from urllib.parse import parse_qsl, quote, urljoin, urlsplit

from trollmoves.errors import (
    Busy,
    ConnectionLost,
    DestinationFull,
    DestinationInvalid,
    LoginRefused,
    MoveError,
    Refused,
    Stalled,
    TemporaryError,
    Unreachable,
)
from trollmoves.movers.base import SessionSettings
from trollmoves.movers.credentials import login_for, may_be_told, scrubbed
from trollmoves.movers.draining import is_readable, unsent_of, wait_while_it_drains
from trollmoves.movers.http_response import LONGEST_ANSWER, Response
from trollmoves.uris import CONTROL, Destination

MOST_REDIRECTS = 5
CREDENTIALS = "token", "username", "headers", "query", "form_fields"
"""Parameters that hold them, or may: a signature stands in a query, a key among the fields of a form."""
_OPEN_HEADERS = {"User-Agent": "trollmoves", "Accept": "*/*"}
_INNER_STATUS = re.compile(r"HTTP/1\.[01] ([0-9]{3}[ A-Za-z]{0,50})<")
LAST_WORD = 5.0
"""Seconds to wait for a server's reason when it has stopped to take bytes."""

STATUS: dict[int, type[MoveError]] = {
    202: TemporaryError,
    207: TemporaryError,
    401: LoginRefused,
    403: Refused,
    407: LoginRefused,
    408: Stalled,
    423: Busy,
    425: Busy,
    429: Busy,
    503: Busy,
    501: DestinationInvalid,
    505: DestinationInvalid,
    507: DestinationFull,
}
"""Others above 500 may pass (`TemporaryError`), others will not (`DestinationInvalid`)."""


@dataclass(frozen=True, slots=True)
class Body:
    """Bytes to send; made anew when a request has to be repeated."""

    size: int
    chunks: Callable[[], Iterator[bytes]]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server said."""

    status: int
    reason: str
    headers: http.client.HTTPMessage
    text: str
    """The start of the body."""
    scrub: Callable[[str], str]
    """Takes our secrets out of what the server says."""

    @property
    def good(self) -> bool:
        """Whether it is done; a 207 tells that a part of it is not."""
        return 200 <= self.status < 300 and self.status != 207

    def refuse(self, subject: str) -> NoReturn:
        """Raise our error for this answer to a request concerning *subject*."""
        kind = STATUS.get(self.status) or (TemporaryError if self.status >= 500 else DestinationInvalid)
        said = f"{subject}: the server answers {self.status} {self.reason}{self._detail()}"
        if kind is Busy:
            raise Busy(said, self._retry_after())
        raise kind(said)

    def _detail(self) -> str:
        if self.status == 207:
            found = _INNER_STATUS.search(self.text)
            return f" ({found[1].strip()})" if found else ""
        if not self.headers.get("Content-Type", "").startswith(("text/plain", "application/json")):
            return ""
        return f" ({CONTROL.sub(' ', self.scrub(self.text)[:200]).strip()})"

    def _retry_after(self) -> float:
        value = self.headers.get("Retry-After", "").strip()
        return min(float(value), 3600.0) if value.isascii() and value.isdigit() else 5.0


class HttpConnection:
    """Connects when it is made. Raises `Unreachable`, `LoginRefused` for a certificate, `DestinationInvalid` for parameters."""

    def __init__(self, destination: Destination, settings: SessionSettings):
        parameters = settings.parameters
        self.name = replace(destination, path="", query="").exact
        self._origin = (destination.scheme, destination.host.lower(), destination.port or _default_port(destination.scheme))
        self._settings = settings
        ours = may_be_told(destination, parameters, *CREDENTIALS)
        self._headers = _headers(destination, settings, ours)
        self._query = _text(parameters, "query") if ours else ""
        self.form_fields = _mapping(parameters, "form_fields") if ours else {}
        self._secrets = _secrets_in(self._headers, self._query, self.form_fields)
        self._settled = False
        self._lost = False
        host, port = destination.host, destination.port
        if destination.scheme == "https":
            self._http: http.client.HTTPConnection = http.client.HTTPSConnection(
                host, port, timeout=settings.connect_timeout, context=_context(parameters))
        else:
            self._http = http.client.HTTPConnection(host, port, timeout=settings.connect_timeout)
        if destination.connect_to:
            # http.client's own seam: the name stays the one that certificates and the Host header are about.
            self._http._create_connection = partial(_connected_to, destination.connect_to)  # type: ignore[attr-defined]
        self._http.response_class = Response
        self._connect()

    def settle(self) -> None:
        """Logged in: from now on the time limit is that of a transfer."""
        self._settled = True

    @property
    def _timeout(self) -> float:
        return self._settings.stall_timeout if self._settled else self._settings.connect_timeout

    @property
    def alive(self) -> bool:
        """Whether nothing speaks against the next request."""
        return not self._lost and (self._http.sock is None or not is_readable(self._http.sock))

    def ask(self, method: str, path: str, *, headers: Mapping[str, str] | None = None, body: Body | None = None,
            follow: bool = True) -> Answer:
        """Send a request and wait for the answer, whatever its status. Raises `ConnectionLost`, `Stalled`, `Unreachable`."""
        target = quote(path, safe="/", errors="surrogateescape") + (f"?{self._query}" if self._query else "")
        for _ in range(MOST_REDIRECTS):
            answer = self._guarded(method, target, headers or {}, body)
            if not follow or answer.status not in (301, 302, 307, 308) or "Location" not in answer.headers:
                return answer
            target = self._followed(answer.headers["Location"], target)
        raise DestinationInvalid(f"{self.name}{path}: the server redirects for ever")

    def absolute(self, path: str) -> str:
        """The url of *path*, as the header `Destination` wants it."""
        return self.name + quote(path, safe="/", errors="surrogateescape")

    def close(self) -> None:
        self._http.close()

    def _followed(self, location: str, target: str) -> str:
        try:
            found = urlsplit(urljoin(self.name + target, location))
            place = (found.scheme, (found.hostname or "").lower(), found.port or _default_port(found.scheme))
        except ValueError:
            raise DestinationInvalid(f"{self.name}: the server redirects to somewhere malformed") from None
        if not (found.path + found.query).isascii():
            raise DestinationInvalid(f"{self.name}: the server redirects to somewhere malformed")
        if place != self._origin:
            raise DestinationInvalid(f"{self.name}: the server redirects to {place[0]}://{place[1]}:{place[2]}, which is not "
                                     "followed: make it the destination if that is right")
        return (found.path or "/") + (f"?{found.query}" if found.query else "")

    def _connect(self) -> None:
        self._http.timeout = self._settings.connect_timeout
        try:
            self._http.connect()
        except ssl.SSLCertVerificationError as error:
            raise LoginRefused(f"{self.name}: the certificate of the server is not trusted ({error.verify_message})") from error
        except OSError as error:
            raise Unreachable(f"{self.name}: {error.strerror or error}") from error
        self._http.sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    def _guarded(self, method: str, target: str, headers: Mapping[str, str], body: Body | None) -> Answer:
        """One exchange. Whatever goes wrong in it, the connection is of no more use."""
        if not self.alive:
            self._lost = True
            raise ConnectionLost(f"{self.name}: the server has closed the connection")
        if self._http.sock is None:  # closed by agreement after the last answer
            self._connect()
        try:
            self._http.sock.settimeout(self._timeout)
            return self._exchanged(method, target, headers, body)
        except BaseException as error:
            self._lost = True
            self._http.close()
            if isinstance(error, http.client.HTTPException):
                error.args = tuple(self._scrubbed(str(part)) for part in error.args)
            if isinstance(error, (OSError, http.client.HTTPException)):
                raise self._translated(error) from error
            raise

    def _exchanged(self, method: str, target: str, headers: Mapping[str, str], body: Body | None) -> Answer:
        self._http.putrequest(method, target, skip_accept_encoding=True)
        for name, value in {**self._headers, **headers}.items():
            self._http.putheader(name, value)
        if body is not None or method in ("PUT", "POST"):
            self._http.putheader("Content-Length", str(body.size if body else 0))
        self._http.endheaders()
        complete = body is None or self._sent(body)
        wait_while_it_drains(partial(is_readable, self._http.sock), partial(unsent_of, self._http.sock), self._timeout)
        response = self._http.getresponse()
        text = response.read(LONGEST_ANSWER)
        answer = Answer(response.status, self._scrubbed(CONTROL.sub(" ", response.reason or "")), response.headers,
                        text.decode("utf-8", "replace"), self._scrubbed)
        if not complete and answer.good:
            raise http.client.HTTPException("the server says it is done before it has all bytes")
        if not complete or not response.isclosed():
            self._http.close()
        return answer

    def _scrubbed(self, said: str) -> str:
        return scrubbed(said, self._secrets)

    def _sent(self, body: Body) -> bool:
        """Send *body*; False when the server did not wait for all of it."""
        for chunk in body.chunks():
            if self._origin[0] == "http" and is_readable(self._http.sock):
                return False
            try:
                self._http.send(chunk)
            except TimeoutError:
                raise
            except OSError:
                if not is_readable(self._http.sock, LAST_WORD):
                    raise
                return False
        return True

    def _translated(self, error: Exception) -> MoveError:
        if isinstance(error, TimeoutError):
            if not self._settled:
                return Unreachable(f"{self.name}: no answer within {self._timeout:g} seconds")
            return Stalled(f"{self.name}: nothing moved for {self._timeout:g} seconds")
        if isinstance(error, ssl.SSLError) and "certificate" in (error.reason or "").lower().replace("_", " "):
            return LoginRefused(f"{self.name}: the server does not accept our certificate, or wants one ({error.reason})")
        return ConnectionLost(f"{self.name}: the connection broke ({error or type(error).__name__})")


def _default_port(scheme: str) -> int:
    return 443 if scheme == "https" else 80


def _mapping(parameters: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    given = parameters.get(name) or {}
    if not isinstance(given, Mapping):
        raise DestinationInvalid(f"{name} must hold names and values")
    return given


def _headers(destination: Destination, settings: SessionSettings, ours: bool) -> dict[str, str]:
    """What goes along with every request."""
    parameters = settings.parameters
    given = _mapping(parameters, "headers")
    secrets = dict(_OPEN_HEADERS)
    if ours:
        secrets |= {str(name): str(value) for name, value in given.items()}
    login = _authorization(destination, settings, ours)
    if login:
        secrets["Authorization"] = login
    for name, value in secrets.items():
        if CONTROL.search(name + value) or not value.isascii():
            raise DestinationInvalid(f"the value of the header {CONTROL.sub('?', name)} holds what no header can")
    if (login or (given and ours)) and destination.scheme == "http" and not _is_private(destination, parameters):
        raise DestinationInvalid(f"http://{destination.host}: everybody on the way could read the credentials: use https, "
                                 "or set allow_plaintext")
    return secrets


def _secrets_in(headers: Mapping[str, str], query: str, form: Mapping[str, Any]) -> list[str]:
    """What a server that repeats what it was told must not bring into our logs; the longest first."""
    alone = [*(value for _, value in parse_qsl(query)), *map(str, form.values())]
    found = {query, *query.split("&"), *(value for value in alone if len(value) > 3)}  # a mere number would be all over its text
    for value in (value for name, value in headers.items() if _OPEN_HEADERS.get(name) != value):
        kind, _, token = value.partition(" ")
        found |= {value, token}
        if kind == "Basic":
            found.add(b64decode(token).decode("utf-8", "replace").partition(":")[2])
    return sorted(found - {""}, key=len, reverse=True)


def _authorization(destination: Destination, settings: SessionSettings, ours: bool) -> str:
    parameters = settings.parameters
    user, password, token = destination.user, destination.password, _text(parameters, "token")
    if user is None or password is None:
        if token and ours:
            return f"Bearer {token}"
        if _text(parameters, "username") and ours:
            user, password = _text(parameters, "username"), _text(parameters, "password")
        else:
            login = login_for(destination, settings)
            user, password = (login.user, login.password) if login else (None, None)
    if user is None:
        return ""
    return "Basic " + b64encode(f"{user}:{password or ''}".encode()).decode()


def _is_private(destination: Destination, parameters: Mapping[str, Any]) -> bool:
    """Whether credentials may pass unencrypted."""
    if str(parameters.get("allow_plaintext", "")).lower() in ("1", "true", "yes", "on"):
        return True
    try:
        return ipaddress.ip_address(destination.host).is_loopback
    except ValueError:
        return destination.host.lower() == "localhost"


def _context(parameters: Mapping[str, Any]) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=_text(parameters, "tls_ca_file") or None)
        certificate = _text(parameters, "tls_cert_file")
        if certificate:
            context.load_cert_chain(certificate, _text(parameters, "tls_key_file") or None,
                                    lambda: _text(parameters, "tls_key_password"))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "wrong password"
        raise DestinationInvalid(f"tls_ca_file, tls_cert_file or tls_key_file cannot be used ({reason})") from None
    return context


def _text(parameters: Mapping[str, Any], name: str) -> str:
    value = parameters.get(name)
    return "" if value is None or value is False else str(value)


def _connected_to(address: str, place: tuple[str, int], *options: Any, **more: Any) -> socket.socket:
    """A connection to *address* in place of the host of *place*."""
    return socket.create_connection((address, place[1]), *options, **more)
