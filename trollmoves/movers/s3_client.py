"""From a section's parameters to an S3 client whose calls raise our errors.

botocore's own retries are off: it would repeat a stalled request for minutes. What a busy server asks for (500, 503, SlowDown) is
repeated here, for a few seconds; everything longer is the journal's business.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, TypeVar
from urllib.parse import urlsplit

import botocore
import botocore.session
from botocore import exceptions
from botocore.config import Config
from botocore.parsers import ResponseParserError

from trollmoves.errors import (
    Busy,
    ConnectionLost,
    DestinationFull,
    DestinationInvalid,
    LoginRefused,
    MoveError,
    OriginReplaced,
    Refused,
    Stalled,
    TemporaryError,
    Unreachable,
    VerificationFailed,
)
from trollmoves.movers.base import SessionSettings
from trollmoves.movers.parameters import COMMON, IDLE, S3
from trollmoves.movers.s3_answers import bind
from trollmoves.uris import Destination

logger = logging.getLogger(__name__)

Answer = TypeVar("Answer")

PAUSES = (0.2, 0.6, 1.5)
"""Seconds before a busy server is asked again; drawn between half of it and all of it."""
OPERATIONS = ("PutObject", "CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload", "AbortMultipartUpload", "HeadObject",
              "CopyObject", "DeleteObject", "GetObject", "ListObjectsV2", "ListMultipartUploads")


class NotThere(DestinationInvalid):
    """There is no such object."""


CODES: dict[str, type[MoveError]] = {
    **dict.fromkeys(("InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "TokenRefreshRequired",
                     "InvalidSecurity", "NotSignedUp", "RequestTimeTooSkewed", "401"), LoginRefused),
    **dict.fromkeys(("AccessDenied", "AllAccessDisabled", "AccountProblem", "403"), Refused),
    **dict.fromkeys(("SlowDown", "ServiceUnavailable", "Throttling", "ThrottlingException", "RequestLimitExceeded",
                     "TooManyRequests", "OperationAborted", "429", "503"), Busy),
    **dict.fromkeys(("QuotaExceeded", "XMinioStorageFull", "XMinioAdminBucketQuotaExceeded", "507"), DestinationFull),
    **dict.fromkeys(("BadDigest", "IncompleteBody", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch", "InvalidPart",
                     "NoSuchUpload"), VerificationFailed),
    "RequestTimeout": Stalled,
    **dict.fromkeys(("PreconditionFailed", "412"), OriginReplaced),
    "NoSuchBucket": DestinationInvalid,
    **dict.fromkeys(("NoSuchKey", "404"), NotThere),
}
"""Other answers: above 500 `TemporaryError`, else `DestinationInvalid`."""

ERRORS: tuple[tuple[type[Exception], type[MoveError]], ...] = (
    (exceptions.ConnectTimeoutError, Unreachable),
    (exceptions.EndpointConnectionError, Unreachable),
    (exceptions.ProxyConnectionError, Unreachable),
    (exceptions.ReadTimeoutError, Stalled),
    (exceptions.HTTPClientError, ConnectionLost),
    (exceptions.NoCredentialsError, LoginRefused),
    (exceptions.PartialCredentialsError, LoginRefused),
    (exceptions.CredentialRetrievalError, LoginRefused),
    (exceptions.TokenRetrievalError, LoginRefused),
    (exceptions.SSOError, LoginRefused),
    (exceptions.BotoCoreError, DestinationInvalid),
    (ValueError, DestinationInvalid),
)
"""botocore's own errors; the first that fits. What is not listed concerns the configuration."""


def translated(error: Exception, subject: str) -> MoveError:
    """Our error for one of botocore's concerning *subject*."""
    if isinstance(error, exceptions.ClientError):
        return _refusal(error, subject)
    own = next((cause for cause in _causes(error) if isinstance(cause, MoveError)), None)
    if own is not None:  # said while the body was read
        return own
    if isinstance(error, exceptions.SSLError) and "CERTIFICATE_VERIFY_FAILED" in str(error):
        return LoginRefused(f"{subject}: the certificate of the server is not trusted")
    kind = next(ours for theirs, ours in ERRORS if isinstance(error, theirs))
    if kind is ConnectionLost and _timed_out(error):
        kind = Stalled
    return kind(f"{subject}: {error}")


def _refusal(error: exceptions.ClientError, subject: str) -> MoveError:
    answer = error.response.get("Error", {})
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    code = str(answer.get("Code", status))
    kind = CODES.get(code) or CODES.get(str(status)) or (TemporaryError if status >= 500 else DestinationInvalid)
    return kind(f"{subject}: the server answers {status} {code}: {str(answer.get('Message', ''))[:200]}")


def _causes(error: BaseException | None) -> Iterator[object]:
    """*error*, what it was made of (urllib3 and botocore wrap in several ways) and what it came from."""
    while error is not None:
        yield error
        yield from error.args
        error = error.__cause__ or error.__context__


def _timed_out(error: BaseException) -> bool:
    """Whether a time limit is at the bottom of *error*; that of a send comes as a lost connection."""
    return any(isinstance(cause, TimeoutError) for cause in _causes(error))


class S3Client:
    """The client for one bucket. Threads may share it, except for `close`."""

    def __init__(self, destination: Destination, settings: SessionSettings, *, streams: bool = False):
        """*streams*: objects are read, of any length."""
        self.bucket = destination.host
        self._settings = settings
        self._parameters = settings.parameters
        self.parallel = number(self._parameters, "max_concurrency", 10, least=1)
        self._check()
        with self._errors(f"s3://{self.bucket}"):
            self._session = _session(self._parameters)
            self._arguments = self._client_arguments(destination)
            # botocore holds a send to the time limit of connecting, so the client that sends has another than the one that looks.
            self._client = self._created(settings.stall_timeout, settings.stall_timeout, streams=streams)
            self._extra = self._extra_arguments()
        self._look()

    def __repr__(self) -> str:
        return f"<S3Client {self.bucket}>"

    @property
    def host(self) -> str:
        """The server's name."""
        return urlsplit(str(self._client.meta.endpoint_url)).hostname or ""

    def on_send(self, function: Any) -> None:
        """Call *function* with `request` when it has been signed and is about to be sent."""
        self._client.meta.events.register("before-send.s3", function)

    def call(self, operation: str, subject: str, **arguments: object) -> dict[str, Any]:
        """Call *operation* (`put_object`, ...) on the bucket; a busy server is asked again a few times."""
        return self.patiently(lambda: self.once(operation, subject, **arguments))

    def patiently(self, action: Callable[[], Answer]) -> Answer:
        """The result of *action*, which is repeated a few times when the server answers that it is busy or in trouble."""
        for pause in PAUSES:
            try:
                return action()
            except TemporaryError as error:
                if type(error) not in (Busy, TemporaryError):
                    raise
                time.sleep(random.uniform(pause / 2, pause))  # noqa: S311
        return action()

    def once(self, operation: str, subject: str, **arguments: object) -> dict[str, Any]:
        """As `call`, asking once."""
        with self._errors(subject):
            return self._invoke(self._client, operation, arguments)

    def _look(self) -> None:
        """See that the bucket is there and the login good. Who may only write is not told the first; the first put will show."""
        try:
            with suppress(Refused):
                seconds = self._settings.connect_timeout
                self.patiently(lambda: self.apart("list_objects_v2", f"s3://{self.bucket}", seconds, MaxKeys=1))
        except Stalled as error:
            self.close()
            raise Unreachable(str(error)) from error
        except BaseException:
            self.close()
            raise

    def apart(self, operation: str, subject: str, seconds: float, **arguments: object) -> None:
        """As `once`, over a connection of its own, with so many seconds to connect and again for the answer."""
        with self._errors(subject):
            client = self._created(seconds, seconds)
        try:
            with self._errors(subject):
                self._invoke(client, operation, arguments)
        finally:
            client.close()

    def close(self) -> None:
        self._client.close()

    def _invoke(self, client: Any, operation: str, arguments: Mapping[str, object]) -> dict[str, Any]:
        name = client.meta.method_to_api_mapping[operation]
        extra = self._extra[name]
        if "Metadata" in extra and "Metadata" in arguments:
            extra = {**extra, "Metadata": {**_mapping(arguments, "Metadata"), **extra["Metadata"]}}
        answer: dict[str, Any] = getattr(client, operation)(**{**arguments, **extra, "Bucket": self.bucket})
        return answer

    @contextmanager
    def _errors(self, subject: str) -> Iterator[None]:
        try:
            yield
        except (exceptions.ClientError, exceptions.BotoCoreError, ValueError) as error:
            raise translated(error, subject) from error
        except ResponseParserError as error:
            raise ConnectionLost(f"{subject}: the server's answer makes no sense") from error

    def _created(self, connect_timeout: float, stall_timeout: float, *, streams: bool = False) -> Any:
        options: dict[str, Any] = {
            "connect_timeout": connect_timeout,
            "read_timeout": stall_timeout,
            "retries": {"total_max_attempts": 1},
            "max_pool_connections": max(10, self.parallel + 2),
            "request_checksum_calculation": "when_required",
            "response_checksum_validation": "when_required",
        }
        if flag(self._parameters, "anon", False):
            options["signature_version"] = botocore.UNSIGNED
        given = _numbers(_mapping(self._parameters, "config_kwargs"))
        if self._settings.checksum != "never":
            # The MD5 of a body is among what is signed: another pass over the bytes would prove nothing more.
            given["s3"] = {"payload_signing_enabled": False, **_mapping(given, "s3")}
        try:
            config = Config(**{**options, **given})
            client = self._session.create_client("s3", config=config, **self._arguments)
        except TypeError as error:  # an unknown word, or a wrong kind of value
            raise DestinationInvalid(f"s3://{self.bucket}: client_kwargs or config_kwargs: {error}") from None

        bind(client, stall_timeout, streams=streams)
        return client

    def _client_arguments(self, destination: Destination) -> dict[str, Any]:
        parameters = self._parameters
        arguments = {
            "endpoint_url": parameters.get("endpoint_url"),
            "use_ssl": flag(parameters, "use_ssl", True),
            "aws_access_key_id": parameters.get("key"),
            "aws_secret_access_key": parameters.get("secret"),
            "aws_session_token": parameters.get("token"),
        }
        if destination.user is not None and destination.password is not None and parameters.get("key") is None:
            arguments |= {"aws_access_key_id": destination.user, "aws_secret_access_key": destination.password}
        arguments |= _mapping(parameters, "client_kwargs")
        if arguments.get("verify") in (0, 1):  # as INI files may say it; botocore takes 1 for the name of a file
            arguments["verify"] = bool(arguments["verify"])
        if arguments.get("verify") is False:
            logger.warning("s3://%s: client_kwargs turns off the verification of the server's certificate", self.bucket)
        if arguments["endpoint_url"] is None:
            del arguments["endpoint_url"]
        return arguments

    def _extra_arguments(self) -> dict[str, dict[str, Any]]:
        """By operation: those of `s3_additional_kwargs` that it knows. Raises `DestinationInvalid` for one that none knows."""
        given = _mapping(self._parameters, "s3_additional_kwargs")
        if flag(self._parameters, "requester_pays", False):
            given["RequestPayer"] = "requester"
        service = self._client.meta.service_model
        known = {name: service.operation_model(name).input_shape.members for name in OPERATIONS}
        strangers = sorted(set(given) - set().union(*known.values()))
        if strangers:
            raise DestinationInvalid(f"s3://{self.bucket}: s3_additional_kwargs: S3 knows no {', '.join(strangers)}")
        return {name: {key: _as_shaped(value, members[key].type_name) for key, value in given.items() if key in members}
                for name, members in known.items()}

    def _check(self) -> None:
        others = sorted(set(self._parameters) - {parameter.name for parameter in (*COMMON, *S3)})
        if others:
            logger.debug("s3://%s: not for s3: %s", self.bucket, ", ".join(others))
        idle = sorted(set(self._parameters) & {*IDLE, "use_tmp_on_transfer"})
        if idle:
            logger.debug("s3://%s: without effect, a finished upload appears whole at once: %s", self.bucket, ", ".join(idle))


def _session(parameters: Mapping[str, Any]) -> Any:
    # botocore's debug lines hold session tokens.
    if logging.getLogger("botocore").level == logging.NOTSET:
        logging.getLogger("botocore").setLevel(logging.INFO)
    given = parameters.get("session")
    if given is None:
        return botocore.session.Session(profile=parameters.get("profile"))
    inner = getattr(given, "_session", given)  # boto3 wraps one of botocore
    if type(inner) is not botocore.session.Session:
        raise DestinationInvalid(f"session must be one of boto3 or botocore, not {type(given).__module__}")
    return inner


def flag(parameters: Mapping[str, Any], name: str, default: bool) -> bool:
    """A switch that may have been written as text."""
    value = parameters.get(name, default)
    if isinstance(value, str):
        return value.strip().lower() in ("1", "true", "yes", "on")
    return bool(value)


def _as_shaped(value: Any, shape: str) -> Any:
    """INI files know only text, and numbers for what is on or off; botocore takes nothing for what it is not."""
    if shape == "boolean":
        return flag({"": value}, "", False)
    return int(value) if shape in ("integer", "long") and isinstance(value, str) and value.strip().isdecimal() else value


def number(parameters: Mapping[str, Any], name: str, default: int, least: int) -> int:
    """A whole number, not below *least*. Raises `DestinationInvalid`."""
    value = parameters.get(name)
    try:
        found = default if value is None else int(value)
    except (TypeError, ValueError):
        found = least - 1
    if found < least:
        raise DestinationInvalid(f"{name} must be a whole number of at least {least}")
    return found


def _mapping(parameters: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = parameters.get(name) or {}
    if not isinstance(value, Mapping):
        raise DestinationInvalid(f"{name} must hold names and values")
    return dict(value)


def _numbers(options: Mapping[str, Any]) -> dict[str, Any]:
    """INI files know only text; botocore's numbers must be numbers."""
    result: dict[str, Any] = {}
    for name, value in options.items():
        if isinstance(value, Mapping):
            result[name] = _numbers(value)
        else:
            result[name] = int(value) if isinstance(value, str) and value.isascii() and value.isdigit() else value
    return result


