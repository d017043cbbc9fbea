"""Documents that were read by id, judged as searches judge them: by what the index has.

A read is in real time: it shows what no search shows yet. And a source need not say what the index
says. So a search looks for the very version that was read, and shows its doc values. A version that
it does not show is read again, after a refresh of its shard.
"""

from __future__ import annotations

import dataclasses
import uuid
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from elastic_transport import ApiResponseMeta, ObjectApiResponse
from elasticsearch import ApiError
from elasticsearch.exceptions import HTTP_EXCEPTIONS

from saferank.ranker.bodies import Json
from saferank.ranker.client.flow import (
    Call,
    Knowledge,
    Known,
    Plan,
    blocked_elsewhere,
    check_fields,
    says_unmapped,
)
from saferank.ranker.client.indices import Target
from saferank.ranker.hits import HitReader
from saferank.ranker.level.decision import Decision
from saferank.ranker.level.verdicts import Action, Rule

ATTEMPTS = 5
"""How often a document is read that changes all the time."""
_VERSION = ("_seq_no", "_primary_term", "_version")
_TOGETHER = 100
"""Most documents in one search."""


def same_version(found: Json, answer: Json) -> bool:
    """Whether an answer is of the version that was found, as far as it tells."""
    return all(found[key] == answer[key] for key in _VERSION if key in answer)


def judged(
    method: str,
    arguments: Mapping[str, Any],
    targets: Sequence[Target],
    decision: Decision,
    knowledge: Knowledge,
) -> Plan[tuple[ObjectApiResponse[Any], list[Json | None]]]:
    """Read N documents, each in a version that the index shows, too.

    Args:
        method: ``get``, for one, or ``mget``.
        arguments: of that call; nothing in them takes the versions out of its response.
        targets: what is read for each of them.
        decision: the level that holds.
        knowledge: what is known of the indices.

    Returns:
        The response, and of each document what the level does to it: nothing when it is not there,
        None when it is hidden.

    Raises:
        MappingError: nothing could be hidden in an index.
        ApiError: a document is there, and the engine does not find out what the index has of it.
    """
    for target in set(targets):
        if target.names is not None:
            yield from check_fields(target, decision.fields, knowledge)
    sent = dict(arguments)
    for attempt in range(ATTEMPTS):
        response = yield Call(method, sent)
        found: list[Json] = response.body["docs"] if method == "mget" else [response.body]
        told: dict[int, Json | None] = {place: {} for place in range(len(found))}
        there = {place: item for place, item in enumerate(found) if item.get("found")}
        told |= yield from _told(
            there, targets, sent.get("preference"), decision, knowledge, alone=attempt > 0
        )
        if None not in told.values():
            break
        # The same copy of the shard is refreshed, read and searched. A read in real time would not
        # refresh it, and is no fresher than one after a refresh.
        copy = arguments.get("preference") or uuid.uuid4().hex
        sent = {**arguments, "refresh": True, "realtime": False, "preference": copy}
    for place, item in there.items():
        if (yield from blocked_elsewhere(item, decision)):
            told[place] = None
    return response, [None if item is None or hides(item) else item for item in told.values()]


def _told(
    found: Mapping[int, Json],
    targets: Sequence[Target],
    preference: str | None,
    decision: Decision,
    knowledge: Knowledge,
    *,
    alone: bool,
) -> Plan[dict[int, Json | None]]:
    """What the level does to documents, by place; None where no search shows the version found."""
    told: dict[int, Json | None] = {}
    groups, lines = _groups(found, targets, alone=alone), []
    for places in groups:
        known = yield from check_fields(targets[places[0]], decision.fields, knowledge)
        documents = [found[place] for place in places]
        lines += [
            _header(documents, preference, alone=alone),
            _body(documents, decision, in_source=known.source_tells),
        ]
    if not lines:
        return told
    response = yield Call("msearch", {"searches": lines})
    for places, answer in zip(groups, response.body["responses"], strict=True):
        target, name = targets[places[0]], found[places[0]]["_index"]
        known = yield from check_fields(target, decision.fields, knowledge)
        if name not in known.indices or says_unmapped(answer, decision.fields):
            known = yield from check_fields(target, decision.fields, knowledge, [name])
        elif alone and "error" in answer:
            raise _failure(answer, response.meta)
        hits = answer.get("hits", {}).get("hits", [])
        shown = dict(zip(map(_version_of, hits), judgements(hits, decision, known), strict=True))
        told |= {place: shown.get(_version_of(found[place])) for place in places}
    return told


def _failure(answer: Json, meta: ApiResponseMeta) -> ApiError:
    """The error that the client raises for a search that failed so."""
    status: int = answer["status"]
    kind = HTTP_EXCEPTIONS.get(status, ApiError)
    return kind(answer["error"]["type"], dataclasses.replace(meta, status=status), answer)


def _groups(
    found: Mapping[int, Json], targets: Sequence[Target], *, alone: bool
) -> list[list[int]]:
    """Places of the documents, those together that one search can show.

    An id is unique in an index unless documents are routed otherwise than by it.
    """
    groups: dict[object, list[int]] = defaultdict(list)
    for place, document in found.items():
        routed = alone or "_routing" in document
        groups[place if routed else (targets[place], document["_index"])].append(place)
    return [
        places[start : start + _TOGETHER]
        for places in groups.values()
        for start in range(0, len(places), _TOGETHER)
    ]


def _header(documents: Sequence[Json], preference: str | None, *, alone: bool) -> Json:
    """Of a search for documents that were read."""
    header: Json = {"index": documents[0]["_index"], "allow_partial_search_results": False}
    if preference is not None:
        header["preference"] = preference
    if len(documents) == 1 and not alone:
        # One shard has it. Not every index takes a routing; then all shards are asked, later.
        routing = str(documents[0].get("_routing", documents[0]["_id"]))
        if "," not in routing:
            header["routing"] = routing
    return header


def _body(documents: Sequence[Json], decision: Decision, *, in_source: bool) -> Json:
    """Of a search that shows the safety fields of documents that were read."""
    fields = list(decision.fields.deciding)
    query = {
        "filter": [{"ids": {"values": [document["_id"] for document in documents]}}],
        "must_not": decision.unmapped_fails,
    }
    return {
        "query": {"bool": query},
        "size": max(len(documents), 10),  # There can be several of one id under several routings.
        "_source": fields if in_source else False,
        "docvalue_fields": fields,
        "seq_no_primary_term": True,
        "track_total_hits": False,
    }


def judgements(hits: Sequence[Json], decision: Decision, known: Known) -> list[Json]:
    """What the level does to the documents of hits that have doc values and maybe a source.

    Args:
        hits: with all deciding fields as doc values.
        decision: the level that holds.
        known: of their indices.
    """
    fields = decision.fields
    by_index = HitReader(fields, in_source=False).describe(hits, decision)
    if not known.source_tells:
        return by_index
    # A document can be older than the mapping. What its source says is known, too.
    by_source = HitReader(fields).describe(hits, decision)
    return [
        source if hides(source) and source["rule"] != Rule.UNSCORED else index
        for index, source in zip(by_index, by_source, strict=True)
    ]


def _version_of(document: Json) -> tuple[Any, ...]:
    """What no other version of a document has, nor any other document of its index."""
    return (document["_id"], document.get("_routing"), *(document[key] for key in _VERSION[:2]))


def hides(told: Json) -> bool:
    """Whether a document that this is told of is hidden."""
    return told.get("action") == Action.HIDDEN
