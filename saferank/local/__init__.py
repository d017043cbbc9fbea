"""A private Elasticsearch node and Valkey broker, for trying saferank out and for its tests.

Both listen on the loopback address only, on free ports, and are stopped by the process ids that
were started.
"""

from saferank.local.processes import Service
from saferank.local.stack import (
    Stack,
    command_of,
    down,
    recorded_services,
    status,
    temporary_stack,
    up,
)

__all__ = [
    "Service",
    "Stack",
    "command_of",
    "down",
    "recorded_services",
    "status",
    "temporary_stack",
    "up",
]
