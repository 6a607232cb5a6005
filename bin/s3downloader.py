#!/usr/bin/env python3
"""Start s3downloader.py, also from a checkout that is not installed."""

from _starting import start

if __name__ == "__main__":
    start("trollmoves.cli.s3downloader")
