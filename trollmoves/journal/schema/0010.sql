-- Whom this server served files that are forgotten since, when last, and the newest of these files: who is away for some hours is
-- still waited for when more came meanwhile than the journal keeps. Of a day; primaries of our kind only.
CREATE TABLE consumers (
    chain          TEXT    NOT NULL,
    client         TEXT    NOT NULL,
    consumer_group TEXT    NOT NULL,
    time           REAL    NOT NULL,
    file           INTEGER NOT NULL,
    PRIMARY KEY (chain, client, consumer_group)
) STRICT, WITHOUT ROWID;
