#!/usr/bin/env python3
"""Start move_it, also from a checkout that is not installed."""

from _starting import start

if __name__ == "__main__":
    start("trollmoves.cli.move_it")
