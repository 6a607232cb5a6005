"""The named statements of `queries.sql`."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files


@cache
def statements() -> dict[str, str]:
    """Name -> SQL."""
    text = files("trollmoves.journal").joinpath("queries.sql").read_text(encoding="utf-8")
    parts = re.split(r"^-- name: (\w+)$", text, flags=re.MULTILINE)[1:]
    return {name: sql.strip().rstrip(";") for name, sql in zip(parts[::2], parts[1::2], strict=True)}


@cache
def for_rows(name: str, count: int) -> str | None:
    """The statement *name* for *count* rows at once; None for one that takes its values otherwise."""
    sql = statements()[name]
    values = re.search(r"VALUES (\([?, ]+\))", sql)
    return None if values is None else sql.replace(values[1], ", ".join([values[1]] * count))


def schema_scripts() -> list[str]:
    """The scripts that make a journal, in order; number n makes schema version n."""
    folder = files("trollmoves.journal").joinpath("schema")
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".sql"))
    return [folder.joinpath(name).read_text(encoding="utf-8") for name in names]
