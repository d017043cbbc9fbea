"""The same search at every level of a policy, as columns of a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from elasticsearch import Elasticsearch

from saferank.demo.page import Column, Row
from saferank.ranker import Policy
from saferank.ranker.client.client import SafeSearch
from saferank.ranker.hits import deciding_record
from saferank.ranker.level.decision import explain
from saferank.ranker.level.explanation import Explanation
from saferank.ranker.level.level import Level

# More than the demo's index holds, so that each list is whole and every place is known.
_ALL = 1000


def search_levels(client: Elasticsearch, policy: Policy, index: str, words: str) -> list[Column]:
    """Search titles for ``words`` at each level.

    What a level hid is found by comparing with the loosest level, which hides nothing here.
    """
    search = SafeSearch(client, policy)
    body = {"query": {"match": {"title": words}}, "size": _ALL}
    lists = {
        level: search.search(index=index, body=body, context={"requested": level})["hits"]["hits"]
        for level in policy.levels
    }
    loosest = next(iter(lists.values()))
    return [_column(policy, level, hits, loosest) for level, hits in lists.items()]


def _column(
    policy: Policy, level: str, hits: Sequence[Mapping[str, Any]], loosest: Sequence[Any]
) -> Column:
    decision = policy.decision_for(level)
    ranks = {hit["_id"]: rank for rank, hit in enumerate(hits, start=1)}
    ranks_when_off = {hit["_id"]: rank for rank, hit in enumerate(loosest, start=1)}
    gone = [hit for hit in loosest if hit["_id"] not in ranks]
    both = [*hits, *gone]
    explanations = explain([deciding_record(hit, decision) for hit in both], decision)
    rows = [
        Row(
            name=hit["_id"],
            title=hit["_source"]["title"],
            probability=explanation.probability,
            action=str(explanation.action),
            blur=explanation.blur,
            why=_why(explanation),
            factor=explanation.factor,
            score=hit["_score"] if hit["_id"] in ranks else None,
            rank=ranks.get(hit["_id"]),
            rank_when_off=ranks_when_off[hit["_id"]],
        )
        for hit, explanation in zip(both, explanations, strict=True)
    ]
    thresholds = decision.categories[0].level
    return Column(
        level=level,
        in_words=_in_words(thresholds),
        demote_from=thresholds.demote_from,
        blur_from=thresholds.blur_from,
        hide_from=thresholds.hide_from,
        hits=tuple(rows[: len(hits)]),
        hidden=tuple(rows[len(hits) :]),
    )


def _why(explanation: Explanation) -> str:
    if explanation.rule in _DONE:
        threshold = explanation.to_dict()[explanation.rule]
        return f"{_DONE[explanation.rule]} from {threshold:.3g} on"
    return str(explanation.rule).replace("_", " ")


def _in_words(level: Level) -> str:
    if not level.thresholds:
        return "Everything is shown, in order of relevance."
    parts = [f"{_DONE[key]} from {value:.3g} on" for key, value in level.thresholds.items()]
    return f"By probability: {', '.join(parts)}; unscored: {level.unscored}."


_DONE = {"blur_from": "blurred", "demote_from": "demoted", "hide_from": "hidden"}
