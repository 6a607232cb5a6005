"""Virtual environments with packages of others, made once per checkout and Python version."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.support.programs import CHECKOUT
from tests.support.unavailable import unavailable


def environment_with(name: str, variable: str, requirements: Sequence[str]) -> Path:
    """The folder of an environment with *requirements* from the package index.

    The environment variable *variable* names a ready one instead. Without either, the test skips (fails in CI).
    """
    given = os.environ.get(variable)
    if given:
        return Path(given)
    folder = CHECKOUT / ".cache" / f"{name}-py{sys.version_info.major}.{sys.version_info.minor}"
    folder.parent.mkdir(exist_ok=True)
    with folder.with_suffix(folder.suffix + ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            _make(folder, requirements)
    return folder


def _make(folder: Path, requirements: Sequence[str]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    install = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--no-input", *requirements]
    for command in ([sys.executable, "-m", "venv", str(folder)], install):
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=900, stdin=subprocess.DEVNULL)
        except (OSError, subprocess.TimeoutExpired) as error:
            unavailable(f"{requirements[0]} cannot be installed: {error}")
        if done.returncode:
            unavailable(f"{requirements[0]} cannot be installed: {done.stderr[-500:]}")
    (folder / "complete").touch()
