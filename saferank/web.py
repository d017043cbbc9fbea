"""What pages around a safe client need, in any framework: functions of parts of a request.

    context = request_context(policy, cookie, audience="child")
    answer = client.search(index="photos", query=..., context=context)

The glue (cookies, middleware, templates) is the application's; ``examples/`` has it for Django,
FastAPI and Flask.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, NoReturn

from elastic_transport import TransportError

from saferank.errors import ContextError, DocumentNotFound, ServiceUnavailable, UnsafeRequest
from saferank.ranker.level.decision import Decision
from saferank.ranker.level.verdicts import Rule
from saferank.ranker.policy.contexts import REQUESTED
from saferank.ranker.policy.file import PolicyFile, current_policy
from saferank.ranker.policy.policy import Policy

__all__ = [
    "BLUR_CSS",
    "LevelChoice",
    "is_waiting",
    "level_choices",
    "read_cursor",
    "request_context",
    "status_of",
    "without_safety",
    "write_cursor",
]

BLUR_CSS = """\
.saferank-blur { display: inline-block; overflow: hidden; }
.saferank-blur img { filter: blur(1.5rem); }
.saferank-blur :checked ~ img { filter: none; }
"""
"""A style sheet that blurs pictures until the visitor ticks a box, without a script.

Around the picture stands ``<label class="saferank-blur"><input type="checkbox">…</label>``. The
browser blurs: it has the whole picture, and anybody can find it in the page's source.
"""


def request_context(
    policy: Policy | PolicyFile, requested: str | None = None, **attributes: str | None
) -> dict[str, str]:
    """The context of a request, from what an application knows about it.

    Args:
        policy: says which levels there are.
        requested: the level that the user chose, as it came, from a cookie for example. What names
            no level is left out, so that the policy's default holds: a choice can be older than
            the policy, and anybody can write a cookie.
        attributes: what else is known; None is left out.
    """
    known = {name: value for name, value in attributes.items() if value is not None}
    if requested is None or requested not in current_policy(policy).levels:
        return known
    return {**known, REQUESTED: requested}


@dataclass(frozen=True, slots=True)
class LevelChoice:
    """A level that a user may choose.

    Attributes:
        level: its name.
        holds: whether it is the one that holds now.
    """

    level: str
    holds: bool


def level_choices(policy: Policy | PolicyFile, context: Mapping[str, str]) -> list[LevelChoice]:
    """The levels that a user may choose among, from loosest to strictest; one where it is locked.

    Args:
        policy: as of the client.
        context: of the request.

    Raises:
        ContextError: the context does not fit the policy.
    """
    current = current_policy(policy)
    now = current.resolve(context).level_name
    return [
        LevelChoice(level, level == now)
        for level in current.levels
        if current.resolve({**context, REQUESTED: level}).level_name == level
    ]


def is_waiting(hit: Mapping[str, Any]) -> bool:
    """Whether a hit is treated as unscored, so that a page can say that nobody checked it yet.

    Args:
        hit: of a search or a read by id; of an ``elasticsearch.dsl`` search, its ``meta``.
    """
    return bool(hit["saferank"]["rule"] == Rule.UNSCORED)


def write_cursor(hit: Mapping[str, Any], decision: Decision) -> str:
    """A cursor for the address of the next page: where this page ended, and at which level.

    Args:
        hit: the last one of this page, found with a ``sort``; of an ``elasticsearch.dsl`` search,
            its ``meta``.
        decision: what held for this page: ``client.decision(context)``.
    """
    text = json.dumps([decision.cache_key, list(hit["sort"])], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def read_cursor(cursor: str | None, decision: Decision) -> list[str | int | float | None] | None:
    """The ``search_after`` of the page that a cursor leads to; None for the first page.

    A cursor of another level, or of the same one before its thresholds were changed, leads to the
    first page: the hits before it belong to another list. So does one that nobody wrote here.

    Args:
        cursor: as ``write_cursor`` gave it, or None.
        decision: what holds for this request.
    """
    if cursor is None:
        return None
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        written = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    match written:
        case [decision.cache_key, [_, *_] as values] if all(map(_can_sort, values)):
            return list(values)
    return None


def _can_sort(value: object) -> bool:
    return value is None or isinstance(value, str | int | float)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def without_safety(source: Mapping[str, Any], policy: Policy | PolicyFile) -> dict[str, Any]:
    """A copy of a document's source without what saferank stores, to be sent to users.

    The record has the references and digests of the images; a path of a server can be among them.

    Args:
        source: ``_source`` of a hit or of a ``get``; it is not changed.
        policy: names the objects.
    """
    categories = current_policy(policy).by_category().values()
    objects = {name for one in categories for name in one.fields.objects}
    return _without(source, objects)


def _without(source: Mapping[str, Any], paths: Collection[str]) -> dict[str, Any]:
    return {
        key: _without_in(value, [path[len(key) + 1 :] for path in paths if _leads(key, path)])
        for key, value in source.items()
        if not any(key == path or _leads(path, key) for path in paths)
    }


def _without_in(value: Any, paths: Collection[str]) -> Any:
    if paths and isinstance(value, list):
        return [_without_in(item, paths) for item in value]
    return _without(value, paths) if paths and isinstance(value, Mapping) else value


def _leads(start: str, path: str) -> bool:
    return path.startswith(f"{start}.")


def status_of(error: Exception) -> int:
    """The HTTP status to answer with when a call of a safe client raised an error.

    ====  ==========================================================================
    400   the context or a part of the request was refused, by saferank or the engine; log
          it: it may be the application's own fault, as a misspelt attribute is
    404   no such document, or a hidden one
    503   the engine or the broker is away or too busy
    500   anything else, a missing index too; it is for the log and not for users
    ====  ==========================================================================

    Args:
        error: saferank's own, or one of the client for Elasticsearch or OpenSearch.
    """
    if isinstance(error, ContextError | UnsafeRequest):
        return HTTPStatus.BAD_REQUEST
    if isinstance(error, DocumentNotFound):
        return HTTPStatus.NOT_FOUND
    if isinstance(error, ServiceUnavailable | TransportError):
        return HTTPStatus.SERVICE_UNAVAILABLE
    # Both clients call them so; where there was no answer, OpenSearch's status is a text.
    status, kind = getattr(error, "status_code", None), getattr(error, "error", None)
    if kind == "index_not_found_exception":
        return HTTPStatus.INTERNAL_SERVER_ERROR
    if status in (HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND):
        return HTTPStatus(status)
    return HTTPStatus.SERVICE_UNAVAILABLE if status in _AWAY else HTTPStatus.INTERNAL_SERVER_ERROR


_AWAY = (429, 502, 503, 504, "N/A", "TIMEOUT")
