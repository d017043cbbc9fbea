"""Which workers are alive, whether or not they answer: with a Redis or Valkey as the broker.

A worker that works in its main thread (``--pool solo``) answers nobody meanwhile, one without
remote control never does, and any may be late on a busy machine. So each keeps a beat at the
broker, by the broker's own clock, from a thread that works on while tasks do. With RabbitMQ that
is not needed: it knows which connections live.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from typing import Any

from celery import Celery

log = logging.getLogger(__name__)

_KEY = "saferank.workers"
# How many tasks each works on at once; apart from the beats, which older versions read, too.
_CHILDREN = "saferank.children"
_BEAT = 1.0
_GONE = 6.0
# At the end of a name in the broker, of a worker that does not answer while it works.
_MUTE = " mute"


@dataclass(frozen=True, slots=True)
class Present:
    """A worker that is alive.

    Attributes:
        name: its node name, as in Celery's answers.
        mute: it does not answer while it works, or never.
    """

    name: str
    mute: bool


class Presence:
    """The beat of one worker.

    Args:
        app: of the worker.
        worker: which one.
        children: tasks that it works on at once.
    """

    def __init__(self, app: Celery, worker: Present, children: int = 1) -> None:
        self._app = app
        self._children = children
        self._member = worker.name + _MUTE * worker.mute
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="presence", daemon=True)

    def start(self) -> None:
        """Beat from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Be gone at once."""
        self._over.set()
        self._thread.join(_GONE)

    def _run(self) -> None:
        while not self._over.is_set():
            try:
                with self._app.connection_for_write() as connection:
                    if connection.transport.driver_type != "redis":
                        return
                    channel: Any = connection.default_channel
                    self._beat(channel.client)
            except Exception as error:  # no trouble of the broker may end the thread
                log.debug("the broker does not take a beat: %s", error)
            self._over.wait(_BEAT)

    def _beat(self, client: Any) -> None:
        client.hset(_CHILDREN, self._member, self._children)
        while not self._over.is_set():
            client.zadd(_KEY, {self._member: _now(client)})
            self._over.wait(_BEAT)
        client.zrem(_KEY, self._member)
        client.hdel(_CHILDREN, self._member)


def present_workers(app: Celery) -> set[Present]:
    """The workers whose beat was heard lately; none where the broker is no Redis."""
    with app.connection_for_write() as connection:
        connection.ensure_connection(max_retries=1)
        if connection.transport.driver_type != "redis":
            return set()
        channel: Any = connection.default_channel
        names = _heard(channel.client)
    return {Present(name.removesuffix(_MUTE), name.endswith(_MUTE)) for name in names}


def present_children(app: Celery) -> int:
    """Tasks that the present workers work on at once; 0 where the broker is no Redis."""
    with app.connection_for_write() as connection:
        connection.ensure_connection(max_retries=1)
        if connection.transport.driver_type != "redis":
            return 0
        channel: Any = connection.default_channel
        counts = channel.client.hgetall(_CHILDREN)
        # A worker of an older version does not say how many.
        return sum(int(counts.get(name.encode(), 1)) for name in _heard(channel.client))


def _heard(client: Any) -> list[str]:
    """The members whose beat was heard lately; the others are forgotten."""
    oldest = _now(client) - _GONE
    beats = client.zrange(_KEY, 0, -1, withscores=True)
    if late := [member for member, at in beats if at < oldest]:
        client.zrem(_KEY, *late)
        client.hdel(_CHILDREN, *late)
    return [member.decode() for member, at in beats if at >= oldest]


def _now(client: Any) -> float:
    seconds, micros = client.time()
    return float(seconds + micros / 1e6)
