"""Filtered aliases: what a level hides, for clients that are not ours to change.

An alias is a filter on what a search finds. It cannot demote, nor say what to blur, and everything
else that a client may ask for passes it by: ``PROTECTS`` and ``LEAVES_OPEN`` say what; a test on a
real node holds each.
"""

from __future__ import annotations

from typing import Any

from elasticsearch import BadRequestError, Elasticsearch, NotFoundError

from saferank.errors import ConfigurationError
from saferank.mappings import template
from saferank.mappings.override_index import read_overrides
from saferank.mappings.overrides import Overrides
from saferank.ranker.bodies import MATCH_ALL
from saferank.ranker.level.decision import Decision
from saferank.ranker.policy.policy import Policy
from saferank.ranker.rewrite.query import without_hidden

ALIAS_NAME = "{index}-{level}"
"""How the alias of an index is called at a level."""


PROTECTS = {
    "hits": "hits, totals and counts, in any order and on any page",
    "aggregations": "aggregations, also 'global' and 'significant_terms'",
    "neighbours": "nearest neighbours, as 'knn', as a query and in retrievers",
    "groups": "inner hits of groups and of nested objects",
    "pages": "scrolls, and points in time that are opened through it",
}
"""What an alias keeps hidden documents out of, each in words for people."""

LEAVES_OPEN = {
    "reads": "reads by id: get, mget, get_source, exists, termvectors, explain, and an update that "
    "returns the document",
    "lookups": "'terms' lookups and 'more_like_this' by id, which read any document",
    "suggestions": "suggestions: completions are documents, 'term' and 'phrase' words of all",
    "profile": "'profile', and 'explain' of a phrase prefix: they list words of all documents",
    "words": "'terms' with 'min_doc_count: 0' and terms_enum: likewise",
    "numbers": "statistics of the index, which count all documents",
    "names": "the index by its own name, a pattern or a looser alias, alone or beside this one",
    "writes": "writes, which change any document",
}
"""What passes an alias by."""


def alias_filter(decision: Decision) -> dict[str, Any]:
    """The filter of the alias for a level: a query that exactly the shown documents match."""
    return without_hidden(MATCH_ALL, decision)


def install_aliases(
    client: Elasticsearch, index: str, policy: Policy, *, name: str = ALIAS_NAME
) -> list[str]:
    """Make or renew one alias a level, all in one step.

    Args:
        client: a plain client.
        index: index or alias; of an alias, all its indices are meant.
        policy: whose levels to use. Install again when it changes, and after each override of the
            index that it names: a filter cannot look them up.
        name: with ``{index}`` and ``{level}`` in it.

    Returns:
        The names of the aliases.

    Raises:
        MappingError: there is no such index, or it lacks the safety fields.
        ConfigurationError: a name cannot be used, as when it is that of an index.
    """
    for one in policy.by_category().values():
        template.check_index(client, index, one.fields)
    indices = list(client.indices.get_alias(index=index))
    overrides = (
        Overrides() if policy.overrides is None else read_overrides(client, policy.overrides)
    )
    aliases = {level: _name(name, index, level) for level in policy.levels}
    if len(set(aliases.values())) < len(aliases):
        raise ConfigurationError(f"alias name {name!r} must have '{{level}}' in it")
    actions = [
        {
            "add": {
                "indices": indices,
                "alias": alias,
                "filter": alias_filter(policy.decision_for(level).knowing(overrides)),
            }
        }
        for level, alias in aliases.items()
    ]
    try:
        client.indices.update_aliases(actions=actions)
    except BadRequestError as error:
        raise ConfigurationError(
            f"the aliases cannot be made: {_reason(error)}; choose other names with --name"
        ) from error
    return list(aliases.values())


def remove_aliases(
    client: Elasticsearch, index: str, policy: Policy, *, name: str = ALIAS_NAME
) -> list[str]:
    """Remove the aliases of all levels; the names of those that were there."""
    try:
        indices = client.indices.get_alias(index=index)
    except NotFoundError as error:
        raise ConfigurationError(f"there is no index {index!r}") from error
    there = {alias for entry in indices.values() for alias in entry["aliases"]}
    names = [_name(name, index, level) for level in policy.levels]
    gone = [alias for alias in names if alias in there]
    if gone:
        remove = {"indices": list(indices), "aliases": gone}
        client.indices.update_aliases(actions=[{"remove": remove}])
    return gone


def _name(name: str, index: str, level: str) -> str:
    try:
        return name.format(index=index, level=level)
    except (KeyError, IndexError, ValueError) as error:
        raise ConfigurationError(
            f"alias name {name!r} may have only '{{index}}' and '{{level}}' in braces"
        ) from error


def _reason(error: BadRequestError) -> str:
    body: Any = error.body
    return str(body["error"]["reason"] if isinstance(body, dict) else body)
