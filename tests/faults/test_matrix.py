"""The table of faults names every fault of the matrix, and tests that are there."""

from __future__ import annotations

import re
from pathlib import Path

import trollmoves
from trollmoves.crashing import POINTS

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


def test_every_crash_point_in_the_code_is_one_of_those_that_are_tried() -> None:
    """The tests take theirs from the list: one that is not in it would never be hit. Several roles share `{role}.STEP`."""
    code = "".join(path.read_text() for path in Path(trollmoves.__file__).parent.rglob("*.py"))
    passed = set(re.findall(r'crashing\.point\(f?"(?:\{[\w.]+\})?([\w.]+)"', code))
    steps = {point: f".{point.partition('.')[2]}" for point in POINTS}
    assert passed <= steps.keys() | set(steps.values())
    assert [point for point, step in steps.items() if not {point, step} & passed] == []
