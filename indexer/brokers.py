"""Reaching the broker, and saying clearly that it cannot be reached."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from celery import Celery
from kombu.exceptions import OperationalError

from saferank.errors import ServiceUnavailable
from saferank.settings import Settings

# Longer than any task may run, so that a message comes back only when its worker is gone.
_VISIBILITY_MARGIN = 60


def broker_app(settings: Settings) -> Celery:
    """Make a Celery app that can send to the broker of the settings, and knows no task."""
    app = Celery("saferank", broker=settings.broker_url, set_as_current=False)
    app.conf.broker_transport_options = {
        "visibility_timeout": settings.indexer.time_limit + _VISIBILITY_MARGIN,
        # Fresh documents first when one worker serves both queues.
        "queue_order_strategy": "priority",
        "socket_connect_timeout": 5,
        "socket_keepalive": True,
        # RabbitMQ: a task counts as sent when it is on the disk, not when it is on the wire.
        "confirm_publish": True,
    }
    return app


@contextmanager
def clear_broker_errors(app: Celery) -> Iterator[None]:
    """Turn a broker's connection errors into one sentence.

    Raises:
        ServiceUnavailable: the broker cannot be reached.
    """
    try:
        yield
    except (OperationalError, OSError) as error:
        raise ServiceUnavailable(
            f"the broker at {app.connection_for_write().as_uri()} cannot be reached ({error}); "
            "start it, or set SAFERANK_BROKER_URL to where it runs"
        ) from error


def check_broker(app: Celery) -> None:
    """See, within seconds, that the broker answers.

    Raises:
        ServiceUnavailable: it does not.
    """
    with clear_broker_errors(app), app.connection_for_write() as connection:
        connection.ensure_connection(max_retries=2, interval_start=0, interval_step=1)


def queue_length(app: Celery, queue: str) -> int:
    """Count the tasks that wait in a queue; those that a worker holds are not among them.

    Raises:
        ServiceUnavailable: the broker cannot be reached.
    """
    with clear_broker_errors(app), app.connection_for_write() as connection:
        connection.ensure_connection(max_retries=2, interval_start=0, interval_step=1)
        channel: Any = connection.default_channel
        try:
            declared = channel.queue_declare(queue=queue, passive=True)
        except connection.channel_errors:
            return 0  # nobody made the queue yet
        length: int = declared.message_count
        return length
