"""The new index: the old one's settings and mapping, with the safety fields."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from elasticsearch import BadRequestError, Elasticsearch, NotFoundError

from saferank.connection import index_exists
from saferank.errors import ConfigurationError, JobError, MappingError
from saferank.indexer.documents import Json
from saferank.mappings import SafetyFields, add_to_index, check_index

# What Elasticsearch itself writes into an index's settings, or what belongs to one index only.
_NOT_COPIED = ("uuid", "creation_date", "provided_name", "version", "resize", "history")
_NOT_COPIED_INSIDE = (("routing", "allocation", "initial_recovery"), ("blocks",))


def definition_of(client: Elasticsearch, index: str) -> dict[str, Any]:
    """Read the settings and the mapping that an index was made with.

    Raises:
        MappingError: there is no such index, or it does not keep the documents' whole source.
    """
    try:
        found = client.indices.get(index=index)
    except NotFoundError as error:
        raise MappingError(f"there is no index {index!r}; correct the name") from error
    if list(found) != [index]:
        raise MappingError(f"{index!r} is not one index but stands for {', '.join(found)}")
    mappings = copy.deepcopy(found[index]["mappings"])
    kept = mappings.get("_source", {})
    if kept.get("enabled") is False or kept.get("includes") or kept.get("excludes"):
        raise MappingError(
            f"index {index!r} does not keep the whole source of its documents, so they cannot be "
            "copied; index them again from where they came"
        )
    return {
        "settings": {"index": copied_settings(found[index]["settings"]["index"])},
        "mappings": mappings,
    }


def copied_settings(settings: Json) -> dict[str, Any]:
    """Leave out of an index's settings what a new index must not or cannot have."""
    kept = {
        name: copy.deepcopy(value)
        for name, value in settings.items()
        if name not in _NOT_COPIED and name != "verified_read_only"
    }
    for *parents, last in _NOT_COPIED_INSIDE:
        place = kept
        for parent in parents:
            place = place.get(parent, {})
        place.pop(last, None)
    return kept


def parse_definition(value: object, path: str) -> dict[str, Any]:
    """Check what a file says about the new index: ``settings`` and ``mappings``, both optional.

    Raises:
        ConfigurationError: it says something else.
    """
    if not isinstance(value, dict) or not set(value) <= {"settings", "mappings"}:
        raise ConfigurationError(
            f"{path}: must be a JSON object with 'settings' and 'mappings', as for creating an "
            "index"
        )
    return value


def create(
    client: Elasticsearch,
    index: str,
    definition: Json,
    every: Sequence[SafetyFields],
    *,
    origin: str,
) -> None:
    """Make the new index, or see that it is the one that an earlier run made.

    Args:
        client: connected.
        index: name of the new index.
        definition: its ``settings`` and ``mappings``; the safety fields are added.
        every: names of the safety fields, for each category.
        origin: uuid of the index that is copied; noted in the mapping.

    Raises:
        JobError: another index of that name exists.
        MappingError: Elasticsearch refuses the definition.
    """
    made = not index_exists(client, index)
    if not made:
        found = client.indices.get_mapping(index=index)
        if index not in found or _origin(found[index]["mappings"]) != origin:
            raise JobError(
                f"index {index!r} exists already and was not made by this reindex; choose another "
                "name, or delete it"
            )
    else:
        mappings = copy.deepcopy(dict(definition.get("mappings", {})))
        meta = mappings.setdefault("_meta", {})
        meta["saferank"] = {**meta.get("saferank", {}), "copied_from": origin}
        try:
            client.indices.create(
                index=index,
                settings=_without_pipeline(definition.get("settings", {})),
                mappings=mappings,
            )
        except BadRequestError as error:
            raise MappingError(f"Elasticsearch refuses to make {index!r}: {error}") from error
    try:
        for fields in every:
            add_to_index(client, index, fields)
        note_origin(client, index, origin)
        for fields in every:
            check_index(client, index, fields)
    except MappingError:
        if made:  # the next try may come with another definition
            client.indices.delete(index=index)
        raise


def restore_pipeline(client: Elasticsearch, index: str, definition: Json) -> None:
    """Set the new index's final pipeline, which the copied documents must not pass again."""
    settings = definition.get("settings", {})
    pipeline = settings.get("index", {}).get("final_pipeline", settings.get("index.final_pipeline"))
    if pipeline is not None:
        client.indices.put_settings(index=index, settings={"index.final_pipeline": pipeline})


def _without_pipeline(settings: Json) -> dict[str, Any]:
    """Leave out the final pipeline: the documents that are copied went through it already."""
    kept = {name: value for name, value in settings.items() if name != "index.final_pipeline"}
    if isinstance(kept.get("index"), Mapping):
        kept["index"] = {
            name: value for name, value in kept["index"].items() if name != "final_pipeline"
        }
    return kept


def note_origin(client: Elasticsearch, index: str, origin: str) -> None:
    """Note in an index's mapping which index it is a copy of."""
    meta = client.indices.get_mapping(index=index)[index]["mappings"].get("_meta", {})
    if meta.get("saferank", {}).get("copied_from") != origin:
        safety = {**meta.get("saferank", {}), "copied_from": origin}
        client.indices.put_mapping(index=index, meta={**meta, "saferank": safety})


def uuid_of(client: Elasticsearch, index: str) -> str:
    """The uuid that tells an index from a later one of the same name."""
    settings = client.indices.get_settings(index=index)
    uuid: str = settings[index]["settings"]["index"]["uuid"]
    return uuid


def _origin(mapping: Json) -> str | None:
    origin: str | None = mapping.get("_meta", {}).get("saferank", {}).get("copied_from")
    return origin
