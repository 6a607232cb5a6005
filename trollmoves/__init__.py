"""A file-transfer network: servers announce files over posttroll, clients ask for them, servers move them.

The house, from the ground up. Imports point down only; `tests/test_floors.py` reads them.

Words, which have no threads, sockets or files:

    errors         the one tree of exceptions: temporary, permanent
    messages       views of posttroll's messages, and their codec
    lifecycle      the states of one file: announced, requested, moving, moved, acknowledged, published, ...
    uris           destinations: read, compose, hide the password
    patterns       trollsift: match, parse, compose
    exposed        configurations and keys that anybody may have written
    descending     down from a directory without following links
    crashing       named points where the tests end a process

Tools, each usable alone:

    config         files -> frozen settings, every problem at once; reloading; the tables of the manual
    journal        the durable table of files and their steps; all SQL
    bus            all messaging: publish, listen, ask, answer, catch up, leases; the loop that runs everything
    workers        a bounded pool of threads that move
    movers         one algorithm (`moving.move`) over one adapter for each scheme; also a library of its own
    watchers       directories (inotify, polling) and messages -> arrivals
    unpacking      archives and compressed files, member by member, within limits
    memory         what was needed for a burst is given back
    log_files      what logrotate has moved away is begun anew

Roles, each a short composition of the tools over `service` (start, reload, drain, stop):

    server         watch -> announce -> serve -> remove                  move_it_server.py
    client         hear -> ask -> deliver -> publish                     move_it_client.py
    mirror         a client in front, a server behind                    move_it_mirror.py
    queueing       deliveries from the journal, a queue for each host: what the next three share
    dispatcher     messages -> targets, by conditions                    dispatcher.py
    move_it        arrivals -> destinations                              move_it.py
    fetcher        messages -> files from any file system                pytroll-fetcher, s3downloader.py
    attention      what asks for it: dead letters, orders to try again, what was expected and did not come
    cleaner        old files that nobody waits for go                    remove_it.py
    explaining     what a section would make of a file or message

Doors:

    cli            one main() for each program; `starting` is in front of all
    faults         breaks a network on purpose and counts what was lost
    utils          and logging: what scripts import under upstream's names
"""

__version__ = "0.20.0"
