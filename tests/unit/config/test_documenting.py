from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.unit.config.conftest import Write
from trollmoves.config.documenting import settings_table
from trollmoves.config.reading import Configuration, read_client_config, read_server_config
from trollmoves.config.settings import ChainSettings, ClientSettings, ServerSettings

STARTS: dict[type[ChainSettings], str] = {
    ServerSettings: "origin = /d/{a}\ntopic = /t\n", ClientSettings: "providers = h:1\ndestination = /d/\n"}
READERS: dict[type[ChainSettings], Callable[[Path], Configuration[Any]]] = {
    ServerSettings: read_server_config, ClientSettings: read_client_config}


def rows(model: type[ChainSettings]) -> list[list[str]]:
    """The cells of each line below the head of the table."""
    lines = settings_table(model).splitlines()
    assert lines[:2] == ["| option | default | meaning |", "|---|---|---|"]
    return [[cell.strip().strip("`") for cell in line.strip("|").split(" | ")] for line in lines[2:]]


@pytest.mark.parametrize("model", STARTS)
def test_every_option_has_a_row_and_a_meaning(model: type[ChainSettings]) -> None:
    table = rows(model)
    assert {row[0] for row in table} == set(model.model_fields) - {"name", "replacements"}
    assert all(len(row) == 3 and len(row[2]) > 10 for row in table)
    assert [row[1] for row in table].count("required") == len([row for row in table[:2] if row[1] == "required"])


@pytest.mark.parametrize("model", STARTS)
def test_the_default_shown_is_what_one_would_write_for_it(model: type[ChainSettings], write: Write) -> None:
    read = READERS[model]
    plain = read(write("[s]\n" + STARTS[model])).chains["s"]
    written = "\n".join(f"{name} = {default}" for name, default, _ in rows(model) if default not in ("", "required"))
    configuration = read(write(f"[s]\n{STARTS[model]}{written}\n"))
    assert configuration.problems == ()
    assert configuration.chains["s"] == plain


def test_some_rows() -> None:
    table = {row[0]: row[1] for row in rows(ServerSettings)}
    assert (table["topic"], table["retention"], table["delete"], table["directory_mode"], table["origin"]) == (
        "required", "7d", "false", "755", "")
