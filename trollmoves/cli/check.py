"""trollmoves check: read a configuration as its program would, and say everything that is wrong with it."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

from trollmoves.cli.clean import read_cleaner_or_explain
from trollmoves.cli.common import read_or_explain, run_program, say_checked
from trollmoves.cli.guessing import READERS, guess


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="trollmoves check", description="Say all that is wrong with configuration files.")
    parser.add_argument("config_file", type=Path, nargs="+")
    parser.add_argument("--as", dest="kind", choices=sorted([*READERS, "clean"]),
                        help="the program it is for (default: told from its options)")
    parser.add_argument("--json", action="store_true", help="JSON instead of text")
    options = parser.parse_args(arguments)
    if options.json:
        reports = [_report(path, options.kind) for path in options.config_file]
        print(json.dumps(reports, indent=2))
        return max(int(report["status"]) for report in reports)
    return max(_run(path, options.kind) for path in options.config_file)


def _report(path: Path, kind: str | None) -> dict[str, Any]:
    """Exit status and lines of the check of one file."""
    with redirect_stdout(StringIO()) as said, redirect_stderr(said):
        status = _run(path, kind)
    return {"config_file": str(path), "status": status, "said": said.getvalue().splitlines()}


def _run(path: Path, kind: str | None) -> int:
    return run_program("trollmoves check", lambda: _check(path, kind))


def _check(path: Path, kind: str | None) -> int:
    kind = kind or guess(path)
    if kind == "clean":
        cleaner = read_cleaner_or_explain(path, check=True)
        return say_checked(path, cleaner.warnings, cleaner.sections, kind=kind)
    configuration = read_or_explain(READERS[kind], path, check=True)
    return say_checked(path, configuration.warnings, configuration.chains, kind=kind)
