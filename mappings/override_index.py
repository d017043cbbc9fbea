"""The index of people's overrides: made, read, and changed together with the copy in a document."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from elasticsearch import ConflictError, Elasticsearch, NotFoundError

from saferank.connection import make_index
from saferank.errors import DocumentNotFound, MappingError
from saferank.mappings.fields import SafetyFields
from saferank.mappings.overrides import (
    DOCUMENT,
    MOST,
    NO_FIELDS,
    OverrideRecord,
    Overrides,
    changed_document,
    no_overrides,
)
from saferank.mappings.paths import list_on_the_way, nested, values_at
from saferank.mappings.record import ImageRecord, StoredRecord

_ATTEMPTS = 20
_MAPPING = {
    "dynamic": "strict",
    "_meta": {"saferank": {"version": 1, "own": True}},
    "properties": {"of": {"type": "object", "enabled": False}},
}


def install_overrides(client: Elasticsearch, index: str) -> None:
    """Make the index of overrides unless it is there."""
    # Each node that can search has a copy of its own.
    make_index(client, index, _MAPPING, replicas="0-all")
    try:
        client.create(index=index, id=DOCUMENT, document=Overrides().to_document())
    except ConflictError:
        return


def read_overrides(client: Elasticsearch, index: str) -> Overrides:
    """Read all overrides as they are at this moment.

    Raises:
        MappingError: there is no such index.
    """
    try:
        found = client.get(index=index, id=DOCUMENT)
    except NotFoundError as error:
        raise no_overrides(index) from error
    return Overrides.from_document(found["_source"])


def override(
    client: Elasticsearch,
    overrides_index: str | None,
    fields: SafetyFields,
    index: str,
    id: str,
    record: OverrideRecord | None,
    *,
    routing: str | None = None,
    seen: Sequence[str] | None = None,
) -> None:
    """Note what a person decided about a document, and copy it there; None takes it back.

    Searches obey it after ``HOLDS`` seconds at the latest. An ``allow`` is bound to images, unless
    the document alone has it.

    Args:
        client: connected.
        overrides_index: where overrides are kept; None when documents alone have them.
        fields: names of the safety fields.
        index: the document's index, or the alias that the application uses. An override of an
            alias goes along when the alias is moved to another index.
        id: of the document.
        record: what was decided, without digests.
        routing: the document's, if it has one.
        seen: SHA-256 of the images that an ``allow`` is for; those that the document is scored by
            now unless given. Where it has others by now, the copy in the document is taken out.

    Raises:
        MappingError: there is no such index or document, or no index of overrides.
    """
    documents = find_documents(client, fields, index, id, routing)
    holds = True
    if record is not None:
        images = [image for found in documents for image in images_of(found, fields)]
        digests = sorted({image.sha256 for image in images if image.sha256})
        record = record.bound_to(digests if seen is None else seen)
        holds = overrides_index is None or record.holds_for(digests)
    if overrides_index is not None:
        _change(client, overrides_index, index, id, record)
    copy = NO_FIELDS if record is None or not holds else record.to_fields()
    for found in documents:
        client.update(
            index=found["_index"],
            id=id,
            routing=routing,
            doc=nested(fields.override_object, copy),
            retry_on_conflict=10,
        )


def indices_of(client: Elasticsearch, index: str) -> dict[str, Any]:
    """The concrete indices that a name leads to, each with its aliases.

    Raises:
        MappingError: it leads to none.
    """
    try:
        return dict(client.indices.get_alias(index=index).body)
    except NotFoundError as error:
        raise MappingError(f"there is no index {index!r}; correct the name") from error


def find_documents(
    client: Elasticsearch, fields: SafetyFields, index: str, id: str, routing: str | None
) -> list[dict[str, Any]]:
    """The documents of this id; of an alias over several indices there may be several.

    Raises:
        DocumentNotFound: there is no such document.
        MappingError: there is no such index, or the document cannot have an override.
    """
    led_to = indices_of(client, index)
    if index not in led_to and "*" in index:
        raise MappingError(f"an override is of one index or alias, not of a pattern: {index!r}")
    aliases = led_to.get(index, {}).get("aliases", {})
    if whole := sorted(name for name, alias in aliases.items() if "filter" not in alias):
        raise MappingError(
            f"index {index!r} is behind {', '.join(map(repr, whole))}; name the alias, which "
            "the override follows when the alias is moved"
        )
    where = {"_id": id} if routing is None else {"_id": id, "routing": routing}
    docs = [{**where, "_index": name} for name in led_to]
    entries = client.mget(docs=docs)["docs"]
    found = [entry for entry in entries if entry.get("found")]
    if not found:
        raise DocumentNotFound(
            f"index {index!r} has no document {id!r}; correct the id, or give its routing"
        )
    for entry in found:
        if path := list_on_the_way(entry["_source"], fields.override_object):
            raise MappingError(
                f"document {id!r} has a list at {path!r}, which an override would replace; name "
                "another object with SAFERANK_OVERRIDE_FIELD"
            )
    return found


def images_of(found: dict[str, Any], fields: SafetyFields) -> list[ImageRecord]:
    """What is stored of the images of a document, as it was read."""
    stored: object = next(values_at(found["_source"], fields.root), {})
    return list(StoredRecord(stored).images) if isinstance(stored, dict) else []


def _change(
    client: Elasticsearch, index: str, name: str, id: str, record: OverrideRecord | None
) -> None:
    """Change one override; another writer's change is never undone."""
    for _ in range(_ATTEMPTS):
        try:
            found = client.get(index=index, id=DOCUMENT)
        except NotFoundError as error:
            raise no_overrides(index) from error
        changed = changed_document(found["_source"], name, id, record)
        if sum(map(len, changed["of"].values())) > MOST:
            raise MappingError(
                f"index {index!r} has {MOST} overrides, and can have no more; remove those of "
                "documents that are gone"
            )
        try:
            client.index(
                index=index,
                id=DOCUMENT,
                document=changed,
                if_seq_no=found["_seq_no"],
                if_primary_term=found["_primary_term"],
            )
        except ConflictError:
            continue
        return
    raise MappingError(f"index {index!r} is being changed all the time; try again")
