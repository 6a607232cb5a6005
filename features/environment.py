"""A network of its own for every scenario; nothing of it is left afterwards."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from behave.model import Scenario
from behave.runner import Context

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from features.network import Network  # noqa: E402 - behave starts with another path


def before_scenario(context: Context, scenario: Scenario) -> None:
    context.network = Network(Path(tempfile.mkdtemp(prefix="trollmoves-feature-")))


def after_scenario(context: Context, scenario: Scenario) -> None:
    context.network.close()
    if scenario.status == "passed":
        shutil.rmtree(context.network.root)
    else:
        print(f"\nwhat {scenario.name!r} left is in {context.network.root}\n{context.network.logs()}", file=sys.stderr)
