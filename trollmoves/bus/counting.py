"""What strangers can make happen again and again is counted, and said now and then."""

from __future__ import annotations


def is_worth_a_line(count: int) -> bool:
    """Whether to log what has happened *count* times by now: the first time, the tenth, the hundredth, and each thousandth."""
    return count in (1, 10, 100) or count % 1000 == 0
