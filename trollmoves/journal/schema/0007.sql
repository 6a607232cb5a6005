-- Whether an announcement was certainly not sent yet: it waits for subscribers, or for leave. Others that are not noted as published
-- were perhaps sent, and say so when they are sent again.
ALTER TABLE announcements ADD COLUMN held INTEGER NOT NULL DEFAULT 0;
DELETE FROM meta WHERE name LIKE 'held from:%';
