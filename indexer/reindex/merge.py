"""What a document becomes in the new index: all as in the old one, with the better score."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from saferank.indexer.documents import Json
from saferank.mappings import SafetyFields
from saferank.mappings.paths import list_on_the_way, places, put_at, remove_at, values_at
from saferank.mappings.record import reference_name, to_bytes


def merged(
    source: Json, copied: Json | None, *, fields: SafetyFields, image_field: str, model: str
) -> dict[str, Any]:
    """The document to store in the new index.

    A score counts only for the very images that the document refers to now. Of the scores in
    both indices, one by the wanted model is better, then the later one. If none counts, the
    document has no score, and will be scored like a new one.

    Args:
        source: the document in the old index; not changed.
        copied: as it is in the new index already, or None.
        fields: names of the safety fields.
        image_field: field with the references.
        model: identity of the model that scores now.
    """
    names = [reference_name(reference) for reference in values_at(source, image_field)]
    scores = [
        score
        for score in (owned(source, fields), owned(copied or {}, fields))
        if score.get("status") is not None and _references(score) == names
    ]
    document = without_score(source, fields)
    if scores and not list_on_the_way(document, fields.root):
        best = max(
            scores,
            key=lambda score: (score.get("model") == model, str(score.get("scored_at"))),
        )
        put_at(document, fields.root, best)
    return document


def owned(source: Json, fields: SafetyFields) -> dict[str, Any]:
    """The values of a document's safety object that the indexer owns."""
    found: dict[str, Any] = {}
    for parent, key in places(source, fields.root, through_lists=False):
        if isinstance(safety := parent[key], Mapping):
            found |= {name: safety[name] for name in SafetyFields.INDEXER_OWNED if name in safety}
    return found


def without_score(source: Json, fields: SafetyFields) -> dict[str, Any]:
    """Copy a document without what the indexer owns; human decisions stay."""
    document = copy.deepcopy(dict(source))
    for name in SafetyFields.INDEXER_OWNED:
        remove_at(document, f"{fields.root}.{name}")
    return document


def digest(source: Json, fields: SafetyFields) -> str:
    """The SHA-256 of everything in a document but the score, whatever its order of keys."""
    document = without_score(source, fields)
    # Without a score, an object that held nothing else is as good as none.
    parts = fields.root.split(".")
    for length in range(len(parts), 0, -1):
        for parent, key in list(places(document, ".".join(parts[:length]))):
            if parent[key] in ({}, None):
                del parent[key]
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(to_bytes(text)).hexdigest()


def _references(score: Json) -> list[object]:
    images = score.get("images")
    return [
        image.get("reference") if isinstance(image, Mapping) else None
        for image in (images if isinstance(images, list) else [])
    ]
