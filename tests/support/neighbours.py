"""The packages that exchange messages with this network, in an environment of their own: pytroll-collectors, pytroll-watchers and
trollflow2, with upstream trollmoves beside them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.support.environments import environment_with
from tests.support.programs import Program, clean_environment

REQUIREMENTS = ("pytroll-collectors==0.22.0", "pytroll-watchers==0.12.0", "trollflow2==0.17.1", "trollmoves==0.19.0", "paramiko",
                "rasterio", "s3fs")


def neighbours_environment() -> Path:
    """The folder of the environment (or `TROLLMOVES_NEIGHBOURS_VENV`); without it, the test skips (fails in CI)."""
    return environment_with("neighbours", "TROLLMOVES_NEIGHBOURS_VENV", REQUIREMENTS)


def _python() -> str:
    return str(neighbours_environment() / "bin" / "python")


def start_neighbour(name: str, *arguments: str | Path, log: Path, environment: Mapping[str, str] | None = None) -> Program:
    """A running program of theirs, by the name of its file in the environment's `bin`."""
    program = neighbours_environment() / "bin" / name
    if not program.exists():
        raise FileNotFoundError(f"{program} does not exist")
    return Program([_python(), "-P", program, *arguments], log, environment={"PYTHONPATH": "", **(environment or {})},
                   name=name).start()


def neighbours_run(script: str, *arguments: object, seconds: float = 60.0, environment: Mapping[str, str] | None = None) -> Any:
    """What a piece of Python prints when their environment runs it; its errors fail the test. All of that, and the arguments, are
    JSON."""
    argv = [_python(), "-P", "-c", script, *(json.dumps(argument) for argument in arguments)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=seconds, stdin=subprocess.DEVNULL,
                          env=clean_environment({"PYTHONPATH": "", **(environment or {})}))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
