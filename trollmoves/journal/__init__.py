"""The durable table of files and their steps: write, commit, then tell.

`Journal` is what a role holds: it records (through the one writing thread, which commits in groups) and looks up (on a read-only
connection of the loop). `Reader` is for everyone else: status, trace, tests. All SQL stands in `queries.sql` and `schema/`.
"""

from trollmoves.journal.journal import Journal, lock_of
from trollmoves.journal.reader import Reader
from trollmoves.journal.writer import Operation

__all__ = ["Journal", "Operation", "Reader", "lock_of"]
