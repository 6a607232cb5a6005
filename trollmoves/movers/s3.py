"""Uploads to S3 and to what speaks its protocol (`s3://bucket/key`; a key that ends in `/` gets the name of the origin).

A finished upload appears whole at once, under its final key: no temporary name is needed, and none is used. Files of up to one
part go in one request, larger ones in parts, several at a time; when anything goes wrong the parts are taken back, and parts that
an earlier, killed upload of the same account left are, once they are a day old. A bucket that is missing is an error: it is
not made.

The receipt says `sum` when the server's ETag is the MD5 of what was sent (of every part, for large files), or when it confirms a
sha256; behind some kinds of encryption it does neither, then sizes are compared. MD5 sums are sent along, so that the server
itself refuses what was damaged on the way. With `checksum = always` a sha256 is sent along too; with `never` no sum is.
The time of the origin is kept in the metadata `mtime` (seconds, as rclone writes it).

Engine: botocore, which knows every option and source of credentials that upstream's users have, and is as fast as its peers.
benchmarks/movers_s3.py against Swift, times the speed of boto3's `upload_file`: 200 files of 20 kB 1.09 (1.34 on a busy machine,
s3fs 1.53, obstore 1.51), 200 MiB 1.20 (1.2 in the median of eight runs, 1.0 with parts of 8 MiB; in another run 1.01, s3fs 1.11,
obstore 1.08). obstore takes a seventh of the CPU, but knows neither profiles nor most options.

Connection parameters: see `parameters`; they have the meaning they have upstream. Of those of botocore's `Config`,
`request_checksum_calculation` is `when_required` unless told otherwise, because some servers refuse AWS's newer checksums.
`use_tmp_on_transfer` and `s3_use_copy` are taken and not needed.
"""

from __future__ import annotations

import base64
import logging
import math
import mimetypes
import os
import re
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from trollmoves.errors import (
    ConnectionLost,
    Denied,
    DestinationInvalid,
    MoveError,
    OriginChanged,
    VerificationFailed,
)
from trollmoves.movers.base import Abilities, Mover, Origin, Progress, Sent, Session, SessionSettings
from trollmoves.movers.parameters import S3
from trollmoves.movers.s3_body import Body, Part, Tally, in_base64
from trollmoves.movers.s3_client import NotThere, S3Client, flag, number
from trollmoves.movers.s3_usual import with_usual
from trollmoves.uris import Destination

logger = logging.getLogger(__name__)

PART = 8 * 2**20
LARGE_PART = 32 * 2**20
LEAST_PART = 5 * 2**20
MOST_PARTS = 10_000
SUMS = {"never": (), "always": ("md5", "sha256")}
"""What is computed of each part, by the section's `checksum`; MD5 alone otherwise."""
LOOK = 0.25
"""Seconds between two looks at uploads that run in parallel."""
LAST_WORD = 5.0
"""Seconds to connect, and to wait for an answer, when tidying up after an upload that failed."""
ABANDONED = timedelta(days=1)
"""Parts without a file are taken back when they are this old."""
_MD5 = re.compile(r"[0-9a-f]{32}")
_SHA256 = re.compile(r"[A-Za-z0-9+/]{43}=")
"""In base64; that of an object in parts has their number behind it."""


class WrongBytes(VerificationFailed):
    """The server took a body and says it holds another one."""


@dataclass(frozen=True, slots=True)
class Stored:
    """What the server said of one body it took."""

    tag: str
    """Its ETag, without quotes."""
    sha256: str
    """Sent along, in base64; empty when none was."""
    confirmed: bool
    """Whether a checksum proves that the right bytes arrived."""


class S3Session(Session):
    """A client for one bucket. Requests stand alone: a connection the server closed is replaced without a word."""

    def __init__(self, client: S3Client, settings: SessionSettings):
        self._client = client
        self._pace = settings.pace(client.host)
        self._sums = settings.checksum
        self._part_size = number(settings.parameters, "s3_multipart_chunksize", PART, LEAST_PART)
        self._size_is_set = settings.parameters.get("s3_multipart_chunksize") is not None
        self._always_parts = flag(settings.parameters, "s3_use_multipart", False)
        self._hidden = False
        self._swept = False
        client.on_send(_sending)

    def abilities(self, declared: Abilities) -> Abilities:
        return Abilities(rename=False, atomic_put=True, size=False, parallel=declared.parallel) if self._hidden else declared

    def put(self, origin: Origin, path: str, progress: Progress, offset: int = 0) -> Sent:
        key = _key(path)
        if origin.size <= self._part_size and not (self._always_parts and origin.size):
            confirmed, checksum = self._put_whole(origin, key, progress)
        else:
            confirmed, checksum = self._put_parts(origin, key, progress), None
        progress(origin.size)
        return Sent(origin.size, checksum, "sum" if confirmed else self._compared_size(origin, path))

    def _put_whole(self, origin: Origin, key: str, progress: Progress) -> tuple[bool, str | None]:
        """Upload in one request; returns whether a checksum proves that all arrived, and the sha256 where that costs little."""
        whole = Part(origin, 0, origin.size)
        sums = whole.sums("md5", "sha256") if self._sums != "never" else {}
        _refuse_changed(origin)
        try:
            stored = self._store("put_object", key, whole, sums, Tally(progress), **_attributes(origin, key))
        except WrongBytes:
            with suppress(MoveError):
                self.remove(f"/{key}")  # no one shall find them
            raise
        return stored.confirmed, f"sha256:{sums['sha256'].hex()}" if sums else None

    def _put_parts(self, origin: Origin, key: str, progress: Progress) -> bool:
        """Upload in parts; returns whether checksums prove that all arrived."""
        name = self._named(key)
        more = {"ChecksumAlgorithm": "SHA256"} if self._sums == "always" else {}
        begun = self._client.call("create_multipart_upload", name, Key=key, **{**_attributes(origin, key), **more})
        upload = begun.get("UploadId")
        if not upload:
            raise ConnectionLost(f"{name}: the server does not say which upload it has begun")
        try:
            stored = self._sent_parts(origin, key, upload, progress)
            progress(origin.size)
            _refuse_changed(origin)
            self._sweep(key, upload)
            parts = [_named_part(number, part) for number, part in enumerate(stored, 1)]
            self._client.call("complete_multipart_upload", name, Key=key, UploadId=upload, MultipartUpload={"Parts": parts})
        except BaseException:
            self._take_back(key, upload)
            raise
        return all(part.confirmed for part in stored)

    def _sent_parts(self, origin: Origin, key: str, upload: str, progress: Progress) -> list[Stored]:
        size = self._size_of_parts(origin.size)
        count = math.ceil(origin.size / size)
        tally = Tally()

        def send(number: int) -> Stored:
            if tally.stopped:
                raise ConnectionLost("another part of the file failed")
            start = (number - 1) * size
            part = Part(origin, start, min(size, origin.size - start))
            sums = part.sums(*SUMS.get(self._sums, ("md5",)))
            return self._store("upload_part", key, part, sums, tally, UploadId=upload, PartNumber=number)

        with ThreadPoolExecutor(min(self._client.parallel, count), "s3-part") as pool:
            parts = [pool.submit(send, number) for number in range(1, count + 1)]
            try:
                _watch(parts, tally, progress)
            except BaseException:
                tally.stop()
                pool.shutdown(wait=True, cancel_futures=True)
                raise
        return [part.result() for part in parts]

    def _size_of_parts(self, size: int) -> int:
        """Fewer requests are better, as long as all connections have something to do."""
        wanted = 0 if self._size_is_set else min(math.ceil(size / self._client.parallel), LARGE_PART)
        return max(self._part_size, wanted, math.ceil(size / MOST_PARTS))

    def _store(self, operation: str, key: str, part: Part, sums: dict[str, bytes], tally: Tally, **arguments: object) -> Stored:
        """Send one body; a busy server is asked again."""
        md5, sha256 = sums.get("md5", b""), ""
        if md5:
            arguments["ContentMD5"] = in_base64(md5)
        if self._sums == "always":
            sha256 = in_base64(sums["sha256"])
            arguments |= {"ChecksumAlgorithm": "SHA256", "ChecksumSHA256": sha256}
        answer = self._client.patiently(lambda: self._store_once(operation, key, part, tally, arguments))
        tag = str(answer.get("ETag", "")).strip('"').lower()
        confirmed = tag == md5.hex() or (sha256 != "" and answer.get("ChecksumSHA256") == sha256)
        if md5 and not confirmed and _MD5.fullmatch(tag) and not _is_encrypted(answer):
            raise WrongBytes(f"{self._named(key)}: the server holds other bytes (ETag {tag}) than were sent")
        return Stored(tag, sha256, confirmed)

    def _store_once(self, operation: str, key: str, part: Part, tally: Tally, arguments: dict[str, object]) -> dict[str, Any]:
        counted = 0

        def count(step: int) -> None:
            nonlocal counted
            counted += step
            tally.add(step)

        try:
            answer = self._client.once(operation, self._named(key), Key=key, Body=part.body(count, self._pace), **arguments)
        except BaseException:
            tally.add(-counted)
            raise
        tally.add(part.size - counted)
        return answer

    def _compared_size(self, origin: Origin, path: str) -> str:
        """For `Sent.verified`, when no checksum could be compared."""
        try:
            arrived = self.size(path)
        except Denied:
            self._hidden = True
            return "none"
        if arrived != origin.size:
            raise VerificationFailed(f"{self._named(_key(path))}: {arrived} bytes arrived of {origin.size}")
        return "size"

    def _take_back(self, key: str, upload: str) -> None:
        """Have the server forget the parts of an upload, without hiding why it failed."""
        try:
            self._client.patiently(
                lambda: self._client.apart("abort_multipart_upload", self._named(key), LAST_WORD, Key=key, UploadId=upload))
        except MoveError as error:
            logger.warning("%s: the parts of a failed upload could not be taken back, that is tried again in a day: %s",
                           self._named(key), error)

    def _sweep(self, key: str, upload: str) -> None:
        """Once a session: have the server forget what killed uploads of the same account left where *key* is."""
        if self._swept:
            return
        self._swept = True
        prefix = key[:key.rfind("/") + 1]
        with suppress(MoveError):
            found = self._client.once("list_multipart_uploads", self._named(prefix), Prefix=prefix).get("Uploads", [])
            ours = next((entry for entry in found if entry.get("UploadId") == upload), None)
            if ours is None or _is_old(ours):  # a server whose times mean nothing
                return
            for entry in found:
                if _is_old(entry) and _initiator(entry) == _initiator(ours):
                    self._client.once("abort_multipart_upload", self._named(prefix), Key=entry.get("Key"),
                                      UploadId=entry.get("UploadId"))

    def size(self, path: str) -> int | None:
        answer = self._head(_key(path))
        if answer is None:
            return None
        if "ContentLength" not in answer:
            raise ConnectionLost(f"{self._named(_key(path))}: the server does not say how large it is")
        return int(answer["ContentLength"])

    def checksum(self, path: str) -> str | None:
        """A sha256 of the whole object, where the server keeps one."""
        answer = self._head(_key(path), ChecksumMode="ENABLED") or {}
        value = str(answer.get("ChecksumSHA256", ""))
        if not _SHA256.fullmatch(value) or answer.get("ChecksumType", "FULL_OBJECT") != "FULL_OBJECT":
            return None
        return f"sha256:{base64.b64decode(value).hex()}"

    def _head(self, key: str, **arguments: object) -> dict[str, Any] | None:
        try:
            return self._client.call("head_object", self._named(key), Key=key, **arguments)
        except NotThere:
            return None

    def rename(self, source: str, target: str) -> None:
        """A copy made by the server; not in one step, and never needed by a move."""
        old, new = _key(source), _key(target)
        self._client.call("copy_object", self._named(new), Key=new, CopySource={"Bucket": self._client.bucket, "Key": old})
        self.remove(source)

    def remove(self, path: str) -> None:
        with suppress(NotThere):
            self._client.call("delete_object", self._named(_key(path)), Key=_key(path))

    def make_directories(self, path: str) -> None:
        """There are none: a key may hold slashes."""

    def close(self) -> None:
        self._client.close()

    def _named(self, key: str) -> str:
        return f"s3://{self._client.bucket}/{key}"


def _watch(parts: list[Future[Stored]], tally: Tally, progress: Progress) -> None:
    """Wait for all *parts*, telling the progress; raises the first error of one."""
    pending = set(parts)
    while pending:
        done, pending = wait(pending, LOOK, FIRST_EXCEPTION)
        for part in done:
            part.result()
        progress(tally.highest)


def _sending(request: Any, **_: object) -> None:
    body = getattr(request.body, "_raw", request.body)  # botocore wraps a body that it sends a checksum behind
    if isinstance(body, Body):
        body.sending()


def _key(path: str) -> str:
    key = path.lstrip("/")
    if not key:
        raise DestinationInvalid("an S3 destination needs a key behind the bucket")
    return key


def _refuse_changed(origin: Origin) -> None:
    """An upload shows as soon as it is finished, so the origin is compared before that."""
    now = os.fstat(origin.descriptor)
    if (now.st_size, now.st_mtime_ns) != (origin.size, origin.mtime_ns):
        raise OriginChanged(f"{origin.path}: was written to while it was moved")


def _is_encrypted(answer: dict[str, Any]) -> bool:
    """Whether the ETag of *answer* need not be an MD5."""
    return "SSECustomerAlgorithm" in answer or str(answer.get("ServerSideEncryption", "AES256")) != "AES256"


def _attributes(origin: Origin, key: str) -> dict[str, object]:
    """What an object is given besides its bytes."""
    kind = mimetypes.guess_type(key)[0]
    return {"Metadata": {"mtime": f"{origin.mtime_ns / 10**9:.6f}"}} | ({"ContentType": kind} if kind else {})


def _named_part(number: int, part: Stored) -> dict[str, object]:
    named: dict[str, object] = {"PartNumber": number, "ETag": f'"{part.tag}"'}
    return named | ({"ChecksumSHA256": part.sha256} if part.sha256 else {})


def _initiator(upload: dict[str, Any]) -> object:
    return upload.get("Initiator", {}).get("ID")


def _is_old(upload: dict[str, Any]) -> bool:
    since = upload.get("Initiated")
    return isinstance(since, datetime) and datetime.now(UTC) - since > ABANDONED


class S3Mover(Mover):
    """Uploads to S3."""

    schemes = ("s3",)
    abilities = Abilities(rename=False, atomic_put=True, parallel=8)
    parameters = S3

    def open(self, destination: Destination, settings: SessionSettings) -> Session:
        """Raises `DestinationInvalid` for a bucket that is not there too."""
        has_login = destination.user is not None and destination.password is not None
        settings = replace(settings, parameters=with_usual(settings.parameters, has_login=has_login))
        return S3Session(S3Client(destination, settings), settings)
