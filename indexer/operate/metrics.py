"""What a worker tells Prometheus.

Under several processes the figures are summed through ``PROMETHEUS_MULTIPROC_DIR``, which
``saferank worker --metrics-port`` sets. A process without room for its figures goes on without.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

from prometheus_client import Counter, Gauge, Histogram

IMAGES = Counter("saferank_images_scored", "Images that went through the exact model")
ESTIMATED = Counter(
    "saferank_images_estimated", "Images whose first, cheap look was enough: below the margin"
)
DOCUMENTS = Counter("saferank_documents", "Documents handled, by outcome", ["outcome"])
FAILURES = Counter(
    "saferank_failures", "Documents with an image without a probability, by code", ["code"]
)
STORE_RETRIES = Counter("saferank_store_retries", "Writes that were sent again", ["reason"])
IN_FLIGHT = Gauge("saferank_tasks_in_flight", "Tasks being worked on", multiprocess_mode="livesum")
QUEUE_SECONDS = Histogram(
    "saferank_queue_seconds",
    "Seconds from queueing a task to its start; the queue is fresh or backfill, whatever its name",
    ["queue"],
    buckets=(0.05, 0.1, 0.5, 1, 5, 30, 60, 300, 1800, 7200),
)
UNSCORED = Gauge(
    "saferank_unscored_documents",
    "Documents of an index that waited for a score when it was last swept",
    ["index"],
    multiprocess_mode="mostrecent",
)
SWEPT = Gauge(
    "saferank_swept_timestamp_seconds",
    "When an index was last swept, in seconds since 1970",
    ["index"],
    multiprocess_mode="mostrecent",
)
_STAGE_SECONDS = Histogram(
    "saferank_stage_seconds",
    "Seconds spent by stage: fetch, decode, preprocess, estimate and infer an image, read and "
    "write a chunk",
    ["stage"],
    buckets=(0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 20),
)


def stage(name: str) -> AbstractContextManager[object]:
    """Measure the time spent inside."""
    return _STAGE_SECONDS.labels(name).time()


class _Nothing:
    """In the place of any metric: takes what is told, and forgets it."""

    def labels(self, *_: str) -> _Nothing:
        return self

    def inc(self, _: float = 1) -> None:
        pass

    def set(self, _: float) -> None:
        pass

    def observe(self, _: float) -> None:
        pass

    def time(self) -> AbstractContextManager[None]:
        return nullcontext()

    track_inprogress = time


def turn_off() -> None:
    """Tell nothing more from this process."""
    nothing: dict[str, Any] = {
        name: _Nothing()
        for name, value in globals().items()
        if isinstance(value, Counter | Gauge | Histogram)
    }
    globals().update(nothing)
