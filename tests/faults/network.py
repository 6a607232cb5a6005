"""The network that the fault kit breaks, for tests."""

from __future__ import annotations

from trollmoves.faults.network import TOPIC, Network, section
from trollmoves.faults.observing import Recorder

__all__ = ["TOPIC", "Network", "Recorder", "section"]
