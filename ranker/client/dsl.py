"""``elasticsearch.dsl`` searches that obey a policy."""

from __future__ import annotations

from typing import Any, TypeVar

from elasticsearch.dsl import AsyncMultiSearch, AsyncSearch, MultiSearch, Search

from saferank.errors import ConfigurationError
from saferank.ranker.client.client import AsyncSafeSearch, SafeSearch
from saferank.ranker.client.keywords import Context

AnySearch = TypeVar(
    "AnySearch", Search[Any], AsyncSearch[Any], MultiSearch[Any], AsyncMultiSearch[Any]
)

_SEARCHES = Search, AsyncSearch, MultiSearch, AsyncMultiSearch


def protect(
    search: AnySearch, client: SafeSearch | AsyncSafeSearch, context: Context | None = None
) -> AnySearch:
    """The same search, sent through a safe client.

    Args:
        search: as built so far; it can be built further afterwards.
        client: a safe client, asynchronous for an asynchronous search.
        context: of the request; None for the client's own.

    Returns:
        A new search of the same kind. Of each hit, ``hit.meta.saferank`` says what was done.

    Raises:
        ConfigurationError: the client is no safe client, or the search is none.
    """
    if not isinstance(search, _SEARCHES):
        raise ConfigurationError(
            f"'protect' was given {search!r}, which is not a search of elasticsearch.dsl; give it "
            "a Search or a MultiSearch, before it is sent"
        )
    if not isinstance(client, SafeSearch | AsyncSafeSearch):
        raise ConfigurationError(
            f"'protect' was given {client!r}, which is not a safe client, so the search would hide "
            "nothing; wrap it: SafeSearch(client, policy)"
        )
    bound: Any = client if context is None else client.bind(context)
    return search.using(bound)
