-- Journals that were begun on the first day know transfers by their digest alone, and look for what waits without its provider.
DROP INDEX IF EXISTS files_waiting;
CREATE INDEX files_waiting ON files (chain, provider, due) WHERE due IS NOT NULL;
DROP INDEX IF EXISTS announcements_of_file;
CREATE TABLE same_transfers (
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
    fence       INTEGER NOT NULL DEFAULT 1,
    committed   INTEGER NOT NULL DEFAULT 1,
    doubtful    INTEGER NOT NULL DEFAULT 0,
    earlier     TEXT    NOT NULL DEFAULT '',
    PRIMARY KEY (file, transfer)
) STRICT, WITHOUT ROWID;
INSERT INTO same_transfers (file, transfer, chain, client, consumer_group, spare, peer, request, destination, state, time, attempt,
                            receipt, fence, committed, doubtful, earlier)
SELECT file, transfer, chain, client, consumer_group, spare, peer, request, destination, state, time, attempt, receipt, fence,
       committed, doubtful, earlier FROM transfers;
DROP TABLE transfers;
ALTER TABLE same_transfers RENAME TO transfers;
