#!/usr/bin/env python3
"""Ask a trollmoves server something, also from a checkout that is not installed."""

from _starting import start

if __name__ == "__main__":
    start("trollmoves.cli.req")
