"""Upstream trollmoves, from the package index, in an environment of its own: the other side of the compatibility tests."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.support.environments import environment_with
from tests.support.programs import Program, clean_environment

VERSION = "0.19.0"
REQUIREMENTS = (f"trollmoves=={VERSION}", "posttroll", "paramiko", "scp")


def upstream_environment() -> Path:
    """The folder of the virtual environment, made once per checkout and Python version.

    `TROLLMOVES_UPSTREAM_VENV` names a ready one instead. Without either, the test skips (fails in CI).
    """
    return environment_with(f"upstream-{VERSION}", "TROLLMOVES_UPSTREAM_VENV", REQUIREMENTS)


def upstream_python() -> str:
    """Its interpreter, for scripts that use upstream's modules."""
    return str(upstream_environment() / "bin" / "python")


def upstream_program(name: str) -> list[str]:
    """The command that runs one of its programs, e.g. `move_it_server.py`; arguments are to be added."""
    program = upstream_environment() / "bin" / name
    if not program.exists():
        raise FileNotFoundError(f"upstream trollmoves {VERSION} has no program {name}")
    return [upstream_python(), "-P", str(program)]


def start_upstream(name: str, *arguments: str | Path, log: Path, environment: dict[str, str] | None = None) -> Program:
    """A running upstream program."""
    argv = [*upstream_program(name), *(str(word) for word in arguments)]
    return Program(argv, log, environment={"PYTHONPATH": "", **(environment or {})}, name=f"upstream {name}").start()


def upstream_run(script: str, *arguments: str, seconds: float = 60.0) -> str:
    """What a piece of Python prints when upstream's environment runs it; its errors fail the test."""
    # -P: or the checkout we stand in would be found before what is installed
    done = subprocess.run([upstream_python(), "-P", "-c", script, *arguments], capture_output=True, text=True, timeout=seconds,
                          stdin=subprocess.DEVNULL, env=clean_environment({"PYTHONPATH": ""}))
    assert done.returncode == 0, done.stderr
    return done.stdout
