"""What a gateway counts of itself, for Prometheus."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Figures:
    """The figures of one gateway.

    Args:
        inside: gives the number of calls that are worked on or wait.
        outdated: whether the policy's file cannot be used, so that an older one holds.
    """

    def __init__(self, inside: Callable[[], int], outdated: Callable[[], bool]) -> None:
        self._registry = CollectorRegistry()
        self.calls = Counter(
            "saferank_gateway_calls",
            "Answered requests.",
            ("call", "level", "status"),
            registry=self._registry,
        )
        self.seconds = Histogram(
            "saferank_gateway_seconds",
            "From the first byte of a request to its whole answer, the sending left out.",
            ("call",),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self.refused = Counter(
            "saferank_gateway_refused",
            "Requests that were not sent to Elasticsearch, by the kind of error.",
            ("kind",),
            registry=self._registry,
        )
        gauge = Gauge(
            "saferank_gateway_inside",
            "Calls that are worked on or wait.",
            registry=self._registry,
        )
        gauge.set_function(inside)
        self.outdated = Gauge(
            "saferank_gateway_policy_outdated",
            "1 where the policy's file was changed and cannot be used: the one before holds.",
            registry=self._registry,
        )
        self.outdated.set_function(outdated)

    def serve(self, address: str, port: int) -> None:
        """Answer a Prometheus server, from a thread of its own."""
        start_http_server(port, address, self._registry)
