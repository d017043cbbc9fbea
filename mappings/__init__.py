"""The Elasticsearch mapping of the safety fields, versioned."""

from saferank.mappings.fields import SafetyFields
from saferank.mappings.record import ImageRecord, SafetyRecord, Status
from saferank.mappings.template import (
    add_to_index,
    check_index,
    component_template,
    install,
    lacking,
    not_ready,
)

__all__ = [
    "ImageRecord",
    "SafetyFields",
    "SafetyRecord",
    "Status",
    "add_to_index",
    "check_index",
    "component_template",
    "install",
    "lacking",
    "not_ready",
]
