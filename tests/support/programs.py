"""Real programs in processes of their own. The fault kit's own; none survives the test run."""

from __future__ import annotations

from trollmoves.faults.programs import PACKAGE, Program, ProgramError, clean_environment

CHECKOUT = PACKAGE

__all__ = ["CHECKOUT", "Program", "ProgramError", "clean_environment"]
