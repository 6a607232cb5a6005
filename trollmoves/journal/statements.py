"""The named statements of `queries.sql`."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files


@cache
def statements() -> dict[str, str]:
    """Name -> SQL, with its parts put in."""
    text = files("trollmoves.journal").joinpath("queries.sql").read_text(encoding="utf-8")
    found = re.split(r"^-- (name|part): (\w+)$", text, flags=re.MULTILINE)[1:]
    named: dict[str, dict[str, str]] = {"name": {}, "part": {}}
    for kind, name, sql in zip(found[::3], found[1::3], found[2::3], strict=True):
        named[kind][name] = sql.strip().rstrip(";")
    parts: dict[str, str] = {}
    for name, sql in named["part"].items():  # later ones may hold earlier ones
        parts[name] = re.sub(r"^--.*\n", "", sql, flags=re.MULTILINE).format_map(parts)
    return {name: sql.format_map(parts) for name, sql in named["name"].items()}


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
