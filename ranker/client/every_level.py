"""Trying a request at every level, so that a refusal is met in development and not in production.

Some parts of requests are refused at some levels only, at those that demote for one. The code that
sends them is written and tried at one level, and the others may first be met by users.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from saferank.errors import UnsafeRequest
from saferank.mappings.overrides import Overrides
from saferank.ranker.bodies import LISTS, Json
from saferank.ranker.client.arguments import parse_request
from saferank.ranker.client.lookups import without_documents
from saferank.ranker.client.suggestions import apart
from saferank.ranker.level.decision import Decision
from saferank.ranker.policy.file import PolicyFile, current_policy
from saferank.ranker.policy.policy import Policy
from saferank.ranker.rewrite.cursors import Cursor, holders_request, lacks_tier
from saferank.ranker.rewrite.pinned import pinned_request, with_pinned
from saferank.ranker.rewrite.retriever import as_search
from saferank.ranker.rewrite.search import rewrite_search
from saferank.ranker.rewrite.tiers import searched_in_tiers, shown_request

TOO_DEEP = "one thing in another, it goes deeper than Python follows"


def check_request(
    body: Mapping[str, Any], policy: Policy | PolicyFile, *, scroll: bool = False
) -> dict[str, UnsafeRequest]:
    """Try a search at every level of a policy; nothing is sent.

    Args:
        body: of the search, as ``SafeSearch.search`` takes it.
        policy: whose levels to try; of a file, the one that holds now.
        scroll: whether the search begins a scroll.

    Returns:
        Level -> why it is refused there. Empty when every level takes it.
    """
    policy, refused = current_policy(policy), {}
    for level in policy.levels:
        try:
            _try(body, policy.decision_for(level).knowing(Overrides()), scroll=scroll)
        except UnsafeRequest as error:
            refused[level] = error
        except RecursionError:
            refused[level] = UnsafeRequest("body", TOO_DEEP)
    return refused


def check_arguments(arguments: Mapping[str, Any], policy: Policy) -> None:
    """See that every level takes a call of ``search``, ``msearch`` or ``count``.

    Raises:
        UnsafeRequest: one does not; the message names it.
    """
    scroll = arguments.get("scroll") is not None
    for body in _bodies(arguments):
        refused = check_request(body, policy, scroll=scroll)
        if refused:
            level, error = next(iter(refused.items()))
            where = f"at level {level!r}; this client tries every level"
            raise UnsafeRequest(error.key, f"{error.reason} ({where})") from error


def _bodies(arguments: Mapping[str, Any]) -> Iterator[Json]:
    searches = arguments.get("searches") or arguments.get("body")
    if isinstance(searches, LISTS):
        yield from searches[1::2]
    else:
        yield parse_request(arguments).body


def _try(body: Mapping[str, Any], decision: Decision, *, scroll: bool) -> None:
    given, _ = apart({"body": body}, decision)
    body = parse_request(without_documents(given)).body
    if pinned_request(body, decision) is not None:
        body = with_pinned(body, None)
    search = as_search(body)
    if searched_in_tiers(search, decision, scroll=scroll):
        shown_request(search, Cursor.of(search), decision)
    elif lacks_tier(search, decision):
        holders_request(search, decision)
        shown_request(search, Cursor([], []), decision)
    else:
        rewrite_search(body, decision, scroll=scroll, nearest=())
