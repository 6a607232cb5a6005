"""trollmoves trace UID: every step of one file, with time, peer, attempt and receipt."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trollmoves.cli.places import add_journal_arguments, local_time, on_journals
from trollmoves.errors import TrollmovesError
from trollmoves.journal import Reader
from trollmoves.journal.reader import steps_in
from trollmoves.messages import decode
from trollmoves.uris import printable


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="trollmoves trace", description="What happened to a file, step by step.")
    parser.add_argument("uid", help="the uid of the file (its name), or the key of its content (k:...)")
    add_journal_arguments(parser)
    options = parser.parse_args(arguments)
    return on_journals("trollmoves trace", options, _run, needed="meta")


def _run(options: argparse.Namespace, places: list[Path]) -> int:
    traces = [found for path in places for found in trace(path, options.uid)]
    if not traces:
        raise TrollmovesError(f"no file {options.uid!r} in {', '.join(map(str, places))}")
    print(json.dumps(traces, indent=2) if options.json else "\n\n".join(_as_text(found) for found in traces))
    return 0


def trace(path: Path, uid: str) -> list[dict[str, Any]]:
    """The histories of all files with this uid (or key) in one journal, oldest first."""
    reader = Reader(path)
    try:
        return [_history(reader, path, row) for row in reader.find("named", (uid, uid))]
    finally:
        reader.close()


def _history(reader: Reader, path: Path, row: Any) -> dict[str, Any]:
    steps = [dict(zip(("step", "time", "peer", "attempt", "detail"), step, strict=True)) for step in steps_in(row["steps"])]
    return {
        "journal": str(path), "chain": row["chain"], "uid": row["identity"], "key": row["key"], "state": row["state"],
        "heard_under": decode(row["message"].encode()).subject if row["message"] else None,
        "size": row["size"], "path": os.fsdecode(row["path"]) if row["path"] is not None else None, "provider": row["provider"],
        "due": row["due"], "steps": steps,
        "transfers": [_transfer(transfer) for transfer in reader.find("transfers_of", (row["id"],))],
    }


def _transfer(row: Any) -> dict[str, Any]:
    receipt = row["receipt"]
    return {"destination": row["destination"], "client": row["client"], "peer": row["peer"], "state": row["state"],
            "attempt": row["attempt"], "time": row["time"],
            "receipt": json.loads(receipt) if receipt and receipt.startswith("[") else receipt}


def _as_text(found: dict[str, Any]) -> str:
    size = "" if found["size"] is None else f", {found['size']} bytes"
    subject = "" if found["heard_under"] is None else f", heard under {found['heard_under']}"
    lines = [f"{found['uid']} in [{found['chain']}] of {found['journal']}: {found['state']}{size}{subject}"]
    for step in found["steps"]:
        attempt = f" (attempt {step['attempt']})" if step["attempt"] > 1 else ""
        lines.append(f"  {_clock(step['time'])}  {step['step']:<12} {step['peer']:<21} {step['detail']}{attempt}".rstrip())
    if found["due"] is not None:
        lines.append(f"  {_clock(found['due'])}  next try")
    return "\n".join(map(printable, lines))


def _clock(when: float) -> str:
    return local_time(when) + f".{int(when % 1 * 1000):03d}"
