-- What a mirror has fetched and keeps until its consumers have it: for every file that was announced, where it is on this machine,
-- as it was when it had arrived. A row goes when the copy is removed, or left to others.
CREATE TABLE copies (
    file      INTEGER NOT NULL REFERENCES files ON DELETE CASCADE,
    uid       TEXT    NOT NULL,            -- or the name where none was announced
    chain     TEXT    NOT NULL,
    path      BLOB    NOT NULL,            -- here
    device    INTEGER NOT NULL,
    inode     INTEGER NOT NULL,
    size      INTEGER NOT NULL,
    mtime_ns  INTEGER NOT NULL,
    time      REAL    NOT NULL,            -- when it had arrived
    PRIMARY KEY (file, uid)
) STRICT, WITHOUT ROWID;

CREATE INDEX copies_by_age ON copies (chain, time);
