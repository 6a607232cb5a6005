"""Time for what only the first test does."""

from __future__ import annotations

from pathlib import Path

import pytest

INSTALLED_WITHIN = 1500
"""Seconds. The first test that needs packages of others installs them, for as long as that takes on a slow machine, and those
beside it wait for the end of it: one that gave up would have the next one begin anew."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent) and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(INSTALLED_WITHIN))
