"""How SQLite finds what a statement asks for. To go through a table of a million rows takes some tenths of a second, from a disk
some seconds: nothing else is done meanwhile where the loop does it. So it does that at the start only, or seldom."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import orjson

from trollmoves.journal import Journal
from trollmoves.journal.statements import statements

SCAN = re.compile(r"SCAN (?:files|transfers|announcements|removals)\b(?! USING INDEX files_given_up)")
"""What goes through a large table. The index is of what was given up."""
GONE_THROUGH = {
    "at the start": {"bring_back_files", "bring_back_removals", "release_removals", "files_in_state", "interrupt_files",
                     "interrupt_transfers", "newest_but", "delivered_last", "moved_since", "delivered_unannounced",
                     "published_since"},
    "after a start or a reload, or when the last file that was found is none of them any more": {
        "unfinished_counts", "unfinished_of"},
    "when a section has another name": {"found_last"},
    "then, by the thread that writes": {"hand_on_consumers", "hand_on_files", "hand_on_transfers", "hand_on_copies",
                                        "hand_on_removals"},
    "when an upstream server is heard again": {"any_of_provider"},
    "of a part, from one end, for the one who asks a server by hand": {"announced_names"},
    "of a part, which is found first and has the name of the whole": {"announcements_of_chain"},
    "when the clock is set": {"move_files", "move_transfers", "move_removals"},
    "by a worker": {"consumers", "aged_files", "chains", "expired_files", "left_behind"},
    "by the thread that writes, for two thousand files at a time": {"note_forgotten", "remove_announcements_of"},
    "by commands of an operator": {"counts", "had_elsewhere", "oldest_waiting", "finished_since", "last_failure", "named",
                                   "waiting_failures", "unfinished_sets", "all_consumers", "wanted"},
}


def plan(connection: sqlite3.Connection, sql: str) -> str:
    """What SQLite says it will do."""
    names = re.findall(r"(?<![:\w]):([a-z]\w*)", sql)
    for count in range(30):
        try:
            parameters = dict.fromkeys(names) if names else (None,) * count
            return "; ".join(row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", parameters))
        except sqlite3.ProgrammingError:  # another number of them
            continue
    raise AssertionError(f"how many parameters has {sql}?")


def test_what_goes_through_a_whole_table_is_known(tmp_path: Path) -> None:
    Journal(tmp_path / "j", lambda calls: None, lambda error: None).close()
    with closing(sqlite3.connect(tmp_path / "j")) as connection:
        plans = {name: plan(connection, sql) for name, sql in statements().items()}
    found = {name for name, said in plans.items() if SCAN.search(said)}
    assert found == set[str]().union(*GONE_THROUGH.values())


def test_versions_of_one_name_are_gone_through_once_for_all_that_is_confirmed(tmp_path: Path) -> None:
    """A stranger may name a thousand positions at once, of a name that comes ever again."""
    versions, steps = 1000, [0]
    Journal(tmp_path / "j", lambda calls: None, lambda error: None).close()
    with closing(sqlite3.connect(tmp_path / "j")) as connection:
        numbers = [(number,) for number in range(1, versions + 1)]
        connection.executemany("INSERT INTO files (id, chain, identity, key, state, time, steps, attempt, created) "
                               "SELECT ?1, 's', 'latest', ?1, 'announced', 0, '', 0, 0", numbers)
        connection.executemany("INSERT INTO announcements (position, file, subject, previous, message, time) "
                               "SELECT ?1, ?1, '/a', 0, '', 0", numbers)

        def stepped() -> None:
            steps[0] += 1000
        connection.set_progress_handler(stepped, 1000)
        asked = orjson.dumps([[number, "r:made up", None] for (number,) in numbers]).decode()
        assert connection.execute(statements()["delivered_before"], (asked,)).fetchall() == []
    assert 0 < steps[0] < 200 * versions
