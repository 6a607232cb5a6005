"""Free ports of 127.0.0.1, kept apart between the processes of a test run. The fault kit's own."""

from __future__ import annotations

from trollmoves.faults.ports import Reservations, free_port, free_port_range, free_ports

__all__ = ["Reservations", "free_port", "free_port_range", "free_ports"]
