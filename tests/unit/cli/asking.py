"""Programs as a user meets them: what they print, and their exit status."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.support.programs import CHECKOUT, clean_environment

STARTERS = {"move_it_server.py": ["bin/move_it_server.py"], "move_it_client.py": ["bin/move_it_client.py"],
            "move_it_mirror.py": ["bin/move_it_mirror.py"],
            "move_it_req.py": ["bin/move_it_req.py"], "remove_it.py": ["bin/remove_it.py"],
            "dispatcher.py": ["bin/dispatcher.py"], "move_it.py": ["bin/move_it.py"], "pytroll-fetcher": ["bin/pytroll-fetcher"],
            "s3downloader.py": ["bin/s3downloader.py"], "trollmoves": ["-m", "trollmoves.cli.umbrella"]}


@dataclass(frozen=True)
class Answer:
    """How a program ended."""

    status: int
    out: str
    err: str

    @property
    def last_line(self) -> str:
        return self.err.splitlines()[-1]


def ask(program: str, *words: str | Path, state: Path, prefix: list[str] | None = None,
        environment: Mapping[str, str] | None = None) -> Answer:
    """Run a program to its end, with its journals below *state*. Never with a traceback."""
    starter = [str(CHECKOUT / word) if word.startswith("bin/") else word for word in STARTERS[program]]
    done = subprocess.run([*(prefix or []), sys.executable, *starter, *map(str, words)], capture_output=True, text=True,
                          timeout=120, stdin=subprocess.DEVNULL, cwd=state,
                          env=clean_environment({"XDG_STATE_HOME": str(state), "PYTHONPATH": str(CHECKOUT), "COLUMNS": "200",
                                                 "STATE_DIRECTORY": "", **(environment or {})}))
    assert "Traceback" not in done.stdout + done.stderr, done.stderr
    return Answer(done.returncode, done.stdout, done.stderr)


def bound_by_permissions() -> list[str]:
    """Words before a command that make root heed the permissions of files as others do."""
    if os.geteuid() != 0:
        return []
    return ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-dac_override,-dac_read_search"]
