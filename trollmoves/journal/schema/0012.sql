-- What was refused, could not be removed, was given up or wanted by an operator, and every alarm: records in JSON, in the order in
-- which it happened, each with a digest of itself and of all before it.
CREATE TABLE audit (
    position INTEGER PRIMARY KEY,
    record   TEXT    NOT NULL,
    digest   TEXT    NOT NULL
) STRICT;
