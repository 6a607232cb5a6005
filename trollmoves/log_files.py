"""Log files: one that was renamed or removed, as logrotate does it, is begun anew under its name."""

from __future__ import annotations

import logging
import os
from contextlib import suppress


def all_handlers() -> list[logging.Handler]:
    """Those of all loggers, each once."""
    named = [found for found in logging.Logger.manager.loggerDict.values() if isinstance(found, logging.Logger)]
    return list({id(handler): handler for logger in [logging.getLogger(), *named] for handler in logger.handlers}.values())


def begin_anew() -> None:
    """Let go of log files that are not under their names any more: the next line begins them anew. What was written after the
    renaming is in the renamed ones."""
    for handler in all_handlers():
        if isinstance(handler, logging.FileHandler):
            _begin_anew(handler)


def _begin_anew(handler: logging.FileHandler) -> None:
    handler.acquire()
    try:
        stream = handler.stream
        if stream is not None and not _is_under_its_name(stream.fileno(), handler.baseFilename):
            handler.stream = None  # the handler opens one when it has none
            with suppress(OSError):  # a full disk keeps what is in the buffer from being written
                stream.close()
    finally:
        handler.release()


def _is_under_its_name(descriptor: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except OSError:
        return False
