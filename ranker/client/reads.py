"""Reads of single documents by id: a hidden document answers as one that is not there.

Its safety fields are read first, as fresh as the read itself, and the document is given out only
when the level shows it. A document that changes in between is read again.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Unpack

from elastic_transport import ApiResponse, HeadApiResponse, ObjectApiResponse
from elasticsearch import NotFoundError

from saferank.errors import UnsafeRequest
from saferank.ranker.bodies import Json
from saferank.ranker.client import keywords
from saferank.ranker.client.arguments import parse_request
from saferank.ranker.client.flow import Call, Knowledge, Plan, blocked_elsewhere, check_fields
from saferank.ranker.hits import KEY, states_of
from saferank.ranker.level.decision import Decision
from saferank.ranker.level.verdicts import Action
from saferank.ranker.rewrite.search import rewrite_search
from saferank.ranker.rewrite.traces import check_explained

# What a read of the safety fields has in common with the read it is for.
_WHERE = ("index", "routing", "preference", "realtime", "refresh")
_ATTEMPTS = 5
# Parts of a search's body that are parameters of ``explain``.
_EXPLAIN_PARAMETERS: dict[str, str] = {"_source": "source", "stored_fields": "stored_fields"}


def get(
    decision: Decision, knowledge: Knowledge, **arguments: Unpack[keywords.Get]
) -> Plan[ObjectApiResponse[Any]]:
    """``client.get``."""
    for _ in range(_ATTEMPTS):
        found = yield from _read_shown(arguments, decision, knowledge, _missing_document)
        response = yield Call("get", dict(arguments))
        if _version(response.body) in (_version(found), None):
            body = {**response.body, KEY: _told(found, decision)}
            return ObjectApiResponse(body=body, meta=response.meta)
    raise _not_found(response.meta, _missing_document(arguments))


def get_source(
    decision: Decision, knowledge: Knowledge, **arguments: Unpack[keywords.GetSource]
) -> Plan[ApiResponse[Any]]:
    """``client.get_source``."""
    yield from _read_shown(arguments, decision, knowledge, _missing_resource)
    response: ApiResponse[Any] = yield Call("get_source", dict(arguments))
    return response


def exists(
    decision: Decision, knowledge: Knowledge, **arguments: Unpack[keywords.Exists]
) -> Plan[HeadApiResponse]:
    """``client.exists``: false for a hidden document."""
    return (yield from _exists("exists", arguments, decision, knowledge))


def exists_source(
    decision: Decision, knowledge: Knowledge, **arguments: Unpack[keywords.ExistsSource]
) -> Plan[HeadApiResponse]:
    """``client.exists_source``: false for a hidden document."""
    return (yield from _exists("exists_source", arguments, decision, knowledge))


def _exists(
    method: str, arguments: Mapping[str, Any], decision: Decision, knowledge: Knowledge
) -> Plan[HeadApiResponse]:
    try:
        yield from _read_shown(arguments, decision, knowledge, _missing_document)
    except NotFoundError as error:
        return HeadApiResponse(meta=error.meta)
    response: HeadApiResponse = yield Call(method, dict(arguments))
    return response


def explain(
    decision: Decision, knowledge: Knowledge, **arguments: Unpack[keywords.Explain]
) -> Plan[ObjectApiResponse[Any]]:
    """``client.explain``: how a document that is shown got its score, its demotion included."""
    document_id = arguments.get("id")
    rest = {key: value for key, value in arguments.items() if key != "id"}
    request = parse_request(rest)
    source: Json = {}
    for key, name in _EXPLAIN_PARAMETERS.items():
        if key in request.body:
            source[name] = request.body.pop(key)
    check_explained(request.body, "query", decision)
    body = {"query": rewrite_search(request.body, decision)["query"]}
    yield from _read_shown(arguments, decision, knowledge, _unmatched)
    response: ObjectApiResponse[Any] = yield Call(
        "explain",
        {**request.parameters, **source, "id": document_id, "body": body},
    )
    return response


def termvectors(
    decision: Decision, knowledge: Knowledge, **arguments: Unpack[keywords.Termvectors]
) -> Plan[ObjectApiResponse[Any]]:
    """``client.termvectors`` of a document by id."""
    given: Json = {**(arguments.get("body") or {}), **arguments}
    given.pop("body", None)
    if given.get("id") is None or "doc" in given:
        raise UnsafeRequest("doc", "only term vectors of stored documents, by 'id'")
    given = _without_statistics(given, decision)
    try:
        yield from _read_shown(arguments, decision, knowledge, _missing_document)
    except NotFoundError as error:
        return ObjectApiResponse(body=_no_vectors(arguments), meta=_meta(error.meta, 200))
    response: ObjectApiResponse[Any] = yield Call("termvectors", given)
    return response


def mget(
    decision: Decision, knowledge: Knowledge, **arguments: Unpack[keywords.Mget]
) -> Plan[ObjectApiResponse[Any]]:
    """``client.mget``: hidden documents are ``found: false``, in their places."""
    documents, rest = _documents(arguments, "docs", "ids")
    for _ in range(_ATTEMPTS):
        all_found = yield from _read_all(documents, rest, decision, knowledge)
        response = yield Call("mget", {**rest, "docs": documents})
        answers = response.body["docs"]
        pairs = list(zip(all_found, answers, strict=True))
        if all(_version(found) == _version(answer) for found, answer in pairs):
            break
    docs = []
    for found, answer in pairs:
        if "error" in answer or not answer.get("found"):
            docs.append(answer)
        elif _version(found) == _version(answer) and _shows(found, decision):
            docs.append({**answer, KEY: _told(found, decision)})
        else:
            docs.append({"_index": answer["_index"], "_id": answer["_id"], "found": False})
    return ObjectApiResponse(body={**response.body, "docs": docs}, meta=response.meta)


def mtermvectors(
    decision: Decision, knowledge: Knowledge, **arguments: Unpack[keywords.Mtermvectors]
) -> Plan[ObjectApiResponse[Any]]:
    """``client.mtermvectors`` of documents by id."""
    documents, rest = _documents(arguments, "docs", "ids")
    for document in documents:
        if "doc" in document:
            raise UnsafeRequest("docs", "only term vectors of stored documents, by '_id'")
        _without_statistics(document, decision)
    rest = _without_statistics(rest, decision)
    all_found = yield from _read_all(documents, rest, decision, knowledge)
    response = yield Call("mtermvectors", {**rest, "docs": documents})
    docs = [
        answer
        if _shows(found, decision)
        else _no_vectors({"index": answer["_index"], "id": answer["_id"]})
        for found, answer in zip(all_found, response.body["docs"], strict=True)
    ]
    return ObjectApiResponse(body={**response.body, "docs": docs}, meta=response.meta)


def update(
    _decision: Decision, _knowledge: Knowledge, **arguments: Unpack[keywords.Update]
) -> Plan[ObjectApiResponse[Any]]:
    """``client.update``, as long as it does not ask for the document back."""
    _refuse_document_back(arguments)
    _refuse_document_back(arguments.get("body") or {})
    response: ObjectApiResponse[Any] = yield Call("update", dict(arguments))
    return response


def bulk(
    _decision: Decision, _knowledge: Knowledge, **arguments: Unpack[keywords.Bulk]
) -> Plan[ObjectApiResponse[Any]]:
    """``client.bulk``, as long as no update in it asks for the document back."""
    _refuse_document_back(arguments)
    name = "body" if arguments.get("operations") is None else "operations"
    given: Any = arguments.get(name) or ()
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
    for key in _SOURCE_KEYS:
        if options.get(key):
            raise UnsafeRequest(key, _DOCUMENT_BACK)


def _asks_for_source(line: Any) -> bool:
    """Whether a line of a bulk, an object or JSON, has this key; no field can be called so."""
    if isinstance(line, bytes | str):
        text = line.decode() if isinstance(line, bytes) else line
        # JSON can also spell the key with escapes.
        lines = [part for part in text.split("\n") if "_source" in part or "\\u" in part]
        try:
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


# The engine takes both spellings.
_STATISTICS = re.compile("(term|field)_?statistics", re.IGNORECASE)


def _read_shown(
    arguments: Mapping[str, Any], decision: Decision, knowledge: Knowledge, missing: Any
) -> Plan[Json]:
    """Read the safety fields of a document that the level shows.

    Raises:
        NotFoundError: there is no such document, or the level hides it.
    """
    index = arguments.get("index")
    yield from check_fields(index, decision.fields, knowledge)
    where = {key: arguments[key] for key in _WHERE if arguments.get(key) is not None}
    try:
        response = yield Call(
            "get",
            {**where, "id": arguments.get("id"), "source_includes": list(decision.fields.deciding)},
        )
    except NotFoundError as error:
        if "error" in error.body:
            raise  # There is no such index.
        raise _not_found(error.meta, missing(arguments)) from None
    found: Json = response.body
    if not _shows(found, decision) or (yield from _blocked_elsewhere(found, decision)):
        raise _not_found(response.meta, missing(arguments))
    return found


def _read_all(
    documents: Sequence[Json], rest: Json, decision: Decision, knowledge: Knowledge
) -> Plan[list[Json]]:
    """Read the safety fields of several documents; those not there are as the engine says."""
    common = {key: rest[key] for key in _WHERE if rest.get(key) is not None}
    wanted = []
    for document in documents:
        index = document.get("_index", common.get("index"))
        if index is not None:
            yield from check_fields(index, decision.fields, knowledge)
        names = ("_index", "_id", "routing")
        wanted.append({key: document[key] for key in names if key in document})
    response = yield Call(
        "mget", {**common, "docs": wanted, "source_includes": list(decision.fields.deciding)}
    )
    found: list[Json] = []
    for item in response.body["docs"]:
        blocked = yield from _blocked_elsewhere(item, decision)
        found.append({**item, BLOCKED_ELSEWHERE: True} if blocked else item)
    return found


BLOCKED_ELSEWHERE = "blocked_elsewhere"
"""A key of a document that was read, when it is blocked outside of it."""


def _blocked_elsewhere(found: Json, decision: Decision) -> Plan[bool]:
    return bool(found.get("found")) and (yield from blocked_elsewhere(found, decision))


def _documents(arguments: Mapping[str, Any], *names: str) -> tuple[list[Json], Json]:
    """The documents that are asked for, each as an object, and the other arguments."""
    rest = {key: value for key, value in arguments.items() if value is not None}
    rest = {**(rest.pop("body", None) or {}), **rest}
    docs, ids = (rest.pop(name, None) or [] for name in names)
    return [*map(dict, docs), *({"_id": item} for item in ids)], rest


def _shows(found: Json, decision: Decision) -> bool:
    """Whether the level shows a document that was read; one that is not there is not hidden."""
    if not found.get("found"):
        return "error" not in found
    if BLOCKED_ELSEWHERE in found:
        return False
    return bool(_told(found, decision)["action"] != Action.HIDDEN)


def _told(found: Json, decision: Decision) -> Json:
    """What the level does to a document that was read."""
    (told,) = decision.describe(states_of([found], decision.fields, decision.model))
    return told


def _version(answer: Mapping[str, Any]) -> tuple[int, int] | None:
    """What changes with every write of a document; None when it is not there."""
    if "_seq_no" not in answer:
        return None
    return answer["_primary_term"], answer["_seq_no"]


def _not_found(meta: Any, body: Json) -> NotFoundError:
    """The error that the client raises for a document that is not there."""
    error = body.get("error", str(body))
    message = error["type"] if isinstance(error, dict) else error
    return NotFoundError(message=message, meta=_meta(meta, 404), body=body)


def _meta(meta: Any, status: int) -> Any:
    return dataclasses.replace(meta, status=status)


def _missing_document(arguments: Mapping[str, Any]) -> Json:
    return {"_index": arguments.get("index"), "_id": arguments.get("id"), "found": False}


def _missing_resource(arguments: Mapping[str, Any]) -> Json:
    reason = f"Document not found [{arguments.get('index')}]/[{arguments.get('id')}]"
    cause = {"type": "resource_not_found_exception", "reason": reason}
    return {"error": {"root_cause": [cause], **cause}, "status": 404}


def _unmatched(arguments: Mapping[str, Any]) -> Json:
    return {"_index": arguments.get("index"), "_id": arguments.get("id"), "matched": False}


def _no_vectors(arguments: Mapping[str, Any]) -> Json:
    return {
        "_index": arguments.get("index"),
        "_id": arguments.get("id"),
        "_version": 0,
        "found": False,
        "took": 0,
    }
