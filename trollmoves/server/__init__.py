"""The server: `server` is the program, `chain` the life of a file in one section of it, on one screen; `listening` in one that
listens. Beside that way stand

    requests, rights, trusting         what a request says; who may have files where; whose acks count
    lookups, recent, long_reads        what the journal has: of requests, without a look, and what takes long
    answers, replies, refusals         what is said to those who wait, and to everybody; what the log has of who was refused
    shares, gate                       no peer takes all, and no directory that hangs all threads
    beneath                            announced files are opened and removed without following links
    alike, consumers, renamed          sections with the same files; whom a removal waits for; sections that get other names
    returning, unclaimed, left_behind  what is there again; what nobody ever got; what moves left unfinished
    verifying                          what may not have survived the machine
    addresses                          sections that are asked elsewhere than before
    explaining                         what a section would make of a file
"""
