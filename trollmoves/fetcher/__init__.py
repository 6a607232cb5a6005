"""Fetching files that messages name, from filesystems that are named too: for pytroll-fetcher and s3downloader.

`places.py` says what a message means and whether that is allowed, `opening.py` opens it, `receiving.py` writes it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any


def fetch_from_message(message: Any, destination: str | os.PathLike[str], **options: Any) -> Path:
    """As `library.fetch_from_message`; loaded when it is called."""
    from trollmoves.fetcher import library
    return library.fetch_from_message(message, destination, **options)
