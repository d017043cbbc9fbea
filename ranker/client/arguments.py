"""Calls of the Elasticsearch client, split into the body and the parameters around it.

The client takes a search in two forms, as ``body=`` and as keywords, and some keywords are
parameters of the address that change what is found (``q``, ``_source_includes``). Everything that
decides about documents ends up in the body, where the rewriter sees it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from saferank.errors import UnsafeRequest
from saferank.ranker.bodies import Json, as_object
from saferank.ranker.client.indices import Target, one_text
from saferank.ranker.client.keywords import (
    MsearchParameters,
    ResponseParameters,
    SearchBody,
    SearchParameters,
)

_LONGEST = 40  # characters of a keyword

# How the client spells keys of a body that Python or its other keywords have taken.
_ALIASES = {"from_": "from", "source": "_source"}
_BODY_KEYS = frozenset(_ALIASES.get(key, key) for key in SearchBody.__annotations__)
_PARAMETERS = frozenset().union(
    SearchParameters.__annotations__,
    MsearchParameters.__annotations__,
    ResponseParameters.__annotations__,
)
_QUERY_STRING: dict[str, str] = {
    "analyze_wildcard": "analyze_wildcard",
    "analyzer": "analyzer",
    "default_operator": "default_operator",
    "df": "default_field",
    "lenient": "lenient",
}
_SOURCE_LISTS = {
    "source_includes": "includes",
    "_source_includes": "includes",
    "source_excludes": "excludes",
    "_source_excludes": "excludes",
}


@dataclass(slots=True)
class Request:
    """A search or a count.

    Attributes:
        body: the request body, as the application meant it.
        parameters: keywords that go along with the body, ``index`` among them.
        index: the index expression as one text, or None for all indices (or a point in time).
        target: what the request reads.
    """

    body: Json
    parameters: Json
    index: str | None
    target: Target


def _id_of(pit: Any) -> str:
    name = as_object(pit).get("id")
    if not isinstance(name, str):
        raise UnsafeRequest("pit", "it is an object with the 'id' that open_point_in_time gave")
    return name


def with_body(arguments: Mapping[str, Any], call: type[Mapping[str, Any]] | None = None) -> Json:
    """All arguments of a call whose keywords can also be given in a body.

    Args:
        arguments: of the call.
        call: its keywords, see ``keywords``; a key of the body is to be one of them, too.

    Raises:
        UnsafeRequest: the body is no object, has what says how the answer is written, or a key that
            the call does not know.
    """
    given = dict(arguments)
    body = _body_of(given.pop("body", None))
    # An answer that the engine has cut does not say of a document whether it is there.
    if stray := body.keys() & ResponseParameters.__annotations__.keys():
        raise UnsafeRequest(min(stray), "it is a parameter beside the body, and no part of it")
    if call is not None and (strange := body.keys() - call.__annotations__.keys()):
        raise UnsafeRequest(min(strange), "this key is not known to be safe")
    return {**body, **given}


def _body_of(body: Any) -> Mapping[str, Any]:
    if body is None:
        return {}
    if not isinstance(body, dict | Mapping):  # A dictionary is found to be one far sooner.
        raise UnsafeRequest("body", "give it as an object, not as text")
    for key in body:
        if not isinstance(key, str):
            raise UnsafeRequest("body", "its keys must be text")
    return body


def _meant(key: object) -> str:
    """What a misspelt keyword may have been meant to be, to end a sentence; mostly nothing."""
    # Looking takes the square of the length, and anybody can write a long one to a gateway.
    if not isinstance(key, str) or len(key) > _LONGEST:
        return ""
    close = get_close_matches(key, sorted({*_BODY_KEYS, *_PARAMETERS, "context"}), 1, 0.8)
    return f"; perhaps {close[0]!r} was meant" if close else ""


def parse_request(arguments: Mapping[str, Any]) -> Request:
    """Split the keyword arguments of ``client.search`` or ``client.count``.

    Raises:
        UnsafeRequest: a keyword that is not known to be safe, or an index that is no text.
    """
    body = _body_of(arguments.get("body"))
    result: Json = {_ALIASES.get(key, key): value for key, value in body.items()}
    parameters: Json = {}
    query_string: Json = {}
    source: Json = {}
    for key, value in arguments.items():
        if value is None or key == "body":
            continue
        name = _ALIASES.get(key, key)
        if name in _BODY_KEYS:
            if name in result:
                raise TypeError(f"{key!r} is given twice, as a keyword and in the body")
            result[name] = _sort(value) if name == "sort" else value
        elif key in _QUERY_STRING or key == "q":
            query_string["query" if key == "q" else _QUERY_STRING[key]] = value
        elif key in _SOURCE_LISTS:
            patterns = value.split(",") if isinstance(value, str) else value
            source[_SOURCE_LISTS[key]] = patterns
        elif key in _PARAMETERS:
            parameters[key] = value
        else:
            raise UnsafeRequest(key, f"this parameter is not known to be safe{_meant(key)}")
    if "query" in query_string:
        result["query"] = {"query_string": query_string}
    if source:
        result["_source"] = source
    index = one_text(parameters.get("index"))
    if (pit := result.get("pit")) is not None:
        return Request(result, parameters, index, Target(point_in_time=_id_of(pit)))
    target = Target(index, one_text(parameters.get("expand_wildcards")))
    return Request(result, parameters, index, target)


def _sort(value: Any) -> Any:
    """``"field:desc"`` and lists of such, as the address takes them, in the form of a body."""
    if isinstance(value, str):
        return [_sort_key(part) for part in value.split(",")]
    if isinstance(value, list | tuple):
        return [_sort_key(part) if isinstance(part, str) else part for part in value]
    return value


def _sort_key(text: str) -> Any:
    field, colon, order = text.rpartition(":")
    return {field: order} if colon else text
