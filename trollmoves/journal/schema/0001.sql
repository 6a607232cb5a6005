-- One journal belongs to one process. Times are seconds since 1970; sizes are bytes.

-- What holds for the whole journal: its epoch (a random name; offsets mean something only together with it), who wrote it last.
CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- One row for every file (or set of files announced together) that this process has seen or heard of, in one chain.
CREATE TABLE files (
    id         INTEGER PRIMARY KEY,
    chain      TEXT    NOT NULL,
    identity   TEXT    NOT NULL,           -- the uid, or a digest of several
    key        TEXT    NOT NULL,           -- of the content; empty when the announcer does not tell
    state      TEXT    NOT NULL CHECK (state IN ('seen', 'announced', 'requested', 'moving', 'moved', 'acknowledged', 'publishing',
                                                 'published', 'covered', 'failed', 'given_up')),
    time       REAL    NOT NULL,           -- of the last step
    steps      TEXT    NOT NULL,           -- every step: lines of JSON [state, time, peer, attempt, detail]
    due        REAL,                       -- when something is to be done next; NULL when nothing waits
    attempt    INTEGER NOT NULL DEFAULT 0,
    size       INTEGER,
    -- where we announce: the file as it was when it was seen
    path       BLOB,                       -- of the operating system, so any bytes
    device     INTEGER,
    inode      INTEGER,
    mtime_ns   INTEGER,
    -- where we ask: what was announced to us, and how we asked
    provider   TEXT,
    message    TEXT,
    request    TEXT,                       -- id of our request, made before it is first sent
    created    REAL    NOT NULL            -- time of the first step
) STRICT;

CREATE INDEX files_by_identity ON files (identity, chain);
CREATE INDEX files_waiting     ON files (chain, provider, due) WHERE due IS NOT NULL;

-- Other providers that announced the same content, to be asked when the first fails and told when we have it.
CREATE TABLE sources (
    file     INTEGER NOT NULL REFERENCES files ON DELETE CASCADE,
    provider TEXT    NOT NULL,
    message  TEXT    NOT NULL,
    PRIMARY KEY (file, provider)
) STRICT, WITHOUT ROWID;

-- What this process publishes, in the order of publication. `position` is what the wire calls offset.
CREATE TABLE announcements (
    position INTEGER PRIMARY KEY,
    file     INTEGER NOT NULL,
    subject  TEXT    NOT NULL,
    previous INTEGER NOT NULL,             -- position of the one before with the same subject; 0 for the first
    message  TEXT    NOT NULL,
    time     REAL    NOT NULL
) STRICT;


-- One row for every move somebody asked of us: this file to that destination.
CREATE TABLE transfers (
    file        INTEGER NOT NULL,
    transfer    TEXT    NOT NULL,          -- digest of content, asker and destination
    chain       TEXT    NOT NULL,
    client      TEXT    NOT NULL,          -- names the client chain that asked; of an upstream client its address
    consumer_group TEXT NOT NULL,          -- shared by a primary and its hot spares; empty for upstream clients
    spare       INTEGER NOT NULL,
    peer        TEXT    NOT NULL,          -- address of the asker
    request     TEXT    NOT NULL,          -- id of the last request for it
    destination TEXT    NOT NULL,          -- without credentials
    state       TEXT    NOT NULL CHECK (state IN ('moving', 'moved', 'acknowledged', 'failed', 'given_up')),
    time        REAL    NOT NULL,
    attempt     INTEGER NOT NULL,
    receipt     TEXT,                      -- JSON of the receipts; text of the error
    PRIMARY KEY (file, transfer)
) STRICT, WITHOUT ROWID;


-- Origins to be removed, and when. A row goes when the file is gone or is another one.
CREATE TABLE removals (
    file  INTEGER PRIMARY KEY,
    chain TEXT    NOT NULL,
    due   REAL    NOT NULL,
    tries INTEGER NOT NULL DEFAULT 0
) STRICT;

-- Up to which position every announcement of a provider that concerns a chain is in this journal.
CREATE TABLE cursors (
    chain    TEXT    NOT NULL,
    provider TEXT    NOT NULL,
    epoch    TEXT    NOT NULL,
    position INTEGER NOT NULL,
    PRIMARY KEY (chain, provider)
) STRICT, WITHOUT ROWID;

-- Things an operator must know about: gaps in a provider's history, a replaced journal.
CREATE TABLE alarms (
    time REAL NOT NULL,
    chain TEXT NOT NULL,
    text TEXT NOT NULL
) STRICT;
