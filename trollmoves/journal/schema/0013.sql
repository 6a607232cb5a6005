-- The audit is in a file of its own, which outlives the journal.
DROP TABLE audit;
