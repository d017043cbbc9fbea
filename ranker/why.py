"""Why one document is where it is: what levels do to it, and because of what.

For whoever has to answer "why is my picture hidden?". A search cannot: what it hides is not in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from elasticsearch import Elasticsearch

from saferank.errors import DocumentNotFound
from saferank.mappings import check_index
from saferank.mappings.override_index import indices_of, read_overrides
from saferank.mappings.overrides import OverrideRecord, Overrides
from saferank.ranker.hits import deciding_record
from saferank.ranker.level.decision import Decision, explain
from saferank.ranker.level.explanation import Explanation
from saferank.ranker.level.verdicts import ACTIONS, Action, Rule
from saferank.ranker.policy.policy import Policy

_MOST = 100
"""Most documents of one id, in different indices of an alias or under different routings."""
_TREATMENTS = {action: treatment for treatment, action in ACTIONS.items()}


@dataclass(frozen=True, slots=True)
class Why:
    """A document as searches see it.

    Attributes:
        index: the index that has it.
        id: of the document.
        source: of the document.
        override: what the index of overrides says about it, if there is one and it says anything.
        explanations: what each of the decisions does to it, in their order.
    """

    index: str
    id: str
    source: Mapping[str, Any]
    override: OverrideRecord | None
    explanations: tuple[Explanation, ...]


def why(
    client: Elasticsearch, index: str, id: str, policy: Policy, decisions: Sequence[Decision]
) -> list[Why]:
    """What decisions do to a document, and because of what.

    Args:
        client: connected.
        index: index, alias or pattern.
        id: of the document.
        policy: that the decisions are of.
        decisions: one or more, of ``Policy.resolve`` or ``Policy.decision_for``.

    Returns:
        One for each document with this id: an alias can lead to several.

    Raises:
        DocumentNotFound: no search finds such a document.
        MappingError: there is no such index, it lacks safety fields, or there is no index of
            overrides where the policy names one.
    """
    aliases = indices_of(client, index)
    for part in policy.by_category().values():
        check_index(client, index, part.fields)
    overrides = (
        Overrides() if policy.overrides is None else read_overrides(client, policy.overrides)
    )
    answer = client.search(
        index=index,
        query={"ids": {"values": [id]}},
        docvalue_fields=[{"field": path} for path in decisions[0].fields.deciding],
        size=_MOST,
    )
    hits = answer["hits"]["hits"]
    if not hits:
        raise DocumentNotFound(
            f"no search of index {index!r} finds a document {id!r}; correct the id, or wait a "
            "second if it was just written"
        )
    known = [decision.knowing(overrides) for decision in decisions]
    return [
        _why(hit, [hit["_index"], *aliases[hit["_index"]]["aliases"]], known, overrides)
        for hit in hits
    ]


def _why(
    hit: Mapping[str, Any], names: Sequence[str], decisions: Iterable[Decision], all_: Overrides
) -> Why:
    return Why(
        hit["_index"],
        hit["_id"],
        hit.get("_source", {}),
        all_.find(names, hit["_id"]),
        tuple(_explanation(hit, names, decision) for decision in decisions),
    )


def _explanation(hit: Mapping[str, Any], names: Iterable[str], decision: Decision) -> Explanation:
    (told,) = explain([deciding_record(hit, decision)], decision)
    blocked = decision.blocked_elsewhere
    if any(hit["_id"] in blocked.get(name, ()) for name in names):
        return replace(told, action=Action.HIDDEN, blur=False, rule=Rule.BLOCKED, factor=None)
    return told


def because(told: Explanation) -> str:
    """The rule that decided, as part of a sentence."""
    probability = "no probability" if told.probability is None else f"{told.probability:.4g}"
    threshold = {
        Rule.HIDE_FROM: told.hide_from,
        Rule.DEMOTE_FROM: told.demote_from,
        Rule.BLUR_FROM: told.blur_from,
    }.get(told.rule)
    of = "" if told.category is None else f" of {told.category}"
    treatment = f"the level says '{told.rule}: {_TREATMENTS[told.action]}'"
    reasons = {
        Rule.ALLOWED: "it is allowed",
        Rule.BLOCKED: "it is blocked",
        Rule.UNSCORED: f"it has no probability{of} that counts, and {treatment}",
        Rule.FAILED: f"an image of it could not be scored, and {treatment}",
        Rule.NOT_READ: f"an image of it is of a kind that is not read, and {treatment}",
        Rule.NO_IMAGE: f"it has no image, and {treatment}",
        Rule.BELOW_THRESHOLDS: "nothing at this level speaks against it",
    }
    if threshold is not None:
        return f"its probability{of}, {probability}, reaches {told.rule} {threshold:.4g}"
    return reasons[told.rule]
