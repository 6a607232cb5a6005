-- Who of a group of hot spares may publish a delivery: its `client`, for its `request`, with a fence that grows with every holder.
-- As a rule nothing of this is written: a holder that is alone was told with the outcome that it may publish (committed), and no
-- one before it was (doubtful). Once it has confirmed, the state is `acknowledged`.
ALTER TABLE transfers ADD COLUMN fence     INTEGER NOT NULL DEFAULT 1;
ALTER TABLE transfers ADD COLUMN committed INTEGER NOT NULL DEFAULT 1;
ALTER TABLE transfers ADD COLUMN doubtful  INTEGER NOT NULL DEFAULT 0;

-- How far long moves are; a row goes when its move is over.
CREATE TABLE progress (
    file  INTEGER PRIMARY KEY,
    chain TEXT    NOT NULL,
    done  INTEGER NOT NULL,               -- bytes
    total INTEGER NOT NULL,
    began REAL    NOT NULL,
    time  REAL    NOT NULL
) STRICT;
