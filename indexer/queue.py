"""Asking the workers to score documents: the part of the indexer that an application imports.

It needs Celery and saferank's settings, and none of a worker's packages: the extra ``queue``.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from celery import Celery, current_app

from saferank.errors import ConfigurationError
from saferank.indexer.brokers import broker_app, clear_broker_errors
from saferank.indexer.installation import installation_of_settings
from saferank.indexer.keys import DocumentKey
from saferank.settings import Settings, get_settings

SCORE_TASK = "saferank.score"
"""The name that both sides know the task by: who sends it here, who runs it in ``worker``."""
LOOK_TASK = "saferank.look"
"""Likewise, of looking at the picture of a blocked document."""


def queue_documents(
    index: str,
    documents: str | DocumentKey | Iterable[str | DocumentKey],
    *,
    app: Celery | None = None,
    settings: Settings | None = None,
) -> int:
    """Ask the workers to score documents; call it after an upload.

    Args:
        index: the documents' index, or an alias of one.
        documents: an id or several; ``DocumentKey`` for those indexed with a custom routing.
        app: the Celery app to send with; one with ``task_always_eager`` scores them at once.
            Without it, the application's current one; where that knows of no broker and runs
            nothing itself, one of saferank's own for ``broker_url`` of the settings.
        settings: those of the environment unless given.

    Returns:
        The number of tasks that were sent.

    Raises:
        ServiceUnavailable: the broker cannot be reached.
        ConfigurationError: the app's settings or the broker's address cannot be used, or an id is
            no text.
    """
    settings = settings or get_settings()
    size = settings.indexer.chunk_size
    keys = _keys(documents)
    chunks = [keys[start : start + size] for start in range(0, len(keys), size)]
    stated = stated_settings(settings)
    for chunk in chunks:
        send(
            app or _default_app(settings),
            index,
            chunk,
            settings.indexer.fresh_queue,
            installation=installation_of_settings(settings),
            stated=stated,
        )
    return len(chunks)


def queue_look(
    index: str, name: str, *, app: Celery | None = None, settings: Settings | None = None
) -> None:
    """Ask the workers to look at the picture of a blocked document, so that crops are found, too.

    Args:
        index: index or alias whose documents have the picture.
        name: of the decision, see ``Copies.look_closer``.
        app: see ``queue_documents``.
        settings: see ``queue_documents``.

    Raises:
        ServiceUnavailable, ConfigurationError: see ``queue_documents``.
    """
    settings = settings or get_settings()
    _send_task(
        app or _default_app(settings),
        LOOK_TASK,
        (index, name),
        {"installation": installation_of_settings(settings)},
        queue=settings.indexer.fresh_queue,
    )


def stated_settings(settings: Settings) -> dict[str, str]:
    """What a sender was told of the settings that scores depend on; workers must agree with it.

    Defaults are not among them: an application need not know what its workers are told. Nor is the
    path of a model, which may be another on another machine.
    """
    known = known_settings(settings)
    told = {name for name in known if name in settings.model_fields_set}
    if settings.categories:
        told -= {"field", "model"}
    elif _is_path(settings.model):
        told -= {"model"}
    return {name: known[name] for name in known if name in told}


def known_settings(settings: Settings) -> dict[str, str]:
    """The settings that scores depend on, as ``stated_settings`` gives some of them."""
    categories = {
        name: {"field": each.field, "model": "" if _is_path(each.model) else each.model}
        for name, each in settings.categories.items()
    }
    return {
        "field": settings.field,
        "image_field": settings.image_field,
        "model": settings.model,
        "categories": json.dumps(categories),
    }


def _is_path(model: str) -> bool:
    return model.partition("#")[0].endswith(".toml")


def send(
    app: Celery,
    index: str,
    keys: Sequence[DocumentKey],
    queue: str,
    *,
    installation: str | None,
    countdown: float | None = None,
    job: dict[str, Any] | None = None,
    stated: Mapping[str, str] | None = None,
    **arguments: Any,
) -> None:
    """Send one task; fails within seconds when the broker is away.

    Args:
        app: sends it.
        index: the documents' index.
        keys: the documents.
        queue: where to.
        installation: whose task it is, see ``installation``; None where that is not known.
        countdown: seconds until it is done, at least.
        job: the chunk of a job that it is.
        stated: settings that workers must agree with, see ``stated_settings``.
        arguments: further ones of the task.

    Raises:
        ServiceUnavailable: the broker cannot be reached.
    """
    args = (index, [key.to_json() for key in keys])
    kwargs = {
        **arguments,
        "installation": installation,
        "job": job,
        "queued_at": time.time(),
        **({"stated": dict(stated)} if stated else {}),
    }
    _send_task(app, SCORE_TASK, args, kwargs, queue=queue, countdown=countdown)


def _send_task(
    app: Celery,
    task: str,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    *,
    queue: str,
    countdown: float | None = None,
) -> None:
    if app.conf.task_always_eager:
        _run_here(app, task, args, kwargs)
        return
    with clear_broker_errors(app):
        app.send_task(
            task,
            args=args,
            kwargs=kwargs,
            queue=queue,
            countdown=countdown,
            ignore_result=True,
            retry=True,
            retry_policy={"max_retries": 2, "interval_start": 0.2, "interval_step": 0.5},
        )


def _run_here(app: Celery, task: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Run a task in this process: ``send_task`` knows nothing of ``task_always_eager``."""
    app.loader.import_default_modules()
    if task not in app.tasks:
        raise ConfigurationError(
            "the Celery app has task_always_eager and not the task to run; add it with "
            "saferank.indexer.worker.app.configure(app)"
        )
    app.tasks[task].apply(args=args, kwargs=kwargs, throw=True)


def _keys(documents: str | DocumentKey | Iterable[str | DocumentKey]) -> list[DocumentKey]:
    """The keys, each once."""
    if isinstance(documents, str) or not isinstance(documents, Iterable):
        return [_key(documents)]
    return list(dict.fromkeys(map(_key, documents)))


def _key(one: object) -> DocumentKey:
    if isinstance(one, DocumentKey):
        return one
    if isinstance(one, str):
        return DocumentKey(one)
    raise ConfigurationError(
        f"a document is named by its id, which is a text, or by a DocumentKey; {one!r} is neither"
    )


def _default_app(settings: Settings) -> Celery:
    # Celery always has a current app. One that nobody configured has no broker, and would try a
    # RabbitMQ on this machine. One that runs its tasks itself needs none.
    conf = current_app.conf
    return current_app if conf.broker_write_url or conf.task_always_eager else _own_app(settings)


# The last one, and the settings that it is for; settings with a mapping in them are no keys.
_made: tuple[Settings, Celery] | None = None


def _own_app(settings: Settings) -> Celery:
    global _made
    made = _made
    if made is None or made[0] != settings:
        made = _made = (settings, broker_app(settings))
    return made[1]
