"""Attention: what every process watches for on behalf of its operator, and does when the operator asks.

    orders                what `trollmoves retry` and its like want done
    dead_letters          an alarm while files are given up
    left_over             an alarm while a section that is gone from the configuration has unfinished files
    origins               alarms of directories that cannot be seen, or have files that cannot be taken in
    expecting, expected   alarms for what was expected (`expect`) and did not come; `expected` has the rules

Most of it is a query of the journal now and then, so it survives a restart and needs nothing of the roles but a few hooks.
"""
