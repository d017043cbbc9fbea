"""The limits of indices, read from their settings once in a while."""

from __future__ import annotations

import time
from functools import reduce

from elasticsearch import ApiError

from saferank.ranker.bodies import names
from saferank.ranker.client.arguments import Request
from saferank.ranker.client.flow import Call, Knowledge, Plan
from saferank.ranker.rewrite.limits import DEFAULT_LIMITS, Limits

_READ_AGAIN_AFTER = 300.0
_REMEMBERED = 10_000

# Parts of a body whose rewriting depends on the limits.
_LIMITED = names("knn rescore retriever")
# Parameters that say which indices a request means.
_WHICH = ("index", "allow_no_indices", "expand_wildcards", "ignore_unavailable")


def depends_on_limits(request: Request) -> bool:
    """Whether it matters for a request what limits its indices have, and they can be read.

    A point in time does not say which indices it was opened for.
    """
    return not _LIMITED.isdisjoint(request.body) and "pit" not in request.body


def read_limits(request: Request, knowledge: Knowledge) -> Plan[Limits]:
    """The limits of a request's indices; those of Elasticsearch where they may not be read.

    What the engine says when it refuses a request comes after this (see ``Limits.told_by``).
    """
    read, limits = knowledge.limits.get(request.index, (0.0, None))
    if limits is not None and time.monotonic() - read < _READ_AGAIN_AFTER:
        return limits
    which = {key: request.parameters[key] for key in _WHICH if key in request.parameters}
    wanted = {"name": "index.max_*_window", "flat_settings": True}
    try:
        response = yield Call("indices.get_settings", {**which, **wanted})
    except ApiError:
        limits = DEFAULT_LIMITS  # The search itself says better what is wrong.
    else:
        each = [Limits.of(entry["settings"]) for entry in response.body.values()]
        limits = reduce(Limits.and_those, each) if each else DEFAULT_LIMITS
    remember_limits(request, limits, knowledge)
    return limits


def remember_limits(request: Request, limits: Limits, knowledge: Knowledge) -> None:
    """Keep for the next requests what was read, or told by the engine."""
    if "pit" not in request.body:
        if len(knowledge.limits) >= _REMEMBERED:
            knowledge.limits.clear()
        knowledge.limits[request.index] = time.monotonic(), limits
