"""Movers: the only way a file gets somewhere, one module for each scheme.

`base` is the contract, `moving` the one algorithm, `registry` finds the mover of a scheme. The names below are for scripts: those
of upstream's `trollmoves.movers`, loaded when they are first asked for (`library`).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trollmoves.movers.library import (
        DEFAULT_NUM_SSH_RETRIES,
        DEFAULT_SCPCLIENT_TIMEOUT,
        MOVERS,
        S3_ALLOWED_SETTINGS,
        SCP_RESPONSE_TIMEOUT_MESSAGE,
        SSH_RETRY_SLEEP,
        CTimer,
        FileMover,
        FtpMover,
        HttpMover,
        Mover,
        S3Mover,
        ScpMover,
        SftpMover,
        move_it,
    )

__all__ = [
    "DEFAULT_NUM_SSH_RETRIES", "DEFAULT_SCPCLIENT_TIMEOUT", "MOVERS", "S3_ALLOWED_SETTINGS", "SCP_RESPONSE_TIMEOUT_MESSAGE",
    "SSH_RETRY_SLEEP", "CTimer", "FileMover", "FtpMover", "HttpMover", "Mover", "S3Mover", "ScpMover", "SftpMover", "move_it",
]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(importlib.import_module("trollmoves.movers.library"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
