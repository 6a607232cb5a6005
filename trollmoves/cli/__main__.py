"""`python -m trollmoves.cli` is `trollmoves`."""

import sys

from trollmoves.cli.umbrella import main

sys.exit(main())
