"""A bad network in pure Python: a proxy that delays, slows, cuts, half-closes, swallows, corrupts, stalls. The kit's own."""

from __future__ import annotations

from trollmoves.faults.proxy import NO_FAULT, Fault, TcpProxy

__all__ = ["NO_FAULT", "Fault", "TcpProxy"]
