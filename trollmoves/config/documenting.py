"""The tables of options in the manual, made from the settings themselves."""

from __future__ import annotations

from typing import Any

from trollmoves.config.settings import ChainSettings


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
