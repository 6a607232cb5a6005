"""The checker of the fault kit, for tests."""

from __future__ import annotations

from trollmoves.faults.checking import Scene, rows
from trollmoves.faults.contents import Ledger, content_at, content_of, tree
from trollmoves.faults.observing import Observer, payload_of

__all__ = ["Ledger", "Observer", "Scene", "content_at", "content_of", "payload_of", "rows", "tree"]
