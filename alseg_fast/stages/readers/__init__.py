"""One reader for each kind of pool, and what they share: uris, tables, tar indexes."""
