"""The dispatcher: hears messages, and pushes the files they speak of to targets. `target.py` says what a target is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def check_conditions(msg: Any, item: Mapping[str, Any]) -> bool:
    """Whether the `conditions` of an item of `dispatch_configs` hold for a posttroll message. Raises `ValueError` where they
    cannot be read."""
    from trollmoves.dispatcher.conditions import decide, read_conditions
    given = item.get("conditions")
    return decide(None if given is None else read_conditions(given), msg.data).accepted
