"""Re-ranking of hits that are already there, wherever they came from."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Mapping, Sequence
from itertools import repeat
from numbers import Real
from operator import itemgetter
from typing import Any

from saferank.errors import UnsafeRequest, shortened
from saferank.ranker.hits import KEY, states_by_category
from saferank.ranker.level.decision import Decision

Hit = dict[str, Any]


class _Unsortable(UnsafeRequest, ValueError):
    """Hits that their scores do not put in an order; only a ``ValueError`` in versions before."""


def rerank(hits: Iterable[Mapping[str, Any]], decision: Decision) -> list[Hit]:
    """Remove hidden hits, demote others, and put the rest in order.

    A page that loses hits is not filled up. If that matters, let the search itself hide, as
    ``SafeSearch.search`` does. A hit without the safety fields counts as unscored, for example one
    whose ``_source`` was not asked for.

    Args:
        hits: best first, in the form of Elasticsearch: the safety fields in ``_source`` or in
            ``fields``, the score in ``_score``. Scores may be of any sign, or missing from all
            hits.
        decision: the level that holds.

    Returns:
        New hits, with the demoted ``_score`` and, under ``saferank``, what was done and why. Hits
        with equal scores stay in the order given; those that a factor cannot move, with a score
        of 0 or without one, are in the order of their factors.

    Raises:
        UnsafeRequest: something else than hits is given; some have a score and others do not, or
            a score is not a number (which is a ``ValueError``, too); or the policy keeps overrides
            outside of the documents, and they are not known (see ``Decision.knowing``), or it is
            not known whether one is about a hit. The plain safe client's ``rerank`` reads them,
            and finds out.
    """
    given = as_hits(hits)
    if decision.blocked_elsewhere:
        check_named(given, decision)
        given = [hit for hit in given if not _blocked_elsewhere(hit, decision)]
    return put_in_order(given, decision)


def as_hits(hits: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Hits that are given in any way, as a list.

    Raises:
        UnsafeRequest: something else is given.
    """
    if not isinstance(hits, Iterable):
        raise UnsafeRequest("hits", f"give a list of hits; {shortened(hits)} is none")
    return list(hits)


def check_named(hits: Sequence[Mapping[str, Any]], decision: Decision) -> None:
    """See that hits say which documents they are, if any document is blocked outside of it.

    Raises:
        UnsafeRequest: one does not, or is no object, or such overrides are not known.
    """
    if not decision.blocked_elsewhere:
        return
    _check_hits(hits)
    for number, hit in enumerate(hits):
        for key, kinds in _NAMES.items():
            if not isinstance(hit.get(key), kinds):
                raise UnsafeRequest(
                    f"hits.{number}.{key}",
                    "it is missing or no text, so whether a person has blocked the document is "
                    "not known",
                )


# Other stores than Elasticsearch have numbers for ids.
_NAMES: dict[str, type | tuple[type, ...]] = {"_index": str, "_id": (str, int)}


def _blocked_elsewhere(hit: Mapping[str, Any], decision: Decision) -> bool:
    index, id = hit.get("_index"), str(hit.get("_id"))
    found = [name for name, ids in decision.blocked_elsewhere.items() if id in ids]
    if found and index not in found:
        raise UnsafeRequest(
            "hits",
            f"document {id!r} is blocked in {found[0]!r}, and only the cluster can tell whether "
            f"that is an alias of {index!r}; use the 'rerank' of a SafeSearch",
        )
    return bool(found)


def put_in_order(hits: Iterable[Mapping[str, Any]], decision: Decision) -> list[Hit]:
    """The same by what the hits themselves say, without a look at overrides outside of them."""
    given = list(hits)
    try:
        states = states_by_category(given, decision)
    except (AttributeError, TypeError):
        _check_hits(given)
        raise
    told = decision.describe(states)
    scores = _scores(given)
    result = []
    for hit, item, score in zip(given, told, scores or repeat(None), strict=False):
        factor = item["factor"]
        if factor is None:
            continue  # Hidden.
        new = hit.copy() if type(hit) is dict else dict(hit)  # Twice as fast, for most.
        if factor != 1.0 and score is not None:
            score = demote_score(score, factor)
        new["_score"] = score
        new[KEY] = item
        result.append(new)
    # Sorting keeps the order of equals, also in reverse.
    if scores is None:
        result.sort(key=_factor, reverse=True)
        return result
    result.sort(key=itemgetter("_score"), reverse=True)
    if result and result[-1]["_score"] <= 0:
        result.sort(key=_score_and_factor, reverse=True)
    return result


def _check_hits(hits: Sequence[Mapping[str, Any]]) -> None:
    """See that hits are such.

    Raises:
        UnsafeRequest: one is not.
    """
    for number, hit in enumerate(hits):
        if not isinstance(hit, Mapping):
            raise UnsafeRequest(f"hits.{number}", f"a hit is an object; {hit!r} is none")
        for part in ("_source", "fields"):
            if not isinstance(hit.get(part) or {}, Mapping):
                raise UnsafeRequest(f"hits.{number}.{part}", "an object is expected")


def _score_and_factor(hit: Hit) -> tuple[float, float]:
    """The factor decides among scores of 0, which it could not change."""
    score: float = hit["_score"]
    return score, _factor(hit) if score == 0 else 1.0


def _factor(hit: Hit) -> float:
    factor: float = hit[KEY]["factor"]
    return factor


def demote_score(score: float, factor: float) -> float:
    """A score of any sign made worse by a factor in (0, 1].

    A negative score, as of some vector similarities, is divided, since a product would raise it.
    """
    return score * factor if score >= 0 else score / factor


def _scores(hits: list[Mapping[str, Any]]) -> list[float] | None:
    """The scores of the hits, or None when they have none."""
    raw: list[Any] = [hit.get("_score") for hit in hits]
    try:
        scores = array("d", raw).tolist()
    except (TypeError, OverflowError):  # None or text, for one.
        if None in raw:
            if raw.count(None) == len(raw):
                return None
            raise _Unsortable(
                f"hits.{raw.index(None)}._score", "it is missing, and others have one"
            ) from None
        scores = [_as_double(score) for score in raw]
    if math.isnan(sum(scores)):  # Or infinities of both signs.
        for number, score in enumerate(scores):
            if math.isnan(score):
                raise _Unsortable(f"hits.{number}._score", "it is no number")
    return scores


def _as_double(score: Any) -> float:
    """The score as far as it is a number, else NaN."""
    try:
        return float(score) if isinstance(score, Real) else math.nan
    except OverflowError:
        return math.nan
