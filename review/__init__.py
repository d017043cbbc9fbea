"""People decide the edge cases: queues, an append-only log, and the overrides made from it."""
