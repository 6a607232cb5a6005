-- What a file was unpacked from: beside an announced file the packed one it came from, beside a published one the packed one that
-- was delivered and is to be removed. A row goes when the packed file is removed, or together with its file.
CREATE TABLE packed (
    file     INTEGER NOT NULL REFERENCES files ON DELETE CASCADE,
    path     BLOB    NOT NULL,
    device   INTEGER NOT NULL,
    inode    INTEGER NOT NULL,
    size     INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    PRIMARY KEY (file, path)
) STRICT, WITHOUT ROWID;

CREATE INDEX packed_by_path ON packed (path);
