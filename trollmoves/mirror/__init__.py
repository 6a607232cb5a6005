"""The mirror: a client in front, a server behind, and one directory between.

`mirror.py` is the program, `chain.py` one section of it. Everything that asks, serves, retries or waits is the client's or the
server's; here is only what joins them.
"""
