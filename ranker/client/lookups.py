"""Queries that look into a document by its id: it is read here, and what it says is sent instead.

``more_like_this`` takes the text of a document, ``terms`` its values, ``percolate`` all of it, and
``geo_shape`` and ``shape`` a shape in it. The engine would read any document. Read here, one that
the level hides is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

from elastic_transport import ApiResponseMeta, ObjectApiResponse

from saferank.errors import UnsafeRequest
from saferank.mappings.paths import places
from saferank.ranker.bodies import LISTS, Json, Query, an_object, as_list
from saferank.ranker.client import reads
from saferank.ranker.client.flow import Knowledge, Plan
from saferank.ranker.client.indices import one_text
from saferank.ranker.level.decision import Decision
from saferank.ranker.rewrite.query import ReadsDocument, is_by_id

P = ParamSpec("P")
R = TypeVar("R")

_NOTHING: Query = {"match_none": {}}
# Where a document is, as ``mget`` takes it, and as a lookup says it.
_PLACE = ("_index", "_id", "routing")
_WHERE = ("index", "id", "routing")
# What an item of ``more_like_this`` may have besides.
_KEPT = ("fields", "per_field_analyzer")


def reading_documents(
    plan: Callable[Concatenate[Decision, Knowledge, P], Plan[R]],
) -> Callable[Concatenate[Decision, Knowledge, P], Plan[R]]:
    """The same plan, which takes queries that look into documents, too."""

    @wraps(plan)
    def reading(
        decision: Decision, knowledge: Knowledge, /, *args: P.args, **arguments: P.kwargs
    ) -> Plan[R]:
        try:
            return (yield from plan(decision, knowledge, *args, **arguments))
        except ReadsDocument as refusal:  # Nothing has been searched yet.
            read = yield from _reading(arguments, refusal, decision, knowledge)
        rest: Any = read_everywhere(arguments, read)
        return (yield from plan(decision, knowledge, *args, **rest))

    return reading


def reading_documents_of_each(
    plan: Callable[Concatenate[Decision, Knowledge, P], Plan[ObjectApiResponse[Any]]],
) -> Callable[Concatenate[Decision, Knowledge, P], Plan[ObjectApiResponse[Any]]]:
    """The same for the plan of an ``msearch``: only the search that cannot be read for fails."""

    @wraps(plan)
    def reading(
        decision: Decision, knowledge: Knowledge, /, *args: P.args, **arguments: P.kwargs
    ) -> Plan[ObjectApiResponse[Any]]:
        try:
            return (yield from plan(decision, knowledge, *args, **arguments))
        except ReadsDocument as refusal:
            read = yield from _reading(arguments, refusal, decision, knowledge)
        name = "searches" if arguments.get("searches") else "body"
        lines: Any = arguments[name]
        sent, failed = [], {}
        for number, (header, body) in enumerate(zip(lines[::2], lines[1::2], strict=True)):
            try:
                index = header.get("index", arguments.get("index"))
                sent += [header, _inside(body, index, read)]
            except _NotRead as error:
                failed[number] = error.answer
        if not sent:
            nothing: Json = {"took": 0, "responses": [*failed.values()]}
            return ObjectApiResponse(nothing, read.meta)
        rest: Any = {**arguments, name: sent}
        response = yield from plan(decision, knowledge, *args, **rest)
        answers = iter(response.body["responses"])
        responses = [failed.get(number) or next(answers) for number in range(len(lines) // 2)]
        return ObjectApiResponse({**response.body, "responses": responses}, response.meta)

    return reading


_Place = tuple[Any, ...]
"""Where a document is: the values of ``_PLACE``."""


def _place(kind: str, item: Json) -> _Place:
    """Where the document of an item is."""
    name, index = item.get("_id"), one_text(item.get("_index"))
    reads.check_id(name, kind)
    if not index or any(sign in index for sign in "*,"):
        raise UnsafeRequest(kind, f"name the one index that document {name!r} is in")
    return index, name, one_text(item.get("routing"))


class _NotRead(UnsafeRequest):
    """A document cannot be read.

    Attributes:
        answer: what an ``msearch`` has in the place of the search that needs it.
    """

    def __init__(self, kind: str, place: _Place, error: Json) -> None:
        index, name, _ = place
        missing = error["type"] == "index_not_found_exception"
        self.answer: Json = {"error": error, "status": 404 if missing else 400}
        super().__init__(
            kind,
            f"document {name!r} cannot be read from {index!r} ({error['reason']}); name the "
            "'_index' that it is in",
        )


class _Documents:
    """The documents that were read, as ``read_everywhere`` asks for them.

    Args:
        found: what ``mget`` said of each.
        meta: of its answer.
    """

    def __init__(self, found: Mapping[_Place, Json], meta: ApiResponseMeta) -> None:
        self._found = found
        self.meta = meta

    def __call__(self, kind: str, item: Json) -> Json:
        place = _place(kind, item)
        document = self._found[place]
        if "error" in document:
            raise _NotRead(kind, place, document["error"])
        if document["found"] and "_source" not in document:
            index, name, _ = place
            raise UnsafeRequest(kind, f"index {index!r} keeps no '_source' of document {name!r}")
        return document


def _reading(
    arguments: Mapping[str, Any], refusal: ReadsDocument, decision: Decision, knowledge: Knowledge
) -> Plan[_Documents]:
    """Read the documents that a search names by id.

    Raises:
        ReadsDocument: the refusal: what looks into a document is nothing that is understood.
    """
    places: dict[_Place, None] = {}

    def note(kind: str, item: Json) -> Json:
        places[_place(kind, item)] = None
        return _UNKNOWN

    read_everywhere(arguments, note)
    if not places:
        raise refusal
    docs = [dict(zip(_PLACE, place, strict=True)) for place in places]
    docs = [{key: value for key, value in doc.items() if value is not None} for doc in docs]
    answer = yield from reads.mget(decision, knowledge, docs=docs)
    return _Documents(dict(zip(places, answer.body["docs"], strict=True)), answer.meta)


def without_documents(arguments: Mapping[str, Any]) -> Json:
    """The arguments of a search as if no document that they name by id were there."""
    return read_everywhere(arguments, lambda _kind, _item: _UNKNOWN)


Read = Callable[[str, Json], Json]
"""Takes a kind of query and the place of a document, and gives the document as ``mget`` does."""
_UNKNOWN: Json = {"found": False}


def read_everywhere(arguments: Mapping[str, Any], read: Read) -> Json:
    """Arguments with every query in them that looks into a document made one that does not."""
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


def _inside(value: Any, index: Any, read: Read) -> Any:
    if isinstance(value, LISTS):
        return [_inside(item, index, read) for item in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        ((kind, body),) = value.items()
        if kind in _KINDS and isinstance(body, dict):
            return _KINDS[kind](kind, body, index, read)
    return {name: _inside(item, index, read) for name, item in value.items()}


def _of_texts(kind: str, body: Json, index: Any, read: Read) -> Query:
    """A ``more_like_this`` that finds what it would find by id."""
    result, ids = dict(body), []
    # Of a document that is given, the engine compares all fields unless the item names some.
    fields = {"fields": body["fields"]} if "fields" in body else {}
    for name in ("like", "unlike"):
        items = as_list(body.get(name))
        if by_id := [item for item in items if is_by_id(item)]:
            for item in by_id:
                _check_keys(item, f"{kind}.{name}", (*_PLACE, *_KEPT))
            texts = [
                _text({**fields, **item}, read(kind, {"_index": index, **item})) for item in by_id
            ]
            result[name] = [item for item in items if not is_by_id(item)] + texts
        if name == "like" and not body.get("include"):
            ids = [item.get("_id") for item in by_id]
    query = {kind: result}
    # As the engine does, whichever index a document of that name is in.
    return {"bool": {"must": [query], "must_not": [{"ids": {"values": ids}}]}} if ids else query


def _text(item: Json, document: Json) -> Json:
    """An item that is as similar as the document is."""
    kept = {key: item[key] for key in _KEPT if key in item}
    if not document["found"]:
        return {"doc": {}, **kept}
    return {"_index": document["_index"], "doc": document["_source"], **kept}


def _of_values(kind: str, body: Json, _index: Any, read: Read) -> Query:
    """A ``terms`` of the values that documents have."""
    result = dict(body)
    for field, value in body.items():
        # There is an aggregation of this name, too, with other objects in it.
        if isinstance(value, dict) and value.keys() >= _LOOKUP:
            result[field] = list(_looked_up(f"{kind}.{field}", value, read))
    return {kind: result}


_LOOKUP = {"id", "index", "path"}


def _of_shape(kind: str, body: Json, _index: Any, read: Read) -> Query:
    """A query of shapes that are given; of one that is not there it finds nothing."""
    result = dict(body)
    for field, value in body.items():
        if isinstance(value, dict) and "indexed_shape" in value:
            here = f"{kind}.{field}.indexed_shape"
            lookup = {**_SHAPE, **an_object(value["indexed_shape"], here)}
            shape = next(_looked_up(here, lookup, read), None)
            if shape is None:
                return _NOTHING
            rest = {key: item for key, item in value.items() if key != "indexed_shape"}
            result[field] = {**rest, "shape": shape}
    return {kind: result}


# What the engine takes where a lookup says nothing.
_SHAPE = {"index": "shapes", "path": "shape"}


def _of_content(kind: str, body: Json, _index: Any, read: Read) -> Query:
    """A ``percolate`` of a document that is given; one that is not there is found by nothing."""
    if "id" not in body:
        return {kind: body}
    rest = {key: value for key, value in body.items() if key not in _WHERE}
    _check_keys(rest, kind, ("_name", "boost", "field", "name", "preference"))
    document = read(kind, _named(body))
    return {kind: {**rest, "document": document["_source"]}} if document["found"] else _NOTHING


def _looked_up(key: str, lookup: Json, read: Read) -> Iterator[Any]:
    """The values that a lookup finds in its document."""
    _check_keys(lookup, key, (*_WHERE, "path"))
    document = read(key, _named(lookup))
    found = places(document.get("_source"), str(lookup["path"]))
    return (value for parent, key in found for value in _each(parent[key]))


def _named(lookup: Json) -> Json:
    return dict(zip(_PLACE, map(lookup.get, _WHERE), strict=True))


def _each(value: Any) -> Iterator[Any]:
    """A value, or those of a list one by one; null is none to the engine, a blank text is one."""
    if isinstance(value, list):
        for item in value:
            yield from _each(item)
    elif value is not None:
        yield value


def _check_keys(item: Json, key: str, known: Collection[str]) -> None:
    for name in item:
        if name not in known:
            raise UnsafeRequest(f"{key}.{name}", "this key is not known to be safe")


_KINDS: dict[str, Callable[[str, Json, Any, Read], Query]] = {
    "geo_shape": _of_shape,
    "more_like_this": _of_texts,
    "percolate": _of_content,
    "shape": _of_shape,
    "terms": _of_values,
}
