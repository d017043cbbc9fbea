"""``more_like_this`` by id: the document is read here, and its text is sent instead of its id.

The engine would read any document. Read here, one that the level hides is missing, and nothing is
like a missing one, as ever.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

from saferank.errors import UnsafeRequest
from saferank.ranker.bodies import LISTS, Json, Query, as_list
from saferank.ranker.client import reads
from saferank.ranker.client.flow import Knowledge, Plan
from saferank.ranker.client.indices import one_text
from saferank.ranker.level.decision import Decision
from saferank.ranker.rewrite.query import ReadsDocument, is_by_id

P = ParamSpec("P")
R = TypeVar("R")

_KIND = "more_like_this"
# What an item by id may have besides the id.
_PLACE = ("_index", "_id", "routing")
_KEPT = ("fields", "per_field_analyzer")


def reading_documents(
    plan: Callable[Concatenate[Decision, Knowledge, P], Plan[R]],
) -> Callable[Concatenate[Decision, Knowledge, P], Plan[R]]:
    """The same plan, which takes ``more_like_this`` by id, too."""

    @wraps(plan)
    def reading(
        decision: Decision, knowledge: Knowledge, /, *args: P.args, **arguments: P.kwargs
    ) -> Plan[R]:
        try:
            return (yield from plan(decision, knowledge, *args, **arguments))
        except ReadsDocument:  # Nothing has been searched yet.
            with_texts: Any = yield from _with_texts(arguments, decision, knowledge)
        return (yield from plan(decision, knowledge, *args, **with_texts))

    return reading


_Place = tuple[Any, ...]
"""Where a document is: the values of ``_PLACE``."""


def _place(item: Json, index: Any) -> _Place:
    """Where the document of an item is, in a search of this index."""
    for key in item:
        if key not in (*_PLACE, *_KEPT):
            raise UnsafeRequest(f"{_KIND}.{key}", "this key is not known to be safe")
    name = item.get("_id")
    index = one_text(item.get("_index", index))
    if not index or any(sign in index for sign in "*,"):
        raise UnsafeRequest(_KIND, f"name the '_index' of document {name!r}")
    if not isinstance(name, str | int):
        raise UnsafeRequest(f"{_KIND}._id", f"an id is text; {name!r} is not")
    return index, name, one_text(item.get("routing"))


def _with_texts(
    arguments: Mapping[str, Any], decision: Decision, knowledge: Knowledge
) -> Plan[Json]:
    """The arguments of a search, with the text of each document in the place of its id."""
    places: dict[_Place, None] = {}

    def note(items: list[Json], index: Any) -> list[Json]:
        places.update(dict.fromkeys(_place(item, index) for item in items))
        return [_UNKNOWN] * len(items)

    _everywhere(arguments, note)
    docs = [dict(zip(_PLACE, place, strict=True)) for place in places]
    docs = [{key: value for key, value in doc.items() if value is not None} for doc in docs]
    answer = yield from reads.mget(decision, knowledge, docs=docs)
    found = dict(zip(places, answer.body["docs"], strict=True))
    for place, document in found.items():
        _check_read(place, document)

    def read(items: list[Json], index: Any) -> list[Json]:
        return [found[_place(item, index)] for item in items]

    return _everywhere(arguments, read)


def without_documents(arguments: Mapping[str, Any]) -> Json:
    """The arguments of a search as if no document that they name by id were there."""
    return _everywhere(arguments, lambda items, _index: [_UNKNOWN] * len(items))


def _check_read(place: _Place, document: Json) -> None:
    index, name, _ = place
    if "error" in document:
        reason = document["error"]["reason"]
        raise UnsafeRequest(
            _KIND,
            f"document {name!r} cannot be read from {index!r} ({reason}); name the '_index' that "
            "it is in",
        )
    if document["found"] and "_source" not in document:
        raise UnsafeRequest(_KIND, f"index {index!r} keeps no '_source' of document {name!r}")


_Read = Callable[[list[Json], Any], list[Json]]
"""Takes items by id and the index searched, and gives their documents as ``mget`` does."""
_UNKNOWN: Json = {"found": False}


def _everywhere(arguments: Mapping[str, Any], read: _Read) -> Json:
    """Arguments with every ``more_like_this`` in them made one of texts."""
    index = arguments.get("index")
    result = {}
    for name, value in arguments.items():
        if name in ("searches", "body") and isinstance(value, LISTS):
            pairs = zip(value[::2], value[1::2], strict=True)
            result[name] = [
                part
                for header, body in pairs
                for part in (header, _inside(body, header.get("index", index), read))
            ]
        else:
            result[name] = _inside(value, index, read)
    return result


def _inside(value: Any, index: Any, read: _Read) -> Any:
    if isinstance(value, LISTS):
        return [_inside(item, index, read) for item in value]
    if not isinstance(value, dict):
        return value
    if isinstance(body := value.get(_KIND), dict):
        return _of_texts(body, index, read)
    return {name: _inside(item, index, read) for name, item in value.items()}


def _of_texts(body: Json, index: Any, read: _Read) -> Query:
    """A ``more_like_this`` that finds what it would find by id."""
    result, ids = dict(body), []
    # Of a document that is given, the engine compares all fields unless the item names some.
    fields = {"fields": body["fields"]} if "fields" in body else {}
    for name in ("like", "unlike"):
        items = as_list(body.get(name))
        if by_id := [item for item in items if is_by_id(item)]:
            pairs = zip(by_id, read(by_id, index), strict=True)
            texts = [_text({**fields, **item}, document) for item, document in pairs]
            result[name] = [item for item in items if not is_by_id(item)] + texts
        if name == "like" and not body.get("include"):
            ids = [item.get("_id") for item in by_id]
    query = {_KIND: result}
    # As the engine does, whichever index a document of that name is in.
    return {"bool": {"must": [query], "must_not": [{"ids": {"values": ids}}]}} if ids else query


def _text(item: Json, document: Json) -> Json:
    """An item that is as similar as the document is."""
    kept = {key: item[key] for key in _KEPT if key in item}
    if not document["found"]:
        return {"doc": {}, **kept}
    return {"_index": document["_index"], "doc": document["_source"], **kept}
