"""What a worker says of itself when ``saferank health`` asks: what it scores with, what keeps it.

Asked is the worker's main process. What only a child would find is in the log.
"""

from __future__ import annotations

import tempfile
from typing import Any

from celery.worker.control import inspect_command

from saferank.errors import SaferankError
from saferank.indexer.operate.health import FITNESS, indices_of_decisions
from saferank.indexer.worker.resources import model_identities
from saferank.settings import Settings, get_settings

_ROOM = 1 << 16


@inspect_command(name=FITNESS)
def _answer(state: Any, **_: object) -> dict[str, Any]:
    return fitness(get_settings())


def fitness(settings: Settings) -> dict[str, Any]:
    """Look at a worker's own machine.

    Returns:
        ``field``, ``image_field``, ``model`` (its identity, or None), ``overrides`` and ``known``
        (``none`` where there is no such index), on which depends what it stores; of several
        categories, fields and identities with commas between them; and ``faults``, a sentence for
        each thing that keeps tasks from being done.
    """
    faults: list[str] = []
    model = None
    try:
        model = ", ".join(model_identities(settings).values())
    except SaferankError as error:
        faults.append(str(error))
    try:
        with tempfile.TemporaryFile() as file:
            file.write(bytes(_ROOM))
    except OSError as error:
        faults.append(f"its temporary folder takes no file: {error}; make room there")
    return {
        "field": ", ".join(settings.model_by_field),
        "image_field": settings.image_field,
        "model": model,
        **indices_of_decisions(settings),
        "faults": faults,
    }
