"""The tables of options in the manual, made from the settings themselves.

`python -m trollmoves.config.documenting README.md` renews the tables of a file, each between `<!-- settings: server -->` (or
`client`) and `<!-- end of settings -->`.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from trollmoves.config.settings import ChainSettings, ClientSettings, ServerSettings

MODELS: dict[str, type[ChainSettings]] = {"server": ServerSettings, "client": ClientSettings}
_TABLE = re.compile(r"(<!-- settings: (\w+) -->\n).*?(<!-- end of settings -->)", re.DOTALL)


def with_tables(text: str) -> str:
    """*text* with every table between the marks made anew. Raises `KeyError` for a program there is no table for."""
    return _TABLE.sub(lambda found: f"{found[1]}{settings_table(MODELS[found[2]])}{found[3]}", text)


def settings_table(model: type[ChainSettings]) -> str:
    """A markdown table of the options of *model*: name, default as in a file, meaning; required first, common to all last."""
    fields = sorted(((name, model.model_fields[name]) for name in model.options()),
                    key=lambda item: (not item[1].is_required(), item[0] in ChainSettings.model_fields))
    rows = [_row(name, field) for name, field in fields]
    lines = ["| option | default | meaning |", "|---|---|---|"]
    return "\n".join([*lines, *(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows)]) + "\n"


def _row(name: str, field: Any) -> tuple[str, str, str]:
    if field.is_required():
        return f"`{name}`", "required", field.description
    shown = field.json_schema_extra.get("shown") or _shown(field.default)
    return f"`{name}`", f"`{shown}`" if shown else "", field.description


def _shown(value: Any) -> str:
    """A default as one would write it; empty for an option that is simply not there."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    return str(value) if isinstance(value, int | str) else ""


if __name__ == "__main__":
    for name in sys.argv[1:]:
        document = Path(name)
        document.write_text(with_tables(document.read_text(encoding="utf-8")), encoding="utf-8")
