"""What a node with a licence makes of retrievers that the tests' node does not have.

The node of the tests runs searches, neighbours, rescorers and ``diversify``, and pages them. Here
is what is missing, by the formulas in Elasticsearch's reference: a retriever that makes one list
of others is worked out from what each of these finds on the real node, and the list goes to the
node in its place, each document with its score. All else of a request is the node's own work.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from elasticsearch import AsyncElasticsearch, Elasticsearch

__all__ = ["AsyncLicensedNode", "LicensedNode", "similarity"]

Json = dict[str, Any]
_Ranking = list[tuple[str, np.float32]]
"""Ids and scores, best first; a score that a sort left out is NaN."""

DEFAULT_WINDOW = 10
_PINNED = 1.7014118e38  # A pinned document is above it, all others below.
_STEP = 2.0e31
RULESETS: dict[str, list[str]] = {}
"""What the rules of a set pin, by its id."""


def similarity(identifier: str) -> float:
    """What the tests' reranking model says of a document."""
    return 1 / (1 + int(identifier) * 7 % 11)


def _sum(parts: Sequence[np.float32]) -> np.float32:
    total = np.float32(0)
    for part in parts:
        total = np.float32(total + part)
    return total


def _rrf(body: Json, rankings: Sequence[_Ranking]) -> dict[str, np.float32]:
    """The sum of weight / (constant + rank)."""
    constant = body.get("rank_constant", 60)
    parts: defaultdict[str, list[np.float32]] = defaultdict(list)
    for item, ranking in zip(body["retrievers"], rankings, strict=True):
        weight = np.float32(item.get("weight", 1))
        for rank, (name, _) in enumerate(ranking, start=1):
            parts[name].append(np.float32(weight * np.float32(1 / np.float32(constant + rank))))
    return {name: _sum(each) for name, each in parts.items()}


def _linear(body: Json, rankings: Sequence[_Ranking]) -> dict[str, np.float32]:
    """The sum of weight times the normalised score; a document without a score adds nothing."""
    parts: defaultdict[str, list[np.float32]] = defaultdict(list)
    for item, ranking in zip(body["retrievers"], rankings, strict=True):
        weight = np.float32(item.get("weight", 1))
        normalised = _NORMALIZERS[item.get("normalizer", "none")]([score for _, score in ranking])
        for (name, _), score in zip(ranking, normalised, strict=True):
            parts[name].append(np.float32(0) if math.isnan(score) else np.float32(weight * score))
    return {name: _sum(each) for name, each in parts.items()}


def _minmax(scores: Sequence[np.float32]) -> list[np.float32]:
    known = [score for score in scores if not math.isnan(score)]
    if not known:
        return list(scores)
    least, most = min(known), max(known)
    if most - least < 1e-6:
        return [score if math.isnan(score) else np.float32(1) for score in scores]
    return [np.float32((score - least) / np.float32(most - least)) for score in scores]


def _l2_norm(scores: Sequence[np.float32]) -> list[np.float32]:
    norm = math.sqrt(sum(float(score) ** 2 for score in scores if not math.isnan(score)))
    return [np.float32(score / norm) if norm > 1e-6 else score for score in scores]


_NORMALIZERS: dict[str, Callable[[Sequence[np.float32]], list[np.float32]]] = {
    "none": list,
    "minmax": _minmax,
    "l2_norm": _l2_norm,
}


def _reranked(_body: Json, rankings: Sequence[_Ranking]) -> dict[str, np.float32]:
    return {name: np.float32(similarity(name)) for name, _ in rankings[0]}


_FUSIONS = {"rrf": _rrf, "linear": _linear, "text_similarity_reranker": _reranked}


def _standard(ranking: _Ranking) -> Json:
    """A retriever that finds the documents of a ranking with their scores."""
    parts = [
        {"constant_score": {"filter": {"ids": {"values": [name]}}, "boost": float(score)}}
        for name, score in ranking
        # The engine's hits of a score of 0 have it, too, which a boost cannot say.
        if score > 0
    ]
    zeros = [name for name, score in ranking if score == 0]
    if zeros:
        parts.append({"bool": {"filter": {"ids": {"values": zeros}}}})
    return {"standard": {"query": {"bool": {"should": parts}} if parts else {"match_none": {}}}}


def places(node: Elasticsearch, **where: Any) -> dict[str, int]:
    """Each document's place in the shards, by which the engine orders equal ones."""
    if "pit" in where:
        answer = Elasticsearch.search(node, **where, sort=["_shard_doc"], size=1000, source=False)
        return {hit["_id"]: place for place, hit in enumerate(answer["hits"]["hits"])}
    pit = Elasticsearch.open_point_in_time(node, **where, keep_alive="1m")
    try:
        return places(node, pit={"id": pit["id"]})
    finally:
        node.close_point_in_time(id=pit["id"])


class _Worked:
    """The retrievers of one request, worked out on a node."""

    def __init__(self, node: Elasticsearch, parameters: Mapping[str, Any]) -> None:
        self.node = node
        self.where = {"index": parameters.get("index")}
        self.order: dict[str, int] = {}

    def body(self, body: Json) -> Json:
        body = self.queries(body)
        if "pit" in body:
            self.where = {"pit": body["pit"]}
        if "retriever" not in body:
            return body
        return {**body, "retriever": self.retriever(body["retriever"], ())}

    def retriever(self, retriever: Json, filters: Sequence[Json]) -> Json:
        """The retriever as the tests' node understands it, with the filters of those around."""
        ((kind, body),) = retriever.items()
        filters = [*filters, *_list(body.get("filter"))]
        if kind in ("standard", "knn"):
            return {kind: {**body, "filter": filters}} if filters else retriever
        body = {name: value for name, value in body.items() if name != "filter"}
        if kind in _FUSIONS:
            return self.fusion(kind, body, filters)
        if kind in ("pinned", "rule"):
            return self.ruled(kind, body, filters)
        return {kind: {**body, "retriever": self.retriever(body["retriever"], filters)}}

    def fusion(self, kind: str, body: Json, filters: Sequence[Json]) -> Json:
        window = body.get("rank_window_size", DEFAULT_WINDOW)
        if "query" in body:
            # No field of the tests needs a model, so that all are searched by one query.
            fields = {"fields": body["fields"]} if "fields" in body else {}
            query = {"multi_match": {"query": body["query"], "type": "most_fields", **fields}}
            item = {"retriever": {"standard": {"query": query}}}
            body = {**body, "retrievers": [{**item, "normalizer": body.get("normalizer", "none")}]}
        inner = [item.get("retriever", item) for item in _list(body.get("retrievers"))]
        inner = inner or [body["retriever"]]
        rankings = [self.ranking(self.retriever(one, filters), window) for one in inner]
        scores = _FUSIONS[kind](body, rankings)
        ranking = self.best(scores, window)
        return _standard([one for one in ranking if one[1] >= body.get("min_score", 0)])

    def ruled(self, kind: str, body: Json, filters: Sequence[Json]) -> Json:
        inner = self.retriever(body["retriever"], filters)["standard"]
        organic: Json = {"bool": {"must": inner.get("query", {"match_all": {}})}}
        organic["bool"]["filter"] = _list(inner.get("filter"))
        options = {name: body[name] for name in ("ids", "docs", "ruleset_ids") if name in body}
        query = self.queries({kind: {"organic": organic, **options}})
        bound = {"min_score": inner["min_score"]} if "min_score" in inner else {}
        found = self.ranking(
            {"standard": {"query": query, **bound}}, body.get("rank_window_size", DEFAULT_WINDOW)
        )
        return _standard(found)

    def ranking(self, retriever: Json, window: int) -> _Ranking:
        """What the node finds by a retriever."""
        answer = Elasticsearch.search(
            self.node, **self.where, retriever=retriever, size=window, source=False
        )
        return [
            (hit["_id"], np.float32(math.nan if hit["_score"] is None else hit["_score"]))
            for hit in answer["hits"]["hits"]
        ]

    def best(self, scores: Mapping[str, np.float32], window: int) -> _Ranking:
        """The best of them; of equal ones those that stand first in the shards."""
        self.order = self.order or places(self.node, **self.where)
        key = sorted(scores, key=lambda name: (-scores[name], self.order[name]))
        return [(name, scores[name]) for name in key[:window]]

    def queries(self, value: Any) -> Any:
        """Any part of a request with its ``pinned`` and ``rule`` queries as others."""
        if isinstance(value, list):
            return [self.queries(item) for item in value]
        if not isinstance(value, dict):
            return value
        value = {name: self.queries(item) for name, item in value.items()}
        for kind in ("pinned", "rule"):
            if "organic" in value.get(kind, {}):
                return _pinned(value[kind])
        return value


def _pinned(body: Json) -> Json:
    """Pinned documents in their order above all others."""
    names = [RULESETS[name] for name in _list(body.get("ruleset_ids"))]
    pins = [{"ids": {"values": [name]}} for each in [*names, body.get("ids", [])] for name in each]
    for item in body.get("docs", ()):
        one = [{"ids": {"values": [item["_id"]]}}]
        if "_index" in item:
            one.append({"term": {"_index": item["_index"]}})
        pins.append({"bool": {"filter": one}})
    scored = [
        {"constant_score": {"filter": pin, "boost": _PINNED + (len(pins) - place) * _STEP}}
        for place, pin in enumerate(pins)
    ]
    return {"dis_max": {"queries": [*scored, body["organic"]]}}


def _list(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _worked(node: Elasticsearch, arguments: Mapping[str, Any]) -> Json:
    worked = _Worked(node, arguments)
    if arguments.get("body") is not None:
        return {**arguments, "body": worked.body(arguments["body"])}
    if "retriever" in arguments:
        return {**arguments, "retriever": worked.retriever(arguments["retriever"], ())}
    return dict(arguments)


class LicensedNode(Elasticsearch):
    """A client of the tests' node that has the retrievers which need a licence."""

    def search(self, **arguments: Any) -> Any:  # type: ignore[override]
        """Search, with such retrievers worked out."""
        return super().search(**_worked(self, arguments))

    def msearch(self, **arguments: Any) -> Any:  # type: ignore[override]
        """Several such searches."""
        lines = arguments.pop("searches")
        searches = [
            _Worked(self, {**arguments, **header}).body(body) if number % 2 else body
            for number, (header, body) in enumerate(
                zip([{}, *lines], lines, strict=False)  # A body follows its header.
            )
        ]
        return super().msearch(searches=searches, **arguments)


class AsyncLicensedNode(AsyncElasticsearch):
    """The same for asynchronous clients.

    Attributes:
        node: works out the retrievers.
    """

    node: LicensedNode

    async def search(self, **arguments: Any) -> Any:  # type: ignore[override]
        """Search, with such retrievers worked out."""
        return await super().search(**_worked(self.node, arguments))
