"""Which calls there are: method and path → a call of the safe client, and what it takes.

What is not in the table is refused. A call that returns documents, or words or counts of them, is
one that ``SafeSearch`` makes safe; the few others say nothing of any document. Parameters are the
keywords of the call, by the names that they have in an address.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from functools import partial
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from saferank.gateway.answers import forbidden, malformed
from saferank.ranker.bodies import Json, as_list, names
from saferank.ranker.client import keywords

ALL = "_all"
Reader = Callable[[str, str], Any]
"""A parameter's name and text → its value."""


class Takes(Enum):
    """The body of a call."""

    NOTHING = auto()
    OBJECT = auto()
    """One JSON object; it may be left out."""
    LINES = auto()
    """JSON objects, one a line."""


@dataclass(frozen=True, slots=True)
class Route:
    """One call.

    Attributes:
        methods: of HTTP.
        path: its parts; those in braces are arguments.
        call: of the safe client, with a dot for one of a group.
        takes: its body.
        parameters: name in the address → what reads it.
        body_keys: keys that its body may have; None where the call itself says.
        body_as: keyword that takes the body.
        writes: whether it changes documents, so that a caller needs leave.
        read_body: a body → that of the call, where another engine's clients write it otherwise.
        told: what the call gave, and its arguments → what such a client reads.
    """

    methods: frozenset[str]
    path: tuple[str, ...]
    call: str
    takes: Takes = Takes.NOTHING
    parameters: Mapping[str, Reader] = field(default_factory=dict)
    body_keys: frozenset[str] | None = None
    body_as: str = "body"
    writes: bool = False
    read_body: Callable[[Json], Json] | None = None
    told: Callable[[Json, Json], Json] | None = None

    def arguments(self, parts: tuple[str, ...]) -> dict[str, str] | None:
        """The arguments in the parts of a path, as many as its own; None if it is another."""
        found = {}
        for own, part in zip(self.path, parts, strict=True):
            if not own.startswith("{"):
                if own != part:
                    return None
            elif own == "{index}" and part.startswith("_") and part.split(",")[0] != ALL:
                return None  # Such names are the engine's own.
            else:
                found[own.strip("{}")] = part
        return found


def find_route(method: str, parts: tuple[str, ...]) -> tuple[Route, dict[str, str]]:
    """The call for a request, and the arguments in its path.

    Raises:
        Refused: there is none that is known to be safe.
    """
    for route in _BY_LENGTH.get(len(parts), ()):
        if method in route.methods and (found := route.arguments(parts)) is not None:
            return route, found
    path = "/" + "/".join(parts)
    raise forbidden(
        f"[{method} {path}] is not a call that this gateway can make safe; its calls are listed "
        "in saferank's guide to the gateway"
    )


def _flag(name: str, text: str) -> bool:
    if text not in ("", "true", "false"):
        raise malformed(f"parameter {name!r} is 'true' or 'false', not {text!r}")
    return text != "false"


def _number(kind: type[int | float], name: str, text: str) -> int | float:
    try:
        return kind(text)
    except ValueError:
        raise malformed(f"parameter {name!r} is a number, not {text!r}") from None


def _flag_or_number(name: str, text: str) -> bool | int | float:
    return _flag(name, text) if text in ("", "true", "false") else _number(int, name, text)


def _flag_or_names(_name: str, text: str) -> bool | list[str]:
    return text == "true" if text in ("true", "false") else text.split(",")


def _text(_name: str, text: str) -> str:
    return text


def _list(_name: str, text: str) -> list[str]:
    return text.split(",")


def _reader(annotation: Any) -> Reader:
    """What reads the values of a keyword, by its type."""
    kinds = _kinds(annotation)
    if bool in kinds:
        if int in kinds:
            return _flag_or_number
        return _flag_or_names if len(kinds - {bool}) else _flag
    if kinds & {int, float} and str not in kinds:
        return partial(_number, float if float in kinds else int)
    return _text


def _kinds(annotation: Any) -> set[type]:
    """The types that a keyword takes."""
    if get_origin(annotation) is Literal:
        return {type(value) for value in get_args(annotation)}
    if get_origin(annotation) in (Union, UnionType):
        return set[type]().union(*map(_kinds, get_args(annotation))) - {NoneType}
    return {get_origin(annotation) or annotation}


# How a keyword is called in an address where Python, or the client, spells it otherwise.
_IN_ADDRESS = {
    "from_": "from",
    "source": "_source",
    "source_includes": "_source_includes",
    "source_excludes": "_source_excludes",
}
KEYWORDS = {name: keyword for keyword, name in _IN_ADDRESS.items()}
"""Name in an address → keyword, where they differ."""

# Stack traces quote the request as it was sent; what is pretty is made so here.
_NEVER = names("body context error_trace pretty id index scroll_id")
# Parts of a search's body that its address may have, too.
_OF_SEARCH = names(
    """
    docvalue_fields explain from_ min_score seq_no_primary_term size sort source stats stored_fields
    terminate_after timeout track_scores track_total_hits version
    """
)
_LISTS = names("docvalue_fields stats stored_fields")


def _keywords(of: type, in_body: str = "") -> Mapping[str, Reader]:
    """The parameters of a call, by its keywords without those that its body has."""
    left_out = _NEVER | names(in_body)
    return {
        _IN_ADDRESS.get(keyword, keyword): _list if keyword in _LISTS else _reader(annotation)
        for keyword, annotation in get_type_hints(of).items()
        if keyword not in left_out
    }


def _plain(texts: str = "", flags: str = "", numbers: str = "") -> Mapping[str, Reader]:
    """The parameters of a call that is passed on."""
    return {
        **dict.fromkeys(texts.split(), _text),
        **dict.fromkeys(flags.split(), _flag),
        **dict.fromkeys(numbers.split(), partial(_number, int)),
        "filter_path": _text,
    }


def _routes(
    methods: str,
    path: str,
    call: str,
    takes: Takes = Takes.NOTHING,
    parameters: Mapping[str, Reader] | None = None,
    body_keys: str | None = None,
    **more: Any,
) -> list[Route]:
    """The routes of a call; a part of the path in brackets may be left out."""
    before, _, rest = path.partition("[")
    optional, _, after = rest.partition("]")
    keys = None if body_keys is None else names(body_keys)
    return [
        Route(
            frozenset(methods.split()),
            tuple(part for part in (before + middle + after).split("/") if part),
            call,
            takes,
            parameters or {},
            keys,
            **more,
        )
        for middle in dict.fromkeys(("", optional))
    ]


_OBJECT, _LINES, _BOTH = Takes.OBJECT, Takes.LINES, "GET POST"
_ONE_SCROLL = "/_search/scroll[/{scroll_id}]"
_IN_SEARCH = " ".join(keywords.SearchBody.__annotations__.keys() - _OF_SEARCH)
_SEARCH = {**_keywords(keywords.Search, _IN_SEARCH), "sort": _text}
_COUNT = _keywords(keywords.Count, "query stats")
_MSEARCH = _keywords(keywords.Msearch, "searches")
_TEMPLATE = _keywords(keywords.SearchTemplate, "params source")
_SCROLL = _keywords(keywords.Scroll)
_CLEAR = _keywords(keywords.ClearScroll)
_OPEN = _keywords(keywords.OpenPointInTime, "index_filter")
_EXPLAIN = _keywords(keywords.Explain, "query")
_MGET = _keywords(keywords.Mget, "docs ids")
_VECTORS = _keywords(keywords.Termvectors, "filter per_field_analyzer")
_MTERMVECTORS = _keywords(keywords.Mtermvectors, "docs")
_TO_VECTORS = """
    fields field_statistics filter offsets payloads per_field_analyzer positions term_statistics
"""
_FOUND = _plain(flags="allow_no_indices ignore_unavailable local")
_HEALTH = _plain("timeout wait_for_status", "local")

_TO_UPDATE = "_source detect_noop doc doc_as_upsert script scripted_upsert upsert"
_UPDATE = _keywords(keywords.Update, "detect_noop doc doc_as_upsert script scripted_upsert upsert")
_WRITTEN = "refresh routing timeout wait_for_active_shards"
_WHEN = "if_primary_term if_seq_no version"
_INDEX = _plain(f"{_WRITTEN} op_type pipeline version_type", "require_alias", _WHEN)
_CREATE = _plain(f"{_WRITTEN} pipeline version_type", "require_alias", "version")
_DELETE = _plain(f"{_WRITTEN} version_type", numbers=_WHEN)
_BULK = _plain(f"{_WRITTEN} pipeline", "require_alias")
_REFRESH = _plain(flags="allow_no_indices ignore_unavailable")


def _point_in_time(body: Json) -> Json:
    """The one that OpenSearch's clients name in a list."""
    ids = as_list(body.get("pit_id"))
    if len(ids) != 1:
        raise malformed("one point in time is closed at a time; give its id as 'pit_id'")
    return {"id": ids[0]}


def _opened(answer: Json, _arguments: Json) -> Json:
    return {**answer, "pit_id": answer["id"]} if "id" in answer else answer


def _closed(answer: Json, arguments: Json) -> Json:
    closed = {"pit_id": arguments["body"]["id"], "successful": answer.get("succeeded", False)}
    return {"pits": [closed]}


ROUTES = [
    *_routes("GET HEAD", "/", "info", parameters=_plain()),
    *_routes("GET", "/_cluster/health", "cluster.health", parameters=_HEALTH),
    *_routes("HEAD", "/{index}", "indices.exists", parameters=_FOUND),
    *_routes("GET", "/{index}/_mapping", "indices.get_mapping", parameters=_FOUND),
    *_routes(_BOTH, "[/{index}]/_search", "search", _OBJECT, _SEARCH),
    *_routes(_BOTH, "[/{index}]/_msearch", "msearch", _LINES, _MSEARCH, body_as="searches"),
    *_routes(_BOTH, "[/{index}]/_count", "count", _OBJECT, _COUNT),
    *_routes(
        _BOTH,
        "[/{index}]/_search/template",
        "search_template",
        _OBJECT,
        _TEMPLATE,
        "explain id params profile source",
    ),
    *_routes(_BOTH, _ONE_SCROLL, "scroll", _OBJECT, _SCROLL, "scroll scroll_id"),
    *_routes("DELETE", _ONE_SCROLL, "clear_scroll", _OBJECT, _CLEAR, "scroll_id"),
    *_routes("POST", "/{index}/_pit", "open_point_in_time", _OBJECT, _OPEN, "index_filter"),
    *_routes("DELETE", "/_pit", "close_point_in_time", _OBJECT, body_keys="id"),
    *_routes(
        "POST",
        "/{index}/_search/point_in_time",
        "open_point_in_time",
        parameters=_OPEN,
        told=_opened,
    ),
    *_routes(
        "DELETE",
        "/_search/point_in_time",
        "close_point_in_time",
        _OBJECT,
        body_keys="pit_id",
        read_body=_point_in_time,
        told=_closed,
    ),
    *_routes("GET", "/{index}/_doc/{id}", "get", parameters=_keywords(keywords.Get)),
    *_routes("HEAD", "/{index}/_doc/{id}", "exists", parameters=_keywords(keywords.Exists)),
    *_routes(
        "GET", "/{index}/_source/{id}", "get_source", parameters=_keywords(keywords.GetSource)
    ),
    *_routes(
        "HEAD",
        "/{index}/_source/{id}",
        "exists_source",
        parameters=_keywords(keywords.ExistsSource),
    ),
    *_routes(_BOTH, "[/{index}]/_mget", "mget", _OBJECT, _MGET, "docs ids"),
    *_routes(_BOTH, "/{index}/_explain/{id}", "explain", _OBJECT, _EXPLAIN, "query"),
    *_routes(_BOTH, "/{index}/_termvectors/{id}", "termvectors", _OBJECT, _VECTORS, _TO_VECTORS),
    *_routes(_BOTH, "[/{index}]/_mtermvectors", "mtermvectors", _OBJECT, _MTERMVECTORS, "docs ids"),
    *_routes(
        "PUT POST",
        "/{index}/_doc/{id}",
        "index",
        _OBJECT,
        _INDEX,
        body_as="document",
        writes=True,
    ),
    *_routes("POST", "/{index}/_doc", "index", _OBJECT, _INDEX, body_as="document", writes=True),
    *_routes(
        "PUT POST",
        "/{index}/_create/{id}",
        "create",
        _OBJECT,
        _CREATE,
        body_as="document",
        writes=True,
    ),
    *_routes("POST", "/{index}/_update/{id}", "update", _OBJECT, _UPDATE, _TO_UPDATE, writes=True),
    *_routes("DELETE", "/{index}/_doc/{id}", "delete", parameters=_DELETE, writes=True),
    *_routes(
        "PUT POST", "[/{index}]/_bulk", "bulk", _LINES, _BULK, body_as="operations", writes=True
    ),
    *_routes(_BOTH, "/{index}/_refresh", "indices.refresh", parameters=_REFRESH, writes=True),
]
"""All calls. What writes is for callers that may."""

_BY_LENGTH: dict[int, list[Route]] = defaultdict(list)
for _each in ROUTES:
    _BY_LENGTH[len(_each.path)].append(_each)
