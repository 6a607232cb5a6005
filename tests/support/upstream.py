"""Upstream trollmoves, from the package index, in an environment of its own: the other side of the compatibility tests."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.support.programs import CHECKOUT, Program, clean_environment
from tests.support.unavailable import unavailable

VERSION = "0.19.0"
REQUIREMENTS = (f"trollmoves=={VERSION}", "posttroll", "paramiko", "scp")


def upstream_environment() -> Path:
    """The folder of the virtual environment, made once per checkout and Python version.

    `TROLLMOVES_UPSTREAM_VENV` names a ready one instead. Without either, the test skips (fails in CI).
    """
    given = os.environ.get("TROLLMOVES_UPSTREAM_VENV")
    if given:
        return Path(given)
    folder = CHECKOUT / ".cache" / f"upstream-{VERSION}-py{sys.version_info.major}.{sys.version_info.minor}"
    folder.parent.mkdir(exist_ok=True)
    with folder.with_suffix(folder.suffix + ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            _make(folder)
    return folder


def _make(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    install = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--no-input", *REQUIREMENTS]
    for command in ([sys.executable, "-m", "venv", str(folder)], install):
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=600, stdin=subprocess.DEVNULL)
        except (OSError, subprocess.TimeoutExpired) as error:
            unavailable(f"upstream trollmoves {VERSION} cannot be installed: {error}")
        if done.returncode:
            unavailable(f"upstream trollmoves {VERSION} cannot be installed: {done.stderr[-500:]}")
    (folder / "complete").touch()


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
