#!/usr/bin/env python3
"""Start a trollmoves server, also from a checkout that is not installed."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from trollmoves.cli.server import main

if __name__ == "__main__":
    sys.exit(main())
