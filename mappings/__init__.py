"""The Elasticsearch mapping of the safety fields, versioned."""

from saferank.mappings.fields import SafetyFields

__all__ = ["SafetyFields"]
