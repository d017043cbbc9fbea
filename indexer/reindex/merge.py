"""What a document becomes in the new index: all as in the old one, with the better score."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Collection, Iterable, Mapping
from functools import partial
from typing import Any

from saferank.indexer.documents import Json
from saferank.mappings import SafetyFields
from saferank.mappings.paths import list_on_the_way, places, put_at, remove_at, values_at
from saferank.mappings.record import reference_name, to_bytes


def merged(
    source: Json, copied: Json | None, *, scores: Mapping[str, str], image_field: str
) -> dict[str, Any]:
    """The document to store in the new index.

    A score counts only for the very images that the document refers to now. Of the scores in
    both indices, one by the wanted model is better, then the later one. If none counts, the
    document has no score, and will be scored like a new one. Each category's is chosen on its own.

    Args:
        source: the document in the old index; not changed.
        copied: as it is in the new index already, or None.
        scores: the objects that scores go into, each with the identity of the model that scores
            now.
        image_field: field with the references.
    """
    names = [reference_name(reference) for reference in values_at(source, image_field)]
    document = without_scores(source, scores)
    for root, model in scores.items():
        found = [
            score
            for score in (owned(source, root), owned(copied or {}, root))
            if score.get("status") is not None and _references(score) == names
        ]
        if found and not list_on_the_way(document, root):
            put_at(document, root, max(found, key=partial(_worth, model)))
    return document


def _worth(model: str, score: Json) -> tuple[bool, str]:
    return score.get("model") == model, str(score.get("scored_at"))


def owned(source: Json, root: str) -> dict[str, Any]:
    """The values of a document's safety object that the indexer owns."""
    found: dict[str, Any] = {}
    for parent, key in places(source, root, through_lists=False):
        if isinstance(safety := parent[key], Mapping):
            found |= {name: safety[name] for name in SafetyFields.INDEXER_OWNED if name in safety}
    return found


def without_scores(source: Json, roots: Iterable[str]) -> dict[str, Any]:
    """Copy a document without what the indexer owns; human decisions stay."""
    document = copy.deepcopy(dict(source))
    for root in roots:
        for name in SafetyFields.INDEXER_OWNED:
            remove_at(document, f"{root}.{name}")
    return document


def digest(source: Json, roots: Collection[str]) -> str:
    """The SHA-256 of everything in a document but the scores, whatever its order of keys.

    Args:
        source: the document.
        roots: the objects that scores go into.
    """
    document = without_scores(source, roots)
    # Without a score, an object that held nothing else is as good as none.
    for root in roots:
        parts = root.split(".")
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
