"""What the audit in a journal says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from trollmoves.journal import Reader


def audited(journal: Path, what: str = "") -> list[dict[str, Any]]:
    """The records of what happened, oldest first; only those of *what*, if it is given."""
    with Reader(journal) as reader:
        records = [json.loads(row["record"]) for row in reader.find("audit")]
    return [record for record in records if what in ("", record["what"])]
