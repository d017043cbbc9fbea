"""How a request of Elasticsearch's HTTP reads in OpenSearch's, and how its answer reads back.

OpenSearch began as Elasticsearch 7.10, and most requests are the same. Those that are not are here.
An index's default search pipeline is switched off for every search: it could leave out documents
or rename the fields that hits are judged by. A count cannot switch it off, so it goes as a search.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlencode

from saferank.errors import UnsafeRequest

Json = dict[str, Any]
Restore = Callable[[Any], Any]
"""Takes the body of an answer that is no error, and gives what Elasticsearch would have said."""


class Request(NamedTuple):
    """A request, before it is written.

    Attributes:
        method: ``GET`` and the like.
        path: without parameters.
        parameters: of the address, not quoted.
        body: an object, a list of the lines of one (NDJSON), text, bytes, or None.
    """

    method: str
    path: str
    parameters: Mapping[str, str]
    body: Any = None

    @classmethod
    def of(cls, method: str, target: str, body: Any) -> Request:
        """A request as Elasticsearch's client writes it."""
        path, _, query = target.partition("?")
        return cls(method, path, dict(parse_qsl(query, keep_blank_values=True)), body)

    @property
    def target(self) -> str:
        """Path and parameters, as they go into an address."""
        query = urlencode(self.parameters)
        return f"{self.path}?{query}" if query else self.path


LEAST_TERMINATE_AFTER = 4096
"""The least ``terminate_after`` that every engine answers rightly.

With a lower one, OpenSearch finds nothing of a ``match_all`` in a large segment.
"""

_NO_PIPELINE = {"search_pipeline": "_none"}
_UNKNOWN = {
    "knn": "OpenSearch has no 'knn' beside the query",
    "rank": "OpenSearch has no 'rank'",
    "retriever": "OpenSearch has no retrievers; give the search as a 'query'",
    "runtime_mappings": "OpenSearch has no runtime fields; map the field",
}


def translated(request: Request) -> tuple[Request, Restore]:
    """The request in OpenSearch's words, and what makes its answer Elasticsearch's.

    Raises:
        UnsafeRequest: OpenSearch has no such thing, or answers it wrongly.
    """
    for pattern, method, translate in _TRANSLATIONS:
        if method in (None, request.method) and pattern.fullmatch(request.path):
            return translate(request)
    return request, _as_it_is


def _as_it_is(answer: Any) -> Any:
    return answer


def _search(request: Request) -> tuple[Request, Restore]:
    parameters = {**request.parameters, **_NO_PIPELINE}
    _check_terminate_after(parameters.get("terminate_after"))
    body, restore = _searched(request.body)
    return request._replace(parameters=parameters, body=body), restore


def _msearch(request: Request) -> tuple[Request, Restore]:
    """Headers and bodies; the parameter that switches a pipeline off is a part of each body."""
    searched = [_searched(body) for body in request.body[1::2]]
    bodies = [{**body, **_NO_PIPELINE} for body, _ in searched]
    lines = [line for pair in zip(request.body[::2], bodies, strict=True) for line in pair]

    def restore(answer: Json) -> Json:
        pairs = zip(answer["responses"], searched, strict=True)
        return {**answer, "responses": [one(response) for response, (_, one) in pairs]}

    return request._replace(body=lines), restore


def _searched(body: Any) -> tuple[Any, Restore]:
    """The body of a search that OpenSearch answers as Elasticsearch does."""
    if body is None:
        return body, _as_it_is
    if not isinstance(body, Mapping):
        raise TypeError(f"a search for OpenSearch is translated before it is written: {body!r}")
    for key, reason in _UNKNOWN.items():
        if key in body:
            raise UnsafeRequest(key, reason)
    _check_terminate_after(body.get("terminate_after"))
    if "pit" in body and "sort" in body:
        return _in_total_order(body)
    return body, _as_it_is


def _check_terminate_after(value: Any) -> None:
    try:
        low = value is not None and 0 < int(value) < LEAST_TERMINATE_AFTER
    except (TypeError, ValueError):
        return  # The engine says what is wrong with it.
    if low:
        raise UnsafeRequest(
            "terminate_after",
            f"below {LEAST_TERMINATE_AFTER} OpenSearch may find nothing at all; give at least that",
        )


_PLACE = "_shard_doc"
_LAST = f"{2**63 - 1}:\uffff"
"""A place behind those of all documents."""


def _in_total_order(body: Mapping[str, Any]) -> tuple[Json, Restore]:
    """A sorted search in a point in time, in which no two documents have the same sort values.

    Elasticsearch ends every such sort with the place of a document. OpenSearch does so where it is
    asked, and counts places anew in each index: place and index are two keys there, and one value
    of a hit here.
    """
    given = body["sort"]
    keys = list(given) if isinstance(given, list) else [given]
    if not keys or not _is_place(keys[-1]):
        keys.append({_PLACE: "asc"})
    result = {**body, "sort": [*keys, {"_index": "asc"}]}
    after = body.get("search_after")
    if isinstance(after, list):
        # Without a place it means: behind all documents that have these values.
        *values, place = after if len(after) == len(keys) else [*after, _LAST]
        number, _, index = str(place).partition(":")
        result["search_after"] = [*values, int(number) if number.isdecimal() else number, index]
    return result, _with_places


def _is_place(key: Any) -> bool:
    return key == _PLACE or (isinstance(key, Mapping) and _PLACE in key)


def _with_places(answer: Json) -> Json:
    for hit in answer.get("hits", {}).get("hits", ()):
        *values, number, index = hit["sort"]
        hit["sort"] = [*values, f"{number}:{index}"]
    return answer


def _count(request: Request) -> tuple[Request, Restore]:
    """A search for no hits, since a count goes through the default search pipeline."""
    parameters = {**request.parameters, **_NO_PIPELINE}
    outside = {key: parameters.pop(key) for key in _COUNT_KEYS if key in parameters}
    _check_terminate_after(outside.get("terminate_after"))
    body = {**(request.body or {}), **outside, "size": 0, "track_total_hits": True}
    path = request.path.removesuffix("_count") + "_search"
    return Request("POST", path, parameters, body), _counted


# Parameters of a count that are parts of the body of a search.
_COUNT_KEYS = ("min_score", "terminate_after")


def _counted(answer: Json) -> Json:
    kept: Json = {key: answer[key] for key in ("terminated_early", "_shards") if key in answer}
    return {"count": answer["hits"]["total"]["value"], **kept}


def _open_point_in_time(request: Request) -> tuple[Request, Restore]:
    if request.body:
        raise UnsafeRequest("index_filter", "OpenSearch opens a point in time of whole indices")
    parameters = dict(request.parameters)
    # What Elasticsearch does unless it is told otherwise: a shard that is away is an error.
    partial = parameters.pop("allow_partial_search_results", "false")
    parameters["allow_partial_pit_creation"] = partial
    path = request.path.removesuffix("_pit") + "_search/point_in_time"
    return Request("POST", path, parameters), _opened


def _opened(answer: Json) -> Json:
    # Both engines' names of it, since an application of either reads the answer.
    return {**answer, "id": answer["pit_id"]}


def _close_point_in_time(request: Request) -> tuple[Request, Restore]:
    body = {"pit_id": [request.body["id"]]}
    return Request("DELETE", "/_search/point_in_time", request.parameters, body), _closed


def _closed(answer: Json) -> Json:
    freed = sum(bool(pit["successful"]) for pit in answer["pits"])
    return {"succeeded": freed == len(answer["pits"]), "num_freed": freed}


def _field_caps(request: Request) -> tuple[Request, Restore]:
    """Its fields are a parameter of the address."""
    body = dict(request.body or {})
    parameters = dict(request.parameters)
    if "fields" in body:
        parameters["fields"] = ",".join(body.pop("fields"))
    return request._replace(parameters=parameters, body=body or None), _as_it_is


def _get_index(request: Request) -> tuple[Request, Restore]:
    """All of a definition, from which ``filter_path`` takes what is wanted."""
    parameters = {key: item for key, item in request.parameters.items() if key != "features"}
    return request._replace(parameters=parameters), _as_it_is


_Translate = Callable[[Request], tuple[Request, Restore]]
_TRANSLATIONS: tuple[tuple[re.Pattern[str], str | None, _Translate], ...] = (
    (re.compile("(/[^/]+)?/_search"), None, _search),
    (re.compile("(/[^/]+)?/_msearch"), None, _msearch),
    (re.compile("(/[^/]+)?/_count"), None, _count),
    (re.compile("/[^/]+/_pit"), "POST", _open_point_in_time),
    (re.compile("/_pit"), "DELETE", _close_point_in_time),
    (re.compile("(/[^/]+)?/_field_caps"), None, _field_caps),
    (re.compile("/[^/_][^/]*|/_all"), "GET", _get_index),
)
