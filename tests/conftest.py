"""What every test gets."""

from __future__ import annotations

import os
import signal

import pytest
from hypothesis import HealthCheck, settings

# Who runs the tests in the background of a shell has it ignored, and so would have all programs that tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])  # machines may be busy
settings.load_profile("unhurried")
os.umask(os.umask(0o022) | 0o002)  # configurations that everybody may write are refused


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--nightly", action="store_true", help="also run the tests marked nightly")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--nightly"):
        return
    skip = pytest.mark.skip(reason="nightly; run with --nightly")
    for item in items:
        if item.get_closest_marker("nightly"):
            item.add_marker(skip)
