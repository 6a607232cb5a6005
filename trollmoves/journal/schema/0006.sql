-- Things an operator must know about: a gap in a provider's history, files nobody could deliver, a silent source, a product that did
-- not come. An alarm is open until what it is about is over, or an operator dismisses it; there is one open alarm about one thing.
ALTER TABLE alarms RENAME TO earlier_alarms;
CREATE TABLE alarms (
    id      INTEGER PRIMARY KEY,
    chain   TEXT    NOT NULL,              -- empty: the whole process
    kind    TEXT    NOT NULL,
    about   TEXT    NOT NULL,              -- tells it from others of its kind
    text    TEXT    NOT NULL,
    time    REAL    NOT NULL,              -- when it was raised
    latest  REAL    NOT NULL,              -- when it was raised last
    count   INTEGER NOT NULL DEFAULT 1,
    cleared REAL,                          -- when it was over; NULL while it is open
    outcome TEXT                           -- how it ended
) STRICT;
INSERT INTO alarms (chain, kind, about, text, time, latest, count)
SELECT chain, 'event', text, text, min(time), max(time), count(*) FROM earlier_alarms GROUP BY chain, text;
DROP TABLE earlier_alarms;
CREATE UNIQUE INDEX alarms_open ON alarms (chain, kind, about) WHERE cleared IS NULL;

-- What an operator wants done, written by `trollmoves retry` and its like; a row goes when the process has done it.
CREATE TABLE orders (
    id    INTEGER PRIMARY KEY AUTOINCREMENT,
    time  REAL    NOT NULL,
    verb  TEXT    NOT NULL CHECK (verb IN ('retry', 'dismiss', 'dismiss_alarm', 'replay')),
    chain TEXT    NOT NULL,                -- empty: every one
    said  TEXT    NOT NULL                 -- JSON: ids of files or alarms; what to replay
) STRICT;

-- Up to which position announcements under a subject are no longer kept: who was not there then has a gap. Of the latest 5000 subjects.
CREATE TABLE forgotten (
    chain    TEXT    NOT NULL,
    subject  TEXT    NOT NULL,
    position INTEGER NOT NULL,
    time     REAL    NOT NULL,             -- of the announcement at that position
    PRIMARY KEY (chain, subject)
) STRICT, WITHOUT ROWID;

-- What sections expect, and since when: a restart does not begin anew.
CREATE TABLE expectations (
    chain TEXT NOT NULL,
    text  TEXT NOT NULL,
    since REAL NOT NULL,
    PRIMARY KEY (chain, text)
) STRICT, WITHOUT ROWID;

-- Destination hosts that failed again and again and are left alone, but for a probe now and then. Emptied at each start.
CREATE TABLE circuits (
    chain    TEXT    NOT NULL,             -- empty: of all sections
    host     TEXT    NOT NULL,
    failures INTEGER NOT NULL,
    since    REAL    NOT NULL,
    latest   REAL    NOT NULL,             -- the last probe
    error    TEXT    NOT NULL,
    PRIMARY KEY (chain, host)
) STRICT, WITHOUT ROWID;

-- When an operator had a file tried again that had been given up: its time begins anew.
ALTER TABLE files ADD COLUMN revived REAL;
CREATE INDEX files_given_up ON files (chain, time) WHERE state = 'given_up';
