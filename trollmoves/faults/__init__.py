"""Break a network on purpose, and count what was lost: `trollmoves faults`, and the tests that are named after their fault.

    contents     what was written, and what is where now
    programs     real processes: start, wait for a line, stop, kill          ports, waiting: beside them
    proxy        a bad network in pure Python
    observing    who looks on: an observer of the destination, a recorder of publications, a sampler of memory
    network      servers, a client, its hot spares, in one directory
    drawing      a seed -> a network with all its options
    drawn        that network; its configurations can be changed while it runs
    checking     the invariants I1 to I10 over what is left behind
    planning     a seed -> which fault strikes whom, and when
    breaking     the faults themselves
    running      a plan is carried out, and its report
    borrowing    an operator's own configurations, with every place and port of theirs replaced
    isolating    a process that can write below one directory only and reaches nobody

It uses nothing of the roles: they are the ones that are examined. Its own SQL and its own socket are for the same reason.
"""
