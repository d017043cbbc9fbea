"""Parts of an answer about the work that was done, in which hidden documents leave traces.

A profile names the words that a prefix or a misspelling stands for, whoever's they are, and counts
every document that was passed over; even the kind of a query tells, since one for a word that
nothing has is made into another. How many shards were skipped says what no document in them has.
What is left are times.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from saferank.errors import UnsafeRequest
from saferank.ranker.bodies import Json, as_list, as_object, names
from saferank.ranker.level.decision import Decision

_TIME = "time_in_nanos"
_SHARD = ("id", "node_id", "shard_id", "index", "cluster")


def without_traces(answer: Json, decision: Decision | None) -> Json:
    """The answer to a search without what could tell of hidden documents.

    Explanations stay, but for what they tell of other documents, see ``without_others``.

    Args:
        answer: as the engine gave it; it is not changed.
        decision: at which it was given; None when that is not known.
    """
    if decision is not None and not decision.hidden:
        return answer
    result = answer
    if "error" in answer:
        result = {**result, "error": without_request(answer["error"])}
    if as_object(answer.get("_shards")).get("skipped"):
        result = {**result, "_shards": {**answer["_shards"], "skipped": 0}}
    if "profile" in answer:
        result = {**result, "profile": _times(answer["profile"])}
    hits = as_object(answer.get("hits")).get("hits") or ()
    if True in ["_explanation" in hit for hit in hits]:
        shown = [{**hit, "_explanation": without_others(hit.get("_explanation"))} for hit in hits]
        result = {**result, "hits": {**answer["hits"], "hits": shown}}
    return result


def without_others(explanation: Any) -> Any:
    """An explanation of a document's score without what it tells of other documents.

    The query carries the ids of blocked documents. And how a condition without relevance is
    written tells whether all documents meet it, which the engine finds out beforehand.
    """
    if isinstance(explanation, list):
        return [without_others(part) for part in explanation]
    if not isinstance(explanation, dict):
        return explanation
    result = {**explanation, "details": without_others(explanation.get("details", []))}
    if isinstance(text := explanation.get("description"), str):
        result["description"] = (
            "a condition without relevance"
            if _CONDITION.search(text)
            else _IDS.sub("_id:...", text)
        )
    return result


NO_MATCH: Json = {"value": 0.0, "description": "the document does not match", "details": []}
"""In the place of why it does not: a condition that no document meets is written otherwise."""


def without_request(error: Any) -> Any:
    """What the engine says of a fault, without the beginning of the request as it was sent."""
    if isinstance(error, list | tuple):
        return [without_request(part) for part in error]
    if isinstance(error, dict):
        return {key: without_request(part) for key, part in error.items()}
    return _REQUEST.sub("[in the request]", error) if isinstance(error, str) else error


# How the engine's reader of JSON says where it was; greedy, as the request can have the end in it.
_REQUEST = re.compile(r"\[Source: .*; line: \d+, column: \d+\]", re.DOTALL)

# How Lucene writes ranges of values, sets of them, documents that have one, and all documents.
_CONDITION = re.compile(r"FieldExistsQuery|\*:\*|(?<!_id):[\[{]")

# How Lucene writes a query for one id, or for several.
_IDS = re.compile(r"_id:(?:\([^)]*\)|\[[^\]]*\]|\S+)")


def asking_all_shards(body: Mapping[str, Any], decision: Decision) -> Json:
    """Parameters by which a profile has every shard: which are left out tells, too."""
    return (
        {"pre_filter_shard_size": _MOST_SHARDS} if body.get("profile") and decision.hidden else {}
    )


_MOST_SHARDS = 2**31 - 1


def _times(profile: Any) -> Json:
    return {"shards": [_times_of_shard(shard) for shard in as_object(profile).get("shards", ())]}


def _times_of_shard(shard: Json) -> Json:
    result: Json = {key: shard[key] for key in _SHARD if key in shard}
    if "dfs" in shard:
        dfs = shard["dfs"]
        result["dfs"] = {"statistics": _time(dfs.get("statistics"))}
        if "knn" in dfs:
            result["dfs"]["knn"] = [_times_of_search(search) for search in dfs["knn"]]
    result["searches"] = [_times_of_search(search) for search in shard.get("searches", ())]
    result["aggregations"] = _by_name(shard.get("aggregations", ()))
    if "fetch" in shard:
        result["fetch"] = _time(shard["fetch"])
    return result


def _times_of_search(search: Json) -> Json:
    return {
        "query": [_time(*as_list(search.get("query")))],
        "rewrite_time": search.get("rewrite_time", 0),
        "collector": [_time(*as_list(search.get("collector")))],
    }


def _by_name(aggregations: Iterable[Json]) -> list[Json]:
    """Aggregations under the names that the request gave them."""
    return [
        {
            "description": item.get("description"),
            **_time(item),
            **({"children": _by_name(item["children"])} if "children" in item else {}),
        }
        for item in aggregations
    ]


def _time(*parts: Json | None) -> Json:
    return {_TIME: sum(as_object(part).get(_TIME, 0) for part in parts)}


# Kinds and options by which a query becomes one for several words that documents have.
_EXPANDING = names("fuzziness fuzzy fuzzy_rewrite match_phrase_prefix rewrite span_multi")
# Kinds that the engine makes into others by the least and the greatest value of all documents, or
# by whether all of them have one.
_SHAPED = names("distance_feature exists geo_bounding_box geo_distance range rank_feature")
_PHRASE_PREFIX = "phrase_prefix"
_SYNTAXES = ("query_string", "simple_query_string")
# What misspellings, ranges and fields that exist are written with.
_NOT_PLAIN = re.compile(r"[~\[{<>]|_exists_|(?<!\*):\s*\*|(?<![\w*:])\*(?![\w*:])")
# Parts of a search that have no say in scores.
_UNSCORED = names("aggs aggregations highlight post_filter runtime_mappings sort suggest")


def check_explained(body: Any, key: str, decision: Decision) -> None:
    """Refuse to explain scores by a query whose explanation tells words or values of all documents.

    Args:
        body: of the search, or its query.
        key: what asks for the explanation.
        decision: whose documents are hidden.

    Raises:
        UnsafeRequest: there is such a query, and documents are hidden.
    """
    if not decision.hidden:
        return
    scored = {name: part for name, part in as_object(body).items() if name not in _UNSCORED}
    if (found := _telling(scored)) is not None:
        raise UnsafeRequest(
            key,
            f"with {found!r} it tells words or values of hidden documents, too; leave one of both "
            "out",
        )


def _telling(value: Any) -> str | None:
    """What makes an explanation tell of all documents, anywhere in a value."""
    if isinstance(value, Mapping):
        found = next(iter((_EXPANDING | _SHAPED).intersection(value)), None)
        if found is None and value.get("type") == _PHRASE_PREFIX:
            found = _PHRASE_PREFIX
        if found is None:
            written = (name for name in _SYNTAXES if _NOT_PLAIN.search(_text(value.get(name))))
            found = next(written, None)
        parts: Iterable[Any] = value.values()
    elif isinstance(value, list | tuple):
        found, parts = None, value
    else:
        return None
    return found or next(filter(None, map(_telling, parts)), None)


def _text(syntax: Any) -> str:
    """The query in a ``query_string``."""
    return str(as_object(syntax).get("query", ""))
