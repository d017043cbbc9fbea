"""Reaching the broker, and saying clearly that it cannot be reached."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from ssl import CERT_REQUIRED, SSLCertVerificationError
from typing import Any
from urllib.parse import quote

from celery import Celery
from kombu.exceptions import OperationalError

from saferank.errors import ConfigurationError, ServiceUnavailable
from saferank.settings import Settings, shown

# Longer than any task may run, so that a message comes back only when its worker is gone.
_VISIBILITY_MARGIN = 60


def broker_app(settings: Settings) -> Celery:
    """Make a Celery app that can send to the broker of the settings, and knows no task.

    Raises:
        ConfigurationError: the broker's settings do not fit together.
    """
    if "sentinel://" in settings.broker_url and "master_name" not in settings.broker_options:
        raise ConfigurationError(
            "Redis Sentinel needs the name of the service: set "
            'SAFERANK_BROKER_OPTIONS=\'{"master_name": "NAME"}\''
        )
    app = Celery("saferank", broker=_with_login(settings), set_as_current=False)
    app.conf.broker_use_ssl = _tls(settings)
    app.conf.broker_transport_options = {
        "visibility_timeout": settings.indexer.time_limit + _VISIBILITY_MARGIN,
        # Fresh documents first when one worker serves both queues.
        "queue_order_strategy": "priority",
        "socket_connect_timeout": 5,
        # A server that never answers, as to TLS where it speaks none, must not hold a process.
        "socket_timeout": 30,
        "socket_keepalive": True,
        # RabbitMQ: a task counts as sent when it is on the disk, not when it is on the wire.
        "confirm_publish": True,
        **settings.broker_options,
    }
    return app


def _with_login(settings: Settings) -> str:
    """The broker's address, or several with semicolons, each with the user and the password."""
    user, password = settings.broker_user or "", settings.broker_password
    if not user and password is None:
        return settings.broker_url
    secret = "" if password is None else password.get_secret_value()
    login = f"{quote(user, safe='')}:{quote(secret, safe='')}@"
    return ";".join(
        one if "@" in one else one.replace("://", f"://{login}", 1)
        for one in settings.broker_url.split(";")
    )


def _tls(settings: Settings) -> dict[str, Any] | None:
    """How certificates are checked; left to itself, kombu takes any certificate of a Redis.

    What the address says itself (``?ssl_cert_reqs=none``) wins over this.
    """
    scheme = settings.broker_url.partition("://")[0]
    if scheme not in ("rediss", "amqps") and settings.broker_ca_certs is None:
        return None
    authorities = settings.broker_ca_certs and str(settings.broker_ca_certs)
    if scheme.startswith("amqp"):
        # None stands for the host that is connected to.
        return {"cert_reqs": CERT_REQUIRED, "ca_certs": authorities, "server_hostname": None}
    return {
        "ssl_cert_reqs": CERT_REQUIRED,
        "ssl_ca_certs": authorities,
        "ssl_check_hostname": True,
    }


@contextmanager
def clear_broker_errors(app: Celery) -> Iterator[None]:
    """Turn a broker's errors into one sentence.

    Raises:
        ServiceUnavailable: the broker cannot be reached, or does not serve a request.
        ConfigurationError: its address is none that Celery takes.
    """
    try:
        yield
    except (OperationalError, OSError) as error:
        raise _unavailable(app, "cannot be reached", error) from error
    except (KeyError, ValueError, ImportError) as error:
        raise ConfigurationError(
            f"the broker's address {shown(str(app.conf.broker_write_url))} cannot be used "
            f"({error}); correct SAFERANK_BROKER_URL"
        ) from error
    except Exception as error:
        if not isinstance(error, app.connection_for_write().channel_errors):
            raise
        raise _unavailable(app, "does not serve a request", error) from error


# What Redis and Valkey say then, in whatever kombu makes of it.
_FULL = "used memory > 'maxmemory'"


def _unavailable(app: Celery, what: str, error: Exception) -> ServiceUnavailable:
    if _FULL in str(error):
        return ServiceUnavailable(
            f"the broker at {shown(app.connection_for_write().as_uri())} takes no more messages: "
            "its memory is full; raise its maxmemory, or start workers that empty the queues"
        )
    cause = f"{error}; set SAFERANK_BROKER_CA_CERTS" if _is_untrusted(error) else error
    return ServiceUnavailable(
        f"the broker at {shown(app.connection_for_write().as_uri())} {what} ({cause}); "
        "start it, or set SAFERANK_BROKER_URL to where it runs"
    )


def _is_untrusted(error: BaseException | None) -> bool:
    """Whether a certificate was refused, somewhere below the error."""
    while error is not None:
        if isinstance(error, SSLCertVerificationError):
            return True
        error = error.__cause__ or error.__context__
    return False


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
        if connection.transport.driver_type == "redis":
            # Kombu looks for the queue without ``global_keyprefix``, but counts with it.
            found: int = channel._size(queue)
            return found
        try:
            declared = channel.queue_declare(queue=queue, passive=True)
        except connection.channel_errors:
            return 0  # nobody made the queue yet
        length: int = declared.message_count
        return length
