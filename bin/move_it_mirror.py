#!/usr/bin/env python3
"""Start a trollmoves mirror, also from a checkout that is not installed."""

from _starting import start

if __name__ == "__main__":
    start("trollmoves.cli.mirror")
