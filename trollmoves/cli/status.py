"""trollmoves status: what every chain has done and what waits, from the journal of a running or stopped process."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trollmoves.cli.common import run_program
from trollmoves.cli.places import add_journal_arguments, is_running, journals
from trollmoves.journal import Reader
from trollmoves.lifecycle import ORDER

RATE_WINDOW = 60.0
"""Seconds over which the rate is counted."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="trollmoves status", description="Counts per step, rate, oldest waiting file and last "
                                     "error of every chain.")
    add_journal_arguments(parser)
    options = parser.parse_args(arguments)
    return run_program("trollmoves status", lambda: _run(options))


def _run(options: argparse.Namespace) -> int:
    reports = [status(path) for path in journals(options)]
    print(json.dumps(reports, indent=2) if options.json else "\n\n".join(_as_text(report) for report in reports))
    return 0


def status(path: Path) -> dict[str, Any]:
    """The state of one journal: per chain counts, rate (files per second), the oldest file under way and the last failure."""
    reader = Reader(path)
    try:
        now = time.time()
        counts: dict[str, dict[str, int]] = {}
        for row in reader.find("counts"):
            counts.setdefault(row["chain"], {})[row["state"]] = row["count"]
        chains = {chain: _chain(reader, chain, found, now) for chain, found in sorted(counts.items())}
        alarms = [{"time": row["time"], "chain": row["chain"], "text": row["text"]} for row in reader.find("alarms", (5,))]
        return {"journal": str(path), "running": is_running(path), "time": now, "chains": chains, "alarms": alarms}
    finally:
        reader.close()


def _chain(reader: Reader, chain: str, counts: dict[str, int], now: float) -> dict[str, Any]:
    oldest = reader.find_one("oldest_waiting", (chain,))
    failure = reader.find_one("last_failure", (chain,))
    finished = reader.find_one("finished_since", (chain, now - RATE_WINDOW))[0]
    return {
        "counts": {state.value: counts[state.value] for state in ORDER if state.value in counts},
        "rate": round(finished / RATE_WINDOW, 3),
        "oldest_waiting": None if oldest is None else {"uid": oldest["identity"], "state": oldest["state"],
                                                       "seconds": round(now - oldest["created"], 3)},
        "last_error": None if failure is None else {"uid": failure["identity"], "state": failure["state"],
                                                    "time": failure["time"], "text": _detail(failure["steps"])},
        "came_back": int(dropped["value"]) if (dropped := reader.find_one("meta", (f"dropped:{chain}",))) else 0,
        "skipped": int(skipped["value"]) if (skipped := reader.find_one("meta", (f"skipped:{chain}",))) else 0,
        "under_way": [_under_way(row) for row in reader.find("under_way", (chain,))],
        "removals_waiting": reader.find_one("removals_waiting", (chain,))[0],
        "removals_failing": reader.find_one("removals_failing", (chain,))[0],
    }


def _under_way(row: Any) -> dict[str, Any]:
    """A move that takes long."""
    seconds = max(row["time"] - row["began"], 0.001)
    return {"uid": row["identity"], "done": row["done"], "total": row["total"], "seconds": round(seconds, 3),
            "rate": round(row["done"] / seconds), "request": row["request"]}


def _progress(one: dict[str, Any]) -> str:
    percent = 100 * one["done"] // max(one["total"], 1)
    return (f"{one['uid']}  {percent} % of {one['total']:,} bytes, {one['rate']:,} bytes/s for {_age(one['seconds'])}, "
            f"request {one['request']}")


def _detail(steps: str) -> str:
    """What the last failing step of a history says."""
    for line in reversed(steps.splitlines()):
        state, _, peer, _, detail = json.loads(line)
        if state in ("failed", "given_up"):
            return f"{peer}: {detail}" if peer else str(detail)
    return ""


def _as_text(report: dict[str, Any]) -> str:
    state = "running" if report["running"] else "not running"
    lines = [f"{report['journal']} ({state})"]
    if not report["chains"]:
        lines.append("  nothing seen yet")
    for name, chain in report["chains"].items():
        counts = "  ".join(f"{state} {count}" for state, count in chain["counts"].items())
        lines += [f"  [{name}]  {counts}", f"      rate            {chain['rate']:.1f} files/s over the last minute"]
        if chain["oldest_waiting"]:
            oldest = chain["oldest_waiting"]
            lines.append(f"      oldest waiting  {oldest['uid']} ({oldest['state']}) for {_age(oldest['seconds'])}")
        lines += [f"      under way       {_progress(one)}" for one in chain["under_way"]]
        if chain["removals_waiting"]:
            failing = f" ({chain['removals_failing']} could not be, and will be tried again)" if chain["removals_failing"] else ""
            lines.append(f"      to be removed   {chain['removals_waiting']}{failing}")
        if chain["came_back"]:
            lines.append(f"      came back       {chain['came_back']} announcements this mirror had passed on before")
        if chain["skipped"]:
            lines.append(f"      skipped         {chain['skipped']} messages about files that are none of this section's")
        if chain["last_error"]:
            error = chain["last_error"]
            lines.append(f"      last error      {_clock(error['time'])} {error['uid']} ({error['state']}): {error['text']}")
    lines += [f"  ALARM {_clock(alarm['time'])} [{alarm['chain']}] {alarm['text']}" for alarm in report["alarms"]]
    return "\n".join(lines)


def _age(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _clock(when: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(when))
