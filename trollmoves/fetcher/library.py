"""Fetching from a script."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Any

from trollmoves.config.fetching import FetcherSettings
from trollmoves.fetcher.fetching import fetch, plan_and_receiver


def fetch_from_message(message: Any, destination: str | os.PathLike[str], **options: Any) -> Path:
    """Fetch the file that a posttroll *message* names into the directory *destination* (with fields of the message), and return
    where it is. *options* are those of a configuration file, such as `allowed_protocols`. Raises a `MoveError`, or
    `MalformedMessage`."""
    settings = FetcherSettings(name="script", destination=os.fspath(destination), **options)
    plan, receiving = plan_and_receiver(settings)
    place = plan.place(message.data)
    plan.rights.check(place)
    path = plan.path(message.data, place)
    # A temporary name of its own: other threads, and processes of other machines, may fetch the same file to the same place.
    return Path(fetch(plan.opener, receiving, place, path, secrets.token_hex(8)).uri)
