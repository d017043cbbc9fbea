"""What people decided about documents, as labels: to train by, or to choose thresholds on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from elasticsearch import Elasticsearch
from elasticsearch.helpers import scan

from saferank.mappings.fields import SafetyFields
from saferank.mappings.override_index import indices_of, read_overrides
from saferank.mappings.overrides import OverrideRecord, Overrides
from saferank.mappings.paths import value_at, values_at
from saferank.mappings.record import Override, StoredRecord


@dataclass(frozen=True)
class DecidedDocument:
    """A document that a person allowed or blocked.

    Attributes:
        index: the concrete index that it is in.
        id: of the document.
        override: what was decided.
        references: the images that it refers to.
        record: what is stored about them: probabilities, digests, the model.
    """

    index: str
    id: str
    override: Override
    references: Sequence[object]
    record: StoredRecord


def decided_documents(
    client: Elasticsearch,
    index: str,
    fields: SafetyFields,
    image_field: str,
    *,
    overrides_index: str | None = None,
) -> Iterator[DecidedDocument]:
    """Walk through the documents of an index about which a person has decided.

    What is kept in an index of overrides wins over the copy in a document. An ``allow`` that was
    for other images than the document has now is left out, as it holds no longer.

    Args:
        client: connected.
        index: index or alias.
        fields: names of the safety fields.
        image_field: where documents name their images.
        overrides_index: where overrides are kept outside of the documents, if they are.

    Raises:
        MappingError: there is no such index, or no index of overrides.
    """
    led_to = indices_of(client, index)
    kept = Overrides() if overrides_index is None else read_overrides(client, overrides_index)
    names = {name: [name, *entry.get("aliases", ())] for name, entry in led_to.items()}
    ids = {id for known in names.values() for name in known for id in kept.of.get(name, ())}
    either = [{"exists": {"field": fields.override}}, {"ids": {"values": sorted(ids)}}]
    query = {"bool": {"should": either}}
    tops = {path.partition(".")[0] for path in (image_field, *fields.objects)}
    for hit in scan(client, index=index, query={"query": query, "_source": sorted(tops)}):
        found = kept.find(names[hit["_index"]], hit["_id"])
        document = _decided(hit, found, fields, image_field)
        if document is not None:
            yield document


def _decided(
    hit: dict[str, Any], kept: OverrideRecord | None, fields: SafetyFields, image_field: str
) -> DecidedDocument | None:
    source = hit["_source"]
    stored = value_at(source, fields.root)
    record = StoredRecord(stored if isinstance(stored, dict) else {})
    if kept is not None:
        if not kept.holds_for([image.sha256 for image in record.images]):
            return None
        said: object = kept.override.value
    else:
        said = value_at(source, fields.override)
    if said not in {one.value for one in Override}:
        return None
    references = tuple(values_at(source, image_field))
    return DecidedDocument(hit["_index"], hit["_id"], Override(said), references, record)
