"""Attention: what every process watches for on behalf of its operator, and does when the operator asks.

    orders.py        what `trollmoves retry` and its like want done
    dead_letters.py  an alarm while files are given up

All of it is a query of the journal now and then, so it survives a restart and needs nothing of the roles but a few hooks.
"""
