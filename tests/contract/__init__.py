"""One body of promises per kind of adapter, one short file per adapter."""
