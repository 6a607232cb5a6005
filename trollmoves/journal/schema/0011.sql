-- While a consumer is away hundreds of thousands of files may wait to be removed: those that are due are found without the others.
CREATE INDEX removals_due ON removals (chain, due);
