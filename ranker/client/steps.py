"""The searches that are sent on the way to the answer of one search."""

from __future__ import annotations

from collections.abc import Generator
from functools import reduce
from typing import NamedTuple

from saferank.ranker.bodies import Json, as_incomplete, as_list, names
from saferank.ranker.client.arguments import Request
from saferank.ranker.client.flow import Knowledge, says_unmapped
from saferank.ranker.client.limits import remember_limits
from saferank.ranker.level.decision import Decision
from saferank.ranker.rewrite.cursors import Cursor, holders_request, lacks_tier, with_tier
from saferank.ranker.rewrite.limits import Limits
from saferank.ranker.rewrite.neighbours import carry_over, nearest_request
from saferank.ranker.rewrite.pinned import pinned_request, with_pinned
from saferank.ranker.rewrite.retriever import as_search
from saferank.ranker.rewrite.search import rewrite_search
from saferank.ranker.rewrite.tiers import (
    demoted_request,
    joined,
    searched_in_tiers,
    shown_request,
)


class Step(NamedTuple):
    """One of these searches.

    Attributes:
        body: what to send.
        own: the response is not for the application, and whole whatever this asked for.
    """

    body: Json
    own: bool = False

    def parameters(self, given: Json) -> Json:
        """Those of the application's parameters that go along."""
        if not self.own:
            return given
        return {key: value for key, value in given.items() if key not in _FOR_THE_APPLICATION}


# Parts of a body that takes one search and no look at limits, as most do.
_PLAIN = names(
    """
    _source docvalue_fields fields from highlight query size stored_fields timeout track_total_hits
    """
)
_FOR_THE_APPLICATION = names("rest_total_hits_as_int scroll typed_keys")

Steps = Generator[Step, Json, Json]
"""Yields searches, is sent response bodies, returns a response body."""


def in_query(
    request: Request, body: Json, decision: Decision, knowledge: Knowledge, limits: Limits
) -> Steps:
    """The way that is right for every request; its neighbours, if it asks for any, found first.

    Args:
        request: as the application made it.
        body: its body, asking for the safety fields as well.
        decision: the level that holds.
        knowledge: learns when the engine tells other limits.
        limits: of the indices, as far as they are known.
    """
    if body.keys() <= _PLAIN:
        scroll = "scroll" in request.parameters
        return (yield Step(rewrite_search(body, decision, scroll=scroll, limits=limits)))
    while True:
        answer = yield from _within(request, body, decision, limits)
        if "error" not in answer:
            return answer
        told = limits.told_by(answer["error"]).and_those(limits)
        if told == limits:
            return answer
        limits = told
        remember_limits(request, limits, knowledge)


def _within(request: Request, body: Json, decision: Decision, limits: Limits) -> Steps:
    pinned = pinned_request(body, decision, limits)
    if pinned is not None:
        # What is refused is refused before anything is sent.
        rewrite_search(with_pinned(body, None), decision, limits=limits)
        answer = yield Step(pinned, own=True)
        if "error" in answer:
            return answer
        body = with_pinned(body, answer["hits"]["hits"])
    scroll, search = "scroll" in request.parameters, as_search(body)
    if searched_in_tiers(search, decision, scroll=scroll):
        return (yield from _in_tiers(search, Cursor.of(search), decision, limits))
    if lacks_tier(search, decision):
        return (yield from _behind_values(request, search, decision, limits))
    return (yield from _with_neighbours(body, decision, limits, scroll=scroll))


def _behind_values(request: Request, body: Json, decision: Decision, limits: Limits) -> Steps:
    """The page behind values of fields, whose tier the documents that have them tell."""
    holders = yield Step(holders_request(body, decision, limits), own=True)
    if "error" in holders and says_unmapped(holders, decision.fields):
        return holders
    found = with_tier(body, holders)
    if found is not None:
        return (yield from _within(request, found, decision, limits))
    values = as_list(body["search_after"])
    return (yield from _in_tiers(body, Cursor(values, values), decision, limits))


def _with_neighbours(body: Json, decision: Decision, limits: Limits, *, scroll: bool) -> Steps:
    """One search; before it one for its neighbours, if it has any that have to be found first."""
    searches: list[Json] = []
    nearest: list[Json] = []
    # Without neighbours at first: what is refused is refused before anything is sent.
    rewritten = rewrite_search(body, decision, scroll=scroll, limits=limits, nearest=nearest)
    while True:
        first = nearest_request(body, decision, scroll=scroll, limits=limits, found=nearest)
        if first is None:
            break
        answer = yield Step(first, own=True)
        if "error" in answer:
            return answer
        searches.append(answer)
        hits = answer["hits"]["hits"]
        nearest += hits
        if not hits or len(hits) < first["size"]:
            break
    if nearest:
        rewritten = rewrite_search(body, decision, scroll=scroll, limits=limits, nearest=nearest)
    answer = yield Step(rewritten)
    if "error" in answer:
        return answer
    if nearest:
        carry_over(answer["hits"]["hits"], nearest)
    return reduce(as_incomplete, searches, answer)


def _in_tiers(body: Json, cursor: Cursor, decision: Decision, limits: Limits) -> Steps:
    shown = yield Step(shown_request(body, cursor, decision, limits))
    if "error" in shown:
        return shown
    demoted = yield Step(demoted_request(body, cursor, shown, decision, limits))
    return demoted if "error" in demoted else joined(body, shown, demoted)
