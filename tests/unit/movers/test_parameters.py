"""The listed parameters are those the movers read: no more, no fewer, with the same names."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from tests.support.programs import CHECKOUT
from trollmoves.movers.parameters import BUILT_IN, COMMON, IDLE, NAMES, OPTIONS
from trollmoves.movers.registry import BUILT_IN as MOVERS
from trollmoves.movers.registry import known_parameters, mover_for

SOURCES = {
    "file": ["file", "file_session", "careful"], "ftp": ["ftp*", "credentials"], "http": ["http*", "credentials"], "s3": ["s3*"],
    "scp": ["scp", "ssh_*", "credentials"], "sftp": ["sftp*", "ssh_*", "credentials"],
}
"""The modules of each mover, below `trollmoves/movers`."""


def trees(mover: str) -> Iterator[ast.AST]:
    for pattern in SOURCES[mover]:
        for path in (CHECKOUT / "trollmoves" / "movers").glob(f"{pattern}.py"):
            yield from ast.walk(ast.parse(path.read_text()))


def is_parameters(node: ast.expr) -> bool:
    """Whether an expression is a session's parameters."""
    return ast.unparse(node).endswith("parameters")


def read_names(mover: str) -> set[str]:
    """The names that are looked up in parameters, one by one."""
    found: list[ast.expr] = []
    for node in trees(mover):
        if isinstance(node, ast.Subscript) and is_parameters(node.value):
            found.append(node.slice)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and is_parameters(node.func.value):
            found += node.args[:1] if node.func.attr == "get" else []
        elif isinstance(node, ast.Call) and len(node.args) > 1 and is_parameters(node.args[0]):
            found.append(node.args[1])
    return {node.value for node in found if isinstance(node, ast.Constant) and isinstance(node.value, str)}


def words(mover: str) -> set[str]:
    """All texts in the modules."""
    return {node.value for node in trees(mover) if isinstance(node, ast.Constant) and isinstance(node.value, str)}


@pytest.mark.parametrize("mover", sorted(BUILT_IN))
def test_what_is_read_is_listed_and_what_is_listed_is_read(mover: str) -> None:
    listed = {parameter.name for parameter in BUILT_IN[mover]}
    assert read_names(mover) and read_names(mover) <= listed
    assert listed - words(mover) <= set(IDLE)


def test_the_modules_of_every_mover_are_looked_at() -> None:
    assert set(SOURCES) == set(BUILT_IN)
    assert {mover_for(scheme).schemes[0] for scheme in MOVERS} == set(BUILT_IN)


@pytest.mark.parametrize("scheme", sorted(MOVERS))
def test_a_mover_has_its_table(scheme: str) -> None:
    mover = mover_for(scheme)
    assert mover.parameters is BUILT_IN[mover.schemes[0]]


def test_a_name_stands_once_in_a_table_and_says_what_it_does() -> None:
    for table in (COMMON, OPTIONS, *BUILT_IN.values()):
        assert len({parameter.name for parameter in table}) == len(table)
        assert all(parameter.meaning for parameter in table)
    assert not {option.name for option in OPTIONS} & NAMES


def test_all_of_ours_are_known() -> None:
    known = known_parameters()
    assert known is None or known >= NAMES
