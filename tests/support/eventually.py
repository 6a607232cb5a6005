"""Patience with a limit: wait until something holds, never for a fixed time. The fault kit's own."""

from __future__ import annotations

from trollmoves.faults.waiting import eventually, never

__all__ = ["eventually", "never"]
