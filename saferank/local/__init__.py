"""A private Elasticsearch node and broker, for trying out and for tests."""
