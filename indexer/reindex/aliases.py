"""Moving aliases from one index to another, in one step for everybody who searches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from elasticsearch import Elasticsearch, NotFoundError

from saferank.connection import index_exists
from saferank.errors import JobError
from saferank.indexer.documents import Json


def indices_of(client: Elasticsearch, name: str) -> list[str]:
    """The indices that an alias leads to; an index leads to itself.

    Raises:
        JobError: there is neither an alias nor an index of that name.
    """
    try:
        return sorted(client.indices.get_alias(name=name))
    except NotFoundError:
        if index_exists(client, name):
            return [name]
        raise JobError(f"there is no index or alias {name!r}; correct the name") from None


def aliases_of(client: Elasticsearch, index: str) -> list[str]:
    """The aliases that lead to an index, those of saferank's levels among them."""
    return sorted(client.indices.get_alias(index=index)[index]["aliases"])


def check_movable(client: Elasticsearch, source: str, target: str, aliases: Sequence[str]) -> None:
    """See that each name is an alias of the old index already, or free.

    Raises:
        JobError: one is the name of an index, or an alias of other indices only.
    """
    for name in aliases:
        if not index_exists(client, name):
            continue
        held = client.indices.get_alias(index=name)
        if name in held:
            raise JobError(
                f"{name!r} is an index and cannot be an alias; name the alias that searches use"
            )
        if not {source, target} & set(held):
            raise JobError(f"alias {name!r} does not lead to {source!r} but to {', '.join(held)}")


def move(client: Elasticsearch, source: str, target: str, aliases: Sequence[str]) -> None:
    """Lead aliases to another index in one step; their filters and routing go along."""
    definitions: Json = client.indices.get_alias(index=source)[source]["aliases"]
    actions: list[dict[str, Any]] = []
    for name in aliases:
        if name in definitions:
            actions.append({"remove": {"index": source, "alias": name, "must_exist": True}})
        actions.append({"add": {"index": target, "alias": name, **definitions.get(name, {})}})
    client.indices.update_aliases(actions=actions)


def moved(client: Elasticsearch, source: str, target: str, aliases: Sequence[str]) -> bool:
    """Whether all of these aliases lead to the new index and none to the old one."""
    old = client.indices.get_alias(index=source)[source]["aliases"]
    new = client.indices.get_alias(index=target)[target]["aliases"]
    return bool(aliases) and all(name in new and name not in old for name in aliases)
