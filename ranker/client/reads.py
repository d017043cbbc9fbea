"""Reads of single documents by id: a hidden document answers as one that is not there.

A document is read and judged by what the index has of it (see ``judging``). What is hidden is then
asked for by an id that no document has, so that the answer is the engine's own to a missing one.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar, Unpack

from elastic_transport import ApiResponse, HeadApiResponse, ObjectApiResponse
from elasticsearch import ApiError, NotFoundError

from saferank.errors import UnsafeRequest
from saferank.ranker.bodies import Json, an_object, as_list, as_object, names
from saferank.ranker.client import keywords
from saferank.ranker.client.arguments import parse_request, with_body
from saferank.ranker.client.flow import Call, Knowledge, Plan
from saferank.ranker.client.indices import Target, one_text
from saferank.ranker.client.judging import ATTEMPTS, judged, same_version
from saferank.ranker.hits import KEY
from saferank.ranker.level.decision import Decision
from saferank.ranker.rewrite.search import rewrite_search
from saferank.ranker.rewrite.traces import NO_MATCH, check_explained, without_others

R = TypeVar("R", bound=ApiResponse[Any])
"""What the Elasticsearch client gives for a call."""

# What a read for judging has in common with the read that it is for.
_WHERE = ("index", "id", "routing", "preference", "realtime", "refresh")
_NAMES = ("index", "id")
# With one of these an answer tells more of versions than whether the document is there.
_OF_VERSION = names("version version_type")
_NOBODY = f"saferank-{uuid.uuid4().hex}"
"""An id that no document has."""
# Parameters of ``explain`` that ask for the document as well; of a search's body they are parts.
_CONTENT = names(
    """
    _source _source_excludes _source_includes source source_excludes source_includes stored_fields
    """
)


def get(
    decision: Decision, knowledge: Knowledge, **arguments: Unpack[keywords.Get]
) -> Plan[ObjectApiResponse[Any]]:
    """``client.get``."""
    if not _is_whole(arguments):
        return (yield from _through("get", arguments, decision, knowledge))
    response, told = yield from _read(arguments, decision, knowledge)
    if told is None:
        return (yield from _as_missing("get", arguments))
    return _with_body(response, {**response.body, KEY: told})


def get_source(
    decision: Decision, knowledge: Knowledge, **arguments: Unpack[keywords.GetSource]
) -> Plan[ApiResponse[Any]]:
    """``client.get_source``."""
    if _is_whole(arguments):
        try:
            response, told = yield from _read(arguments, decision, knowledge)
        except NotFoundError:
            told = None
        if told is None:
            return (yield from _as_missing("get_source", arguments))
        if "_source" in response.body:
            return ObjectApiResponse(body=response.body["_source"], meta=response.meta)
    return (yield from _through("get_source", arguments, decision, knowledge))


def exists(
    decision: Decision, knowledge: Knowledge, **arguments: Unpack[keywords.Exists]
) -> Plan[HeadApiResponse]:
    """``client.exists``: false for a hidden document."""
    if not _is_whole(arguments):
        return (yield from _through("exists", arguments, decision, knowledge))
    try:
        response, told = yield from _read(_state(arguments), decision, knowledge)
    except NotFoundError:
        told = None
    if told is None:
        return (yield from _as_missing("exists", arguments))
    return HeadApiResponse(meta=response.meta)


def exists_source(
    decision: Decision, knowledge: Knowledge, **arguments: Unpack[keywords.ExistsSource]
) -> Plan[HeadApiResponse]:
    """``client.exists_source``: false for a hidden document."""
    return (yield from _through("exists_source", arguments, decision, knowledge))


def explain(
    decision: Decision, knowledge: Knowledge, **arguments: Unpack[keywords.Explain]
) -> Plan[ObjectApiResponse[Any]]:
    """``client.explain``: how a document that is shown got its score, its demotion included."""
    beside = {"id", *_CONTENT}
    request = parse_request({key: item for key, item in arguments.items() if key not in beside})
    content = {key: item for key, item in arguments.items() if key in beside}
    sent: Json = {**request.parameters, **content}
    check_explained(request.body, "query", decision)
    sent["body"] = {"query": rewrite_search(request.body, decision)["query"]}
    response: ObjectApiResponse[Any] = yield from _through("explain", sent, decision, knowledge)
    found = response.body.get("explanation")
    if found is None or not decision.hidden:
        return response
    told = without_others(found) if response.body["matched"] else NO_MATCH
    return _with_body(response, {**response.body, "explanation": told})


def termvectors(
    decision: Decision, knowledge: Knowledge, **arguments: Unpack[keywords.Termvectors]
) -> Plan[ObjectApiResponse[Any]]:
    """``client.termvectors`` of a document by id."""
    if "doc" in with_body(arguments) or arguments.get("id") is None:
        raise UnsafeRequest("doc", "only term vectors of stored documents, by 'id'")
    # The engine knows statistics by other spellings, too, which are refused for what they are.
    _without_statistics(with_body(arguments), decision)
    given = _without_statistics(with_body(arguments, keywords.Termvectors), decision)
    return (yield from _through("termvectors", given, decision, knowledge))


def mget(
    decision: Decision, knowledge: Knowledge, **arguments: Unpack[keywords.Mget]
) -> Plan[ObjectApiResponse[Any]]:
    """``client.mget``: hidden documents are ``found: false``, in their places."""
    documents, rest = _documents(arguments, keywords.Mget)
    if not all(map(_is_whole, (rest, *documents))):
        return (yield from _all_through("mget", documents, rest, decision, knowledge))
    response, told = yield from _read_all(documents, rest, decision, knowledge)
    pairs = zip(response.body["docs"], told, strict=True)
    docs = [{**found, KEY: item} if item else found for found, item in pairs]
    if hidden := [place for place, item in enumerate(told) if item is None]:
        asked = [documents[place] for place in hidden]
        missing = yield from _call_all("mget", asked, rest, [None] * len(asked))
        for place, answer in zip(hidden, missing.body["docs"], strict=True):
            docs[place] = answer
    return _with_body(response, {**response.body, "docs": docs})


def mtermvectors(
    decision: Decision, knowledge: Knowledge, **arguments: Unpack[keywords.Mtermvectors]
) -> Plan[ObjectApiResponse[Any]]:
    """``client.mtermvectors`` of documents by id."""
    documents, rest = _documents(arguments, keywords.Mtermvectors)
    for document in documents:
        if "doc" in document:
            raise UnsafeRequest("docs", "only term vectors of stored documents, by '_id'")
        _without_statistics(document, decision)
    rest = _without_statistics(rest, decision)
    return (yield from _all_through("mtermvectors", documents, rest, decision, knowledge))


def update(
    _knowledge: Knowledge, **arguments: Unpack[keywords.Update]
) -> Plan[ObjectApiResponse[Any]]:
    """``client.update``, as long as it does not ask for the document back."""
    _refuse_document_back(arguments)
    _refuse_document_back(with_body({"body": arguments.get("body")}))
    response: ObjectApiResponse[Any] = yield Call("update", dict(arguments))
    return response


def bulk(_knowledge: Knowledge, **arguments: Unpack[keywords.Bulk]) -> Plan[ObjectApiResponse[Any]]:
    """``client.bulk``, as long as no update in it asks for the document back."""
    _refuse_document_back(arguments)
    name = "body" if arguments.get("operations") is None else "operations"
    given: Any = arguments.get(name) or ()
    if not isinstance(given, str | bytes | Iterable):
        raise UnsafeRequest(name, "give the operations as a list")
    operations = given if isinstance(given, str | bytes) else list(given)
    for line in [operations] if isinstance(operations, str | bytes) else operations:
        if _asks_for_source(line):
            raise UnsafeRequest(name, _DOCUMENT_BACK)
    response: ObjectApiResponse[Any] = yield Call("bulk", {**arguments, name: operations})
    return response


_DOCUMENT_BACK = "an update that returns the document; read it with 'get'"
_SOURCE_KEYS = (
    "source",
    "_source",
    "source_includes",
    "source_excludes",
    "_source_includes",
    "_source_excludes",
)


def _refuse_document_back(options: Mapping[str, Any]) -> None:
    # The engine takes whatever is given for a wish, an empty list or text too.
    for key in _SOURCE_KEYS:
        given = options.get(key)
        if not (given is None or (given is False and key in _SOURCE_KEYS[:2])):
            raise UnsafeRequest(key, _DOCUMENT_BACK)


def _asks_for_source(line: Any) -> bool:
    """Whether a line of a bulk, an object or JSON, has this key; no field can be called so."""
    if isinstance(line, bytes | str):
        try:
            text = line.decode() if isinstance(line, bytes) else line
            # JSON can also spell the key with escapes.
            lines = [part for part in text.split("\n") if "_source" in part or "\\u" in part]
            return any(_asks_for_source(json.loads(part)) for part in lines)
        except ValueError:
            return True  # What cannot be read is not known to be safe.
    if not isinstance(line, Mapping):
        return False
    return "_source" in line or any(
        isinstance(value, Mapping) and "_source" in value for value in line.values()
    )


def _without_statistics(options: Json, decision: Decision) -> Json:
    """Options of term vectors without counts over all documents, hidden ones among them.

    Raises:
        UnsafeRequest: such counts are asked for.
    """
    if not decision.hidden:
        return options
    kept = {key: value for key, value in options.items() if not _STATISTICS.fullmatch(key)}
    for key in options.keys() - kept.keys():
        if options[key] not in (None, False, "false"):
            raise UnsafeRequest(key, "it counts hidden documents, too")
    return {**kept, "field_statistics": False}


# The engine takes both spellings. A filter keeps words by the number of documents that have them.
_STATISTICS = re.compile("(term|field)_?statistics|filter", re.IGNORECASE)


def _read(
    arguments: Mapping[str, Any], decision: Decision, knowledge: Knowledge
) -> Plan[tuple[ObjectApiResponse[Any], Json | None]]:
    """Read a document by ``get``, and say what the level does to it; None when it is hidden.

    Raises:
        NotFoundError: there is no such document, or no such index.
    """
    check_id(arguments.get("id"), "id")
    target = Target(one_text(arguments.get("index")))
    response, (told,) = yield from judged("get", arguments, [target], decision, knowledge)
    return response, told


def _read_all(
    documents: Sequence[Json], rest: Json, decision: Decision, knowledge: Knowledge
) -> Plan[tuple[ObjectApiResponse[Any], list[Json | None]]]:
    """Read documents by ``mget``, and say what the level does to each; see ``judged``."""
    targets = [Target(one_text(item.get("_index", rest.get("index")))) for item in documents]
    arguments = {**rest, "docs": documents}
    return (yield from judged("mget", arguments, targets, decision, knowledge))


def _through(
    method: str, arguments: Mapping[str, Any], decision: Decision, knowledge: Knowledge
) -> Plan[R]:
    """Send a read whose own answer is not enough to judge it, once its document has been judged."""
    for _ in range(ATTEMPTS):
        try:
            found, told = yield from _read(_state(arguments), decision, knowledge)
        except NotFoundError:
            told = None
        if told is None:
            break
        response: R = yield Call(method, dict(arguments))
        answer = as_object(response.body)
        if same_version(found.body, as_object(answer.get("get")) or answer):
            return _with_body(response, {**answer, KEY: told}) if method == "get" else response
    return (yield from _as_missing(method, arguments))


def _all_through(
    method: str, documents: Sequence[Json], rest: Json, decision: Decision, knowledge: Knowledge
) -> Plan[ObjectApiResponse[Any]]:
    """The same for several documents in one call."""
    keys = ("_index", "_id", "routing")
    plain = [{key: item[key] for key in keys if key in item} for item in documents]
    for _ in range(ATTEMPTS):
        found, told = yield from _read_all(plain, _state(rest), decision, knowledge)
        response = yield from _call_all(method, documents, rest, told)
        answers = zip(found.body["docs"], response.body["docs"], told, strict=True)
        if all(same_version(before, after) for before, after, item in answers if item):
            return response
    return (yield from _call_all(method, documents, rest, [None] * len(documents)))


def _call_all(
    method: str, documents: Sequence[Json], rest: Json, told: Sequence[Json | None]
) -> Plan[ObjectApiResponse[Any]]:
    """Read documents of which those that nothing is told of come as missing."""
    stand_ins = {f"{_NOBODY}-{place:08}": str(item["_id"]) for place, item in enumerate(documents)}
    asked = [
        document if item else {**document, "_id": nobody}
        for document, item, nobody in zip(documents, told, stand_ins, strict=True)
    ]
    response: ObjectApiResponse[Any] = yield Call(method, {**rest, "docs": asked})
    return _with_body(response, _renamed(response.body, stand_ins))


def _as_missing(method: str, arguments: Mapping[str, Any]) -> Plan[R]:
    """The engine's answer to a read of a document that is not there, under the id asked for."""
    stand_in = {_NOBODY: str(arguments.get("id"))}
    try:
        response: R = yield Call(method, {**arguments, "id": _NOBODY})
    except ApiError as error:
        message, body = _renamed(error.message, stand_in), _renamed(error.body, stand_in)
        raise type(error)(message=message, meta=error.meta, body=body) from None
    body = as_object(response.body)
    return _with_body(response, _renamed(body, stand_in)) if body else response


def _with_body(response: R, body: Json) -> R:
    return type(response)(body=body, meta=response.meta)


def _renamed(value: Any, stand_ins: Mapping[str, str]) -> Any:
    """A part of an answer with the ids that were asked for in the place of the stand-ins."""
    if isinstance(value, dict):
        return {key: _renamed(item, stand_ins) for key, item in value.items()}
    if isinstance(value, list):
        return [_renamed(item, stand_ins) for item in value]
    if isinstance(value, str) and _NOBODY in value:
        for stand_in, name in stand_ins.items():
            value = value.replace(stand_in, name)
    return value


def _is_whole(arguments: Mapping[str, Any]) -> bool:
    """Whether the answer to a read says what it takes to judge it, and nothing else."""
    source = arguments.get("source", arguments.get("_source"))
    return _OF_VERSION.isdisjoint(arguments) and source not in (False, "false")


def _state(arguments: Mapping[str, Any]) -> Json:
    """The arguments of a read of the same document without its content."""
    # What an address must have is for the client to refuse where it is empty.
    where = {
        key: arguments[key]
        for key in _WHERE
        if key in arguments and (arguments[key] is not None or key in _NAMES)
    }
    # Without a source an answer tells the routing only where it is asked for.
    return {**where, "source": False, "stored_fields": "_routing"}


def check_id(name: Any, key: str) -> None:
    """See that an id is one, which answers give back as it was given.

    Raises:
        UnsafeRequest: it is none.
    """
    if not isinstance(name, str | int) or isinstance(name, bool):
        raise UnsafeRequest(key, f"an id must be text, not {name!r}")


def _documents(
    arguments: Mapping[str, Any], call: type[Mapping[str, Any]]
) -> tuple[list[Json], Json]:
    """The documents that are asked for, each as an object, and the other arguments."""
    rest = with_body({key: item for key, item in arguments.items() if item is not None}, call)
    docs, ids = (as_list(rest.pop(name, None)) for name in ("docs", "ids"))
    documents = [an_object(item, f"docs.{number}") for number, item in enumerate(docs)]
    documents += [{"_id": item} for item in ids]
    for number, document in enumerate(documents):
        check_id(document.get("_id"), f"docs.{number}._id")
    return documents, rest
