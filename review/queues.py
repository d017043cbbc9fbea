"""What is put before reviewers, and in which order: as queries, without an engine.

=========  ======================================================================================
near-T     scored next to the threshold T, nearest first: where a decision tells most
audit      a random sample of what the usual level shows, so that what is missed can be estimated
reported   what the application reported, what waits longest first
failed     images without a probability, what failed first comes first
second     decided by one person where two have to agree
sample     what was drawn to be labelled, in the order of its file
=========  ======================================================================================
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from saferank.mappings.float32 import as_float32, shortest
from saferank.mappings.record import Status
from saferank.ranker.bodies import Query
from saferank.ranker.level.level import Treatment
from saferank.ranker.level.states import StateQueries, any_of
from saferank.ranker.level.thresholds import Interval, blur_range, demote_range, hide_range
from saferank.ranker.policy.policy import OneCategoryPolicy
from saferank.review.entries import Item

REPORTED, WAITING = "reported", "waiting"
_ABOVE_ONE = as_float32(1.0000001)


@dataclass(frozen=True, slots=True)
class Search:
    """One ordered search of the index.

    Attributes:
        query: what it finds.
        sort: of the engine.
        distance: from a hit's first sort value to how far back it stands in the review queue.
    """

    query: Query
    sort: list[dict[str, Any]]
    distance: Callable[[float], float] = float


@dataclass(frozen=True, slots=True)
class ReviewQueue:
    """A queue of items.

    Attributes:
        name: in addresses and in the log.
        title: as people read it.
        meaning: what is in it, in a sentence.
        searches: whose hits are merged by distance; none where the open work has the items.
        work: which of the open work it is, where it is that.
        items: which documents, where they are named one by one.
        blind: whether what others said is not shown.
    """

    name: str
    title: str
    meaning: str
    searches: tuple[Search, ...] = ()
    work: str | None = None
    items: tuple[Item, ...] | None = None
    blind: bool = False


def policy_version(policy: OneCategoryPolicy) -> str:
    """A short name of all that a policy says; another policy has another."""
    return hashlib.sha256(policy.model_dump_json().encode()).hexdigest()[:12]


def review_queues(
    policy: OneCategoryPolicy, *, opinions: int = 1, sample: tuple[Item, ...] | None = None
) -> dict[str, ReviewQueue]:
    """The queues under a policy, by name, in the order in which they are offered.

    Args:
        policy: whose thresholds and levels.
        opinions: people who have to agree.
        sample: documents that were drawn to be labelled.
    """
    queries = StateQueries(policy.fields, policy.model)
    queues = [
        ReviewQueue(
            "reported",
            "Reported",
            "Documents that people reported, the oldest report first.",
            work=REPORTED,
        ),
        *(_near(threshold, queries) for threshold in thresholds_of(policy)),
        _audit(policy, queries),
        _failed(queries),
    ]
    if opinions == 2:
        queues.insert(
            1,
            ReviewQueue(
                "second",
                "Second opinion",
                "Decided by one person; another one decides without knowing how.",
                work=WAITING,
                blind=True,
            ),
        )
    if sample is not None:
        meaning = "Drawn to be labelled; every one that nobody has decided about counts."
        queues.insert(0, ReviewQueue("sample", "Sample", meaning, items=sample))
    return {queue.name: queue for queue in queues}


def thresholds_of(policy: OneCategoryPolicy) -> list[float]:
    """Every threshold of every level, each once, in ascending order."""
    return sorted({v for level in policy.levels.values() for v in level.thresholds.values()})


def _near(threshold: float, queries: StateQueries) -> ReviewQueue:
    name = f"{shortest(threshold):g}"

    def search(interval: Interval, order: str) -> Search:
        found = any_of(queries.in_range(interval)[:1])
        return Search(
            queries.undecided(found),
            [{queries.fields.probability: {"order": order}}],
            lambda value: abs(value - threshold),
        )

    sides = [search(Interval(threshold, _ABOVE_ONE), "asc")]
    if threshold > 0:
        sides.append(search(Interval(0.0, threshold), "desc"))
    return ReviewQueue(
        f"near-{name}",
        f"Near {name}",
        f"Probabilities next to the threshold {name}, the nearest first.",
        tuple(sides),
    )


def _audit(policy: OneCategoryPolicy, queries: StateQueries) -> ReviewQueue:
    decision = policy.resolve({})
    level = policy.levels[decision.level_name]
    ranges = [
        query
        for interval in (blur_range(level), demote_range(level), hide_range(level))
        for query in queries.in_range(interval)
    ]
    treated = [
        query
        for one in Treatment
        if one is not Treatment.SHOW
        for query in queries.unusual(level, one)
    ]
    no_image = queries.status(Status.NO_IMAGE)
    shown: Query = {"bool": {"must_not": [*ranges, *treated, no_image, queries.decided]}}
    seed = int(policy_version(policy)[:7], 16)
    # One order for everybody, so that all that was looked at is a sample without gaps.
    drawn: Query = {
        "function_score": {
            "query": {"bool": {"filter": [shown]}},
            "random_score": {"seed": seed, "field": "_seq_no"},
            "boost_mode": "replace",
        }
    }
    return ReviewQueue(
        "audit",
        "Audit",
        f"A random sample of what level “{decision.level_name}” shows. What is blocked here is "
        "what the thresholds miss.",
        (Search(drawn, [{"_score": "desc"}, {"_doc": "asc"}], lambda value: -value),),
    )


def _failed(queries: StateQueries) -> ReviewQueue:
    return ReviewQueue(
        "failed",
        "Failed to score",
        "An image could not be scored, or is of a kind that is not read; what failed first comes "
        "first.",
        (
            Search(
                queries.undecided(queries.status(Status.FAILED, Status.NOT_READ)),
                [{queries.fields.scored_at: {"order": "asc", "missing": "_first"}}],
            ),
        ),
    )
