"""move_it: watch directories, and move each file to several destinations; the original goes only after it is at all of them.

`chain.py` shows the life of a file on one screen.
"""
