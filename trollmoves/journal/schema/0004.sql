-- The files of an announcement that speaks of more than one file, or whose files do not simply go by their path. Beside the first
-- of them stands `files`, too; a row goes together with its announcement's file.
CREATE TABLE members (
    file     INTEGER NOT NULL REFERENCES files ON DELETE CASCADE,
    number   INTEGER NOT NULL,             -- its place in the announcement
    path     BLOB    NOT NULL,
    device   INTEGER NOT NULL,
    inode    INTEGER NOT NULL,
    size     INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    relative TEXT,                         -- where it goes below the destination, when the announcement says so
    copy     INTEGER NOT NULL,             -- whether we made it by unpacking, so that it goes also where origins stay
    PRIMARY KEY (file, number)
) STRICT, WITHOUT ROWID;
