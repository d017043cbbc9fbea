"""Safe search for clients in any language: Elasticsearch's own HTTP, in front of it."""
