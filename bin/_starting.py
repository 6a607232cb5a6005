"""Shared by the starters: run a program of this checkout, by the Python of .venv when this one lacks the libraries."""

from __future__ import annotations

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def start(module: str) -> None:
    """Run main() of *module* and end with its status."""
    sys.path.insert(0, str(ROOT))
    try:
        from trollmoves.cli import starting
        starting.load(module)
    except ImportError as error:
        own = ROOT / ".venv"
        python = own / "bin" / "python"
        if Path(sys.prefix) != own and python.is_file():
            os.execv(python, [str(python), *sys.argv])  # noqa: S606 - the very same program, no shell
        name = Path(sys.argv[0]).name
        sys.exit(f"{name}: {error}. Run bin/demo once, which makes .venv with all that is needed, or: pip install {ROOT}")
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(starting.start(module))
