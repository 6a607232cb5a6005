"""The table of faults names every fault of the matrix, and tests that are there."""

from __future__ import annotations

import re
from pathlib import Path

HERE = Path(__file__).parent
NUMBERS = (*range(1, 25), *range(30, 43), 45, 46)
TABLE = (HERE / "README.md").read_text()


def test_every_fault_is_in_the_table() -> None:
    named = {int(number) for number in re.findall(r"\bT(\d\d)\b", TABLE)}
    assert named == set(NUMBERS)


def test_every_file_in_the_table_is_there() -> None:
    tests = HERE.parent
    for name in re.findall(r"`((?:\.\./)?[\w/]+\.py)", TABLE):
        found = [(HERE / name).exists(), *(path.name == Path(name).name for path in tests.rglob("test_*.py"))]
        assert any(found), f"{name} is not there"
