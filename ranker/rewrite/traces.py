"""Parts of an answer about the work that was done, in which hidden documents leave traces.

A profile names the words that a prefix or a misspelling stands for, whoever's they are, and counts
every document that was passed over; even the kind of a query tells, since one for a word that
nothing has is made into another. How many shards were skipped says what no document in them has.
What is left are times.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from saferank.errors import UnsafeRequest
from saferank.ranker.bodies import Json, as_list, as_object, names
from saferank.ranker.level.decision import Decision

_TIME = "time_in_nanos"
_SHARD = ("id", "node_id", "shard_id", "index", "cluster")


def without_traces(answer: Json, decision: Decision | None) -> Json:
    """The answer to a search without what could tell of hidden documents.

    Args:
        answer: as the engine gave it; it is not changed.
        decision: at which it was given; None when that is not known.
    """
    if decision is not None and not decision.hidden:
        return answer
    result = answer
    if as_object(answer.get("_shards")).get("skipped"):
        result = {**result, "_shards": {**answer["_shards"], "skipped": 0}}
    if "profile" in answer:
        result = {**result, "profile": _times(answer["profile"])}
    return result


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
_PHRASE_PREFIX = "phrase_prefix"
_SYNTAXES = ("query_string", "simple_query_string")
_MISSPELT = "~"


def check_explained(body: Any, key: str, decision: Decision) -> None:
    """Refuse to explain scores by a query whose explanation lists words of all documents.

    Args:
        body: of the search, or its query.
        key: what asks for the explanation.
        decision: whose documents are hidden.

    Raises:
        UnsafeRequest: there is such a query, and documents are hidden.
    """
    if decision.hidden and (found := _expanding(body)) is not None:
        raise UnsafeRequest(
            key,
            f"with {found!r} it lists words of hidden documents, too; leave one of both out",
        )


def _expanding(value: Any) -> str | None:
    """What expands a query anywhere in a value."""
    if isinstance(value, Mapping):
        found = next(iter(_EXPANDING.intersection(value)), None)
        if found is None and value.get("type") == _PHRASE_PREFIX:
            found = _PHRASE_PREFIX
        if found is None and any(_MISSPELT in str(value.get(name)) for name in _SYNTAXES):
            found = _MISSPELT
        parts: Iterable[Any] = value.values()
    elif isinstance(value, list | tuple):
        found, parts = None, value
    else:
        return None
    return found or next(filter(None, map(_expanding, parts)), None)
