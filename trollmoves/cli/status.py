"""trollmoves status: what every chain has done and what waits, from the journal of a running or stopped process."""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trollmoves.cli.places import add_journal_arguments, is_running, local_time, on_journals
from trollmoves.journal import Reader
from trollmoves.journal.reader import last_failure
from trollmoves.lifecycle import ORDER, State
from trollmoves.uris import printable

ALARMS_SHOWN = 20
ALARMS_OVER = 20
"""Alarms that are over, in the JSON."""
ROOM = 2**20
"""Bytes without which the disk of a journal is full: it may be that no alarm can be written there any more."""
RATE_WINDOW = 60.0
"""Seconds over which the rate is counted."""
ENDED = {State.ACKNOWLEDGED.value, State.PUBLISHED.value, State.COVERED.value, State.GIVEN_UP.value}
FAILED = {State.FAILED.value, State.GIVEN_UP.value}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="trollmoves status", description="Counts per step, rate, oldest waiting file and last "
                                     "error of every chain, and alarms. The exit status is 1 while there is an alarm, "
                                     "or no room on the disk of a journal.")
    add_journal_arguments(parser)
    options = parser.parse_args(arguments)
    return on_journals("trollmoves status", options, _run)


def _run(options: argparse.Namespace, places: list[Path]) -> int:
    reports = [status(path) for path in places]
    print(json.dumps(reports, indent=2) if options.json else "\n\n".join(_as_text(report) for report in reports))
    return 1 if any(report["alarms"] or report["disk_full"] for report in reports) else 0


def status(path: Path) -> dict[str, Any]:
    """The state of one journal: per chain counts, rate (files per second), the oldest file under way and the last failure."""
    with Reader(path) as reader:
        now = time.time()
        counts: dict[str, dict[str, int]] = {}
        for row in reader.find("counts"):
            counts.setdefault(row["chain"], {})[row["state"]] = row["count"]
        gone = reader.not_configured(counts)
        elsewhere = {row["chain"]: row["count"] for row in reader.find("had_elsewhere")}
        finished = {row["chain"]: row["count"] for row in reader.find("finished_since", (now - RATE_WINDOW,))}
        chains = {chain: {"configured": chain not in gone, **_chain(reader, chain, found, now),
                          "rate": round(finished.get(chain, 0) / RATE_WINDOW, 3),
                          "had_elsewhere": elsewhere.get(chain, 0)}
                  for chain, found in sorted(counts.items())}
        return {"journal": str(path), "running": is_running(path), "time": now, "disk_full": _room(path) < ROOM, "chains": chains,
                "hosts_left_alone": [_host(row) for row in reader.find("circuits")],
                "alarms": [_alarm(row) for row in reader.find("open_alarms")],
                "alarms_over": [_alarm(row) for row in reader.find("alarms_over", (ALARMS_OVER,))],
                "orders_waiting": len(reader.find("orders"))}


def _room(path: Path) -> int:
    """Bytes that are left on the disk of the journal."""
    disk = os.statvfs(path)
    return disk.f_bavail * disk.f_frsize


def _host(row: Any) -> dict[str, Any]:
    return {"chain": row["chain"], "host": row["host"], "failures": row["failures"], "since": row["since"],
            "last_probe": row["latest"], "error": row["error"]}


def _alarm(row: Any) -> dict[str, Any]:
    return {"id": row["id"], "time": row["time"], "latest": row["latest"], "count": row["count"], "chain": row["chain"],
            "kind": row["kind"], "about": row["about"], "text": row["text"], "over": row["cleared"], "outcome": row["outcome"]}


def _chain(reader: Reader, chain: str, counts: dict[str, int], now: float) -> dict[str, Any]:
    oldest = reader.find_one("oldest_waiting", (chain,)) if counts.keys() - ENDED else None  # each goes through all files
    failure = reader.find_one("last_failure", (chain,)) if counts.keys() & FAILED else None
    return {
        "counts": {state.value: counts[state.value] for state in ORDER if state.value in counts},
        "oldest_waiting": None if oldest is None else {"uid": oldest["identity"], "state": oldest["state"],
                                                       "seconds": round(now - oldest["created"], 3)},
        "last_error": None if failure is None else {"uid": failure["identity"], "state": failure["state"],
                                                    "time": failure["time"], "text": last_failure(failure["steps"])},
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


def _as_text(report: dict[str, Any]) -> str:
    state = "running" if report["running"] else "not running"
    lines = [f"{report['journal']} ({state})"]
    if report["disk_full"]:
        lines.append("  ALARM the disk of the journal is full: make room there; nothing is taken in while it cannot be written")
    if not report["chains"]:
        lines.append("  nothing seen yet")
    for name, chain in report["chains"].items():
        lines += _chain_lines(name, chain)
    for host in report["hosts_left_alone"] if report["running"] else ():
        section = f" [{host['chain']}]" if host["chain"] else ""
        lines.append(f"  host{section} {host['host'] or 'this machine'} is left alone since {local_time(host['since'])}: it "
                     f"failed {host['failures']} times in a row, and is probed; {host['error']}")
    lines += [_alarm_line(alarm) for alarm in report["alarms"][-ALARMS_SHOWN:]]
    if len(report["alarms"]) > ALARMS_SHOWN:
        lines.append(f"  and {len(report['alarms']) - ALARMS_SHOWN} earlier alarms; --json shows all")
    return "\n".join(map(printable, lines))


def _chain_lines(name: str, chain: dict[str, Any]) -> list[str]:
    counts = "  ".join(f"{state} {count}" for state, count in chain["counts"].items())
    gone = "" if chain["configured"] else "  (not in the configuration)"
    lines = [f"  [{name}]  {counts}{gone}", f"      rate            {chain['rate']:.1f} files/s over the last minute"]
    if chain["had_elsewhere"]:
        lines.append(f"      had elsewhere   {chain['had_elsewhere']} of the announced or failed: a client says that it has them")
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
        lines.append(f"      last error      {local_time(error['time'])} {error['uid']} ({error['state']}): {error['text']}")
    return lines


def _alarm_line(alarm: dict[str, Any]) -> str:
    section = f" [{alarm['chain']}]" if alarm["chain"] else ""
    often = f" ({alarm['count']} times, the last one at {local_time(alarm['latest'])})" if alarm["count"] > 1 else ""
    return f"  ALARM {alarm['id']} {local_time(alarm['time'])}{section} {alarm['text']}{often}"


def _age(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
