"""Whether an index keeps of its documents' source what storing a score needs.

A score is stored by a partial update: Elasticsearch reads the source, adds the score, and indexes
the whole document anew. A field that the index leaves out of the source is not there then, and is
gone from the index.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Json = Mapping[str, Any]

# Elasticsearch 9 keeps these beside the source, and puts them back.
_VECTORS = frozenset({"dense_vector", "sparse_vector", "rank_vectors"})
_WITHOUT_DOC_VALUES = frozenset(
    {"text", "match_only_text", "annotated_text", "search_as_you_type", "binary"}
)
_NAMED = 10


def why_not_scorable(mapping: Json, settings: Json, needed: tuple[str, ...]) -> str | None:
    """Why storing scores in an index would fail or lose data, as the end of a sentence.

    Args:
        mapping: of the index.
        settings: of the index, without ``index`` in front, defaults included.
        needed: paths that scoring reads from the source.

    Returns:
        None when nothing speaks against it.
    """
    kept = mapping.get("_source", {})
    inside = settings.get("mapping", {})
    modes = {kept.get("mode"), inside.get("source", {}).get("mode")}
    if settings.get("mode") == "time_series":
        return "is a time series index, which takes no updates; keep the images in another index"
    if kept.get("enabled") is False or "disabled" in modes:
        return (
            "keeps no source of its documents, so no score could be added to them; index them "
            "into one that does"
        )
    if mapping.get("subobjects") in (False, "false"):
        return (
            "has 'subobjects: false', and the safety fields are an object; index its documents "
            "into one with objects"
        )
    vectors_stay = str(inside.get("exclude_source_vectors")).lower() == "true"
    lost = list(dict.fromkeys(_lost(mapping, _Filter.of(kept), needed, vectors_stay=vectors_stay)))
    if not lost:
        return None
    more = f" and {len(lost) - _NAMED} more" if len(lost) > _NAMED else ""
    return (
        f"leaves {', '.join(map(repr, lost[:_NAMED]))}{more} out of its documents' source, and "
        "storing a score would take that out of the index; index the documents into one that "
        "keeps the source whole"
    )


def may_have(mapping: Json, path: str) -> bool:
    """Whether documents with this mapping can have values at a path, as far as one can tell.

    False for a field that a mapping with documents would name, and does not.
    """
    fields = dict(_fields(mapping, "", dynamic=True))
    place = path
    while place not in fields:
        place = place.rpartition(".")[0]
    return place == path or fields[place].open


def _lost(
    mapping: Json, filters: _Filter, needed: tuple[str, ...], *, vectors_stay: bool
) -> Iterator[str]:
    """What is left out and searched, read, or may come with any document."""
    fields = dict(_fields(mapping, "", dynamic=True))
    for path in needed:
        if not filters.keeps(path):
            yield path
    for path, field in fields.items():
        harmless = vectors_stay and field.kind in _VECTORS
        if field.used and path not in needed and not harmless and not filters.keeps(path):
            yield path
    yield from filters.open_to(fields)


@dataclass(frozen=True, slots=True)
class _Field:
    """A field of a mapping.

    Attributes:
        kind: its type.
        used: whether its values are in the index, and not only in the source.
        dynamic: whether it is an object in which a document may bring a new field into the index.
        open: whether it may hold values that the mapping does not name, in the index or not.
    """

    kind: str
    used: bool
    dynamic: bool = False
    open: bool = False


@dataclass(frozen=True, slots=True)
class _Filter:
    """What a mapping's ``_source`` lets pass: patterns in which ``*`` stands for anything."""

    includes: tuple[str, ...]
    excludes: tuple[str, ...]

    @classmethod
    def of(cls, kept: Json) -> _Filter:
        return cls(tuple(kept.get("includes", ())), tuple(kept.get("excludes", ())))

    def keeps(self, path: str) -> bool:
        """Whether the source has a field."""
        included = not self.includes or any(_covers(one, path) for one in self.includes)
        return included and not any(_covers(one, path) for one in self.excludes)

    def open_to(self, fields: Mapping[str, _Field]) -> Iterator[str]:
        """Patterns of fields that are in no document yet, and would be left out and indexed."""
        dynamic = [path for path, field in fields.items() if field.dynamic]
        for path in dynamic:
            new = f"{path}.*".lstrip(".")
            if self.includes and not any(_covers(one, new) for one in self.includes):
                yield new
        for pattern in self.excludes:
            if pattern not in fields and _may_appear(pattern, fields):
                yield pattern


def _may_appear(pattern: str, fields: Mapping[str, _Field]) -> bool:
    """Whether a document can bring a new field of this name into the index."""
    fixed, star, _ = pattern.partition("*")
    container = place = fixed.rpartition(".")[0]
    while place not in fields:
        place = place.rpartition(".")[0]
    if fields[place].dynamic:
        return True
    below = f"{place}.".lstrip(".")
    inner = (field for path, field in fields.items() if path.startswith(below))
    return bool(star) and place == container and any(field.dynamic for field in inner)


def _covers(pattern: str, path: str) -> bool:
    """Whether a pattern names a path or an object that it is in."""
    expression = ".*".join(map(re.escape, pattern.split("*")))
    return re.fullmatch(rf"{expression}(\..*)?", path, re.DOTALL) is not None


def _fields(mapping: Json, path: str, *, dynamic: object) -> Iterator[tuple[str, _Field]]:
    """All fields of an object, the object itself first."""
    if mapping.get("enabled") is False:
        yield path, _Field("object", used=False, open=True)
        return
    dynamic = str(mapping.get("dynamic", dynamic)).lower()
    unnamed = dynamic in ("false", "runtime")
    yield path, _Field("object", used=False, dynamic=dynamic == "true", open=unnamed)
    for name, definition in mapping.get("properties", {}).items():
        inside = f"{path}.{name}".lstrip(".")
        kind = definition.get("type", "object")
        if kind in ("object", "nested"):
            yield from _fields(definition, inside, dynamic=dynamic)
        else:
            yield inside, _Field(kind, _is_used(kind, definition), open=kind == "flattened")


def _is_used(kind: str, definition: Json) -> bool:
    """Whether a field's values are more than a part of the source."""
    if kind == "alias":
        return False
    inner = definition.get("fields", {}).values()
    return (
        (kind != "binary" and definition.get("index") is not False)
        or definition.get("doc_values", kind not in _WITHOUT_DOC_VALUES) is not False
        or definition.get("store") is True
        or bool(definition.get("copy_to"))
        or any(_is_used(one.get("type", "object"), one) for one in inner)
    )
