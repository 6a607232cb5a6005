"""A file on a web server, asked for once and read as it comes: one file from its first byte to its last, whatever replaces it
meanwhile, and of the length that this very answer tells."""

from __future__ import annotations

import asyncio
import importlib
import io
from typing import Any

from trollmoves.errors import Stalled


class WebFile(io.RawIOBase):
    """The file at *url*, through the session of fsspec's *filesystem*. The answer has to begin within so many *seconds*; how its
    body may stall is the session's business."""

    def __init__(self, filesystem: Any, url: str, seconds: float):
        self._loop, self._sync = filesystem.loop, importlib.import_module("fsspec.asyn").sync
        self._answer = self._sync(self._loop, self._asked, filesystem, url, seconds)
        self.size = self._told_size()

    @staticmethod
    async def _asked(filesystem: Any, url: str, seconds: float) -> Any:
        session = await filesystem.set_session()
        options = {**filesystem.kwargs, "headers": {**(filesystem.kwargs.get("headers") or {}), "Accept-Encoding": "identity"}}
        try:
            async with asyncio.timeout(seconds):
                answer = await session.get(filesystem.encode_url(url), **options)
        except TimeoutError as error:
            raise Stalled(f"no answer within {seconds:g} seconds") from error
        if answer.status >= 400:
            answer.close()
            answer.raise_for_status()
        return answer

    def _told_size(self) -> int | None:
        """What the answer says; None where it does not, or where what comes is not what was sent."""
        packed = self._answer.headers.get("Content-Encoding", "identity") not in ("identity", "")
        length: int | None = self._answer.content_length
        return None if packed else length

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data: bytes = self._sync(self._loop, self._answer.content.read, len(buffer))
        buffer[:len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._loop.call_soon_threadsafe(self._answer.close)
        super().close()
