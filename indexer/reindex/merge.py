"""What a document becomes in the new index: all as in the old one, with the better score."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from saferank.indexer.documents import reference_name, values_at
from saferank.mappings import SafetyFields

Json = Mapping[str, Any]


def merged(
    source: Json, copied: Json | None, *, fields: SafetyFields, image_field: str, model: str
) -> dict[str, Any]:
    """Give the document to store in the new index.

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
    if scores:
        best = max(
            scores,
            key=lambda score: (score.get("model") == model, str(score.get("scored_at"))),
        )
        _put(document, fields.root, best)
    return document


def owned(source: Json, fields: SafetyFields) -> dict[str, Any]:
    """Give the values of a document's safety object that the indexer owns."""
    found: dict[str, Any] = {}
    for safety in values_at(source, fields.root):
        if isinstance(safety, Mapping):
            found |= {name: safety[name] for name in SafetyFields.INDEXER_OWNED if name in safety}
    return found


def without_score(source: Json, fields: SafetyFields) -> dict[str, Any]:
    """Copy a document without what the indexer owns; human decisions stay."""
    document = copy.deepcopy(dict(source))
    for name in SafetyFields.INDEXER_OWNED:
        _remove(document, f"{fields.root}.{name}")
    return document


def digest(source: Json, fields: SafetyFields) -> str:
    """Give the SHA-256 of everything in a document but the score, whatever its order of keys."""
    document = without_score(source, fields)
    # Without a score, an object that held nothing else is as good as none.
    parts = fields.root.split(".")
    for length in range(len(parts), 0, -1):
        for parent, key in list(_places(document, ".".join(parts[:length]))):
            if parent[key] in ({}, None):
                del parent[key]
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _references(score: Json) -> list[object]:
    images = score.get("images")
    return [
        image.get("reference") if isinstance(image, Mapping) else None
        for image in (images if isinstance(images, list) else [])
    ]


def _places(value: object, path: str) -> Iterator[tuple[dict[str, Any], str]]:
    """Find where a path leads in a document, through nested objects and keys with dots.

    Yields:
        The object that holds the last key, and that key.
    """
    if isinstance(value, list):
        for item in value:
            yield from _places(item, path)
    elif isinstance(value, dict):
        parts = path.split(".")
        for length in range(1, len(parts) + 1):
            name, rest = ".".join(parts[:length]), ".".join(parts[length:])
            if name in value and not rest:
                yield value, name
            elif name in value:
                yield from _places(value[name], rest)


def _remove(document: dict[str, Any], path: str) -> None:
    for parent, key in list(_places(document, path)):
        del parent[key]


def _put(document: dict[str, Any], path: str, values: Json) -> None:
    place = next(
        (parent[key] for parent, key in _places(document, path) if isinstance(parent[key], dict)),
        None,
    )
    if place is None:
        place = document
        for name in path.split("."):
            if not isinstance(place.get(name), dict):
                place[name] = {}
            place = place[name]
    place |= copy.deepcopy(dict(values))
