"""The tables of options in the manual, made from the settings themselves, and those of the movers.

`python -m trollmoves.config.documenting README.md` renews the tables of a file, each between `<!-- settings: server -->` (or
`client`, `dispatcher`, `move`, ...) and `<!-- end of settings -->`; likewise `parameters: ftp` (or another mover, `every`,
`attrs`) and `abilities: movers`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trollmoves.config.fetching import FetcherSettings, S3DownloaderSettings
from trollmoves.config.mirrors import MirrorSettings
from trollmoves.config.moves import MoveSettings
from trollmoves.config.settings import ChainSettings, ClientSettings, ServerSettings
from trollmoves.config.targets import TargetSettings
from trollmoves.movers.parameters import BUILT_IN, COMMON, OPTIONS, Parameter
from trollmoves.movers.registry import mover_for

MODELS: dict[str, type[ChainSettings]] = {
    "server": ServerSettings, "client": ClientSettings, "mirror": MirrorSettings,
    "dispatcher": TargetSettings, "move": MoveSettings, "fetch": FetcherSettings, "s3": S3DownloaderSettings}
PARAMETERS: dict[str, tuple[Parameter, ...]] = {"every": COMMON, "attrs": OPTIONS, **BUILT_IN}
_TABLE = re.compile(r"(<!-- (settings|parameters|abilities): (\w+) -->\n).*?(<!-- end of \2 -->)", re.DOTALL)


def with_tables(text: str) -> str:
    """*text* with every table between the marks made anew. Raises `KeyError` for what there is no table for."""
    return _TABLE.sub(lambda found: found[1] + _table_of(found[2], found[3]) + found[4], text)


def _table_of(kind: str, name: str) -> str:
    if kind == "settings":
        return settings_table(MODELS[name])
    return abilities_table() if kind == "abilities" else parameters_table(PARAMETERS[name])


def parameters_table(parameters: tuple[Parameter, ...]) -> str:
    """A markdown table of the parameters that have an effect, and a sentence on the others."""
    rows = [(f"`{parameter.name}`", f"`{parameter.default}`" if parameter.default else "", parameter.meaning)
            for parameter in parameters if parameter.used]
    idle = ", ".join(f"`{parameter.name}`" for parameter in parameters if not parameter.used)
    more = f"\nTaken from upstream's configurations, without effect: {idle}.\n" if idle else ""
    return _table(("name", "default", "meaning"), rows) + more


def abilities_table() -> str:
    """A markdown table of what the movers of ours can do."""
    heads = ("mover", "schemes", "appears", "goes on after a cut", "time and mode kept", "checksum there", "fsync there",
             "moves to a host at a time")
    return _table(heads, [_abilities_of(name) for name in BUILT_IN])


def _abilities_of(name: str) -> tuple[str, ...]:
    mover = mover_for(name)
    can, schemes = mover.abilities, ", ".join(f"`{scheme}://`" if scheme else "a path" for scheme in mover.schemes)
    powers = ("yes" if power else "" for power in (can.resume, can.attributes, can.checksum, can.sync))
    return f"[{name}]({name}.md)", schemes, "by rename" if can.rename else "when it is finished", *powers, str(can.parallel)


def settings_table(model: type[ChainSettings]) -> str:
    """A markdown table of the options of *model*: name, default as in a file, meaning; required first, common to all last."""
    fields = sorted(((name, model.model_fields[name]) for name in model.options()),
                    key=lambda item: (not item[1].is_required(), item[0] in ChainSettings.model_fields))
    rows = [_row(name, field) for name, field in fields]
    return _table(("option", "default", "meaning"), rows)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in (heads, *rows)]
    return "\n".join([lines[0], "|---" * len(heads) + "|", *lines[1:]]) + "\n"


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
