-- Ids of requests for the same that its client made before the last one, with blanks between them, the latest last: one that comes
-- late starts nothing, and what is confirmed under one is confirmed.
ALTER TABLE transfers ADD COLUMN earlier TEXT NOT NULL DEFAULT '';
