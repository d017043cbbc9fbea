"""The component template of the safety fields, and putting it where it belongs.

``safety.component_template.json`` is the one description of the fields; everything here derives
from it, also under other field names.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from elasticsearch import BadRequestError, Elasticsearch, NotFoundError

from saferank.errors import MappingError
from saferank.mappings.fields import SafetyFields
from saferank.mappings.source import may_have, why_not_scorable

TEMPLATE_NAME = "saferank-safety"
TEMPLATE_FILE = "safety.component_template.json"

Json = dict[str, Any]


def component_template(fields: SafetyFields | None = None, *others: SafetyFields) -> Json:
    """Build the component template for the given field names, and those of further categories.

    Returns:
        The body of ``PUT _component_template``: ``version``, ``_meta`` and ``template``.
    """
    body: Json = json.loads(
        files("saferank.mappings").joinpath(TEMPLATE_FILE).read_text(encoding="utf-8")
    )
    safety = body["template"]["mappings"]["properties"].pop("safety")
    properties: Json = {}
    for each in (fields or SafetyFields(), *others):
        for root, names in _roots(each, list(safety["properties"])).items():
            chosen = {name: safety["properties"][name] for name in names}
            _nest(properties, root, {**safety, "properties": chosen})
    body["template"]["mappings"]["properties"] = properties
    return body


def types_of(paths: Iterable[str]) -> dict[str, str]:
    """The Elasticsearch type that each of these safety fields, given by full path, must have."""
    properties = component_template()["template"]["mappings"]["properties"]["safety"]["properties"]
    return {path: properties[path.rpartition(".")[2]]["type"] for path in paths}


def version_of(mapping: Json) -> int:
    """The version of saferank's own part of a mapping; 0 where it has none."""
    version: int = mapping.get("_meta", {}).get("saferank", {}).get("version", 0)
    return version


def install(
    client: Elasticsearch,
    fields: SafetyFields | None = None,
    *others: SafetyFields,
    name: str = TEMPLATE_NAME,
) -> None:
    """Put the component template on a cluster, for use in ``composed_of`` of index templates.

    Args:
        client: connected.
        fields: names of the safety fields.
        others: names of the fields of further categories.
        name: of the template.

    Raises:
        MappingError: a newer version of saferank put it there.
    """
    body = component_template(fields, *others)
    with suppress(NotFoundError):
        answer = client.cluster.get_component_template(name=name)
        there = answer["component_templates"][0]["component_template"].get("version", 0)
        if there > body["version"]:
            raise MappingError(
                f"component template {name!r} has version {there} of the safety fields, and this "
                f"saferank knows version {body['version']}; update it"
            )
    client.cluster.put_component_template(
        name=name, template=body["template"], version=body["version"], meta=body["_meta"]
    )


def add_to_index(
    client: Elasticsearch,
    index: str,
    fields: SafetyFields | None = None,
    *,
    image_field: str | None = None,
) -> None:
    """Add the safety fields to a live index or alias; the rest of its mapping stays as it is.

    An object of that name that is there already keeps its ``dynamic``: the application may go on
    bringing fields of its own.

    Args:
        client: connected.
        index: index or alias; of an alias, all its indices are meant.
        fields: names of the safety fields.
        image_field: source field with the image references, if it is known.

    Raises:
        MappingError: there is no such index, it maps one of the names differently, or storing a
            score would lose something of its documents.
    """
    fields = fields or SafetyFields()
    wanted = component_template(fields)["template"]["mappings"]
    for concrete, found in _indices(client, index).items():
        if loss := _loss(concrete, found, fields, image_field):
            raise MappingError(loss)
        conflicts = [
            problem
            for missing, problem in problems(found.mapping, wanted["properties"])
            if not missing
        ]
        if conflicts:
            raise MappingError(
                f"index {concrete!r} maps the safety fields differently: {'; '.join(conflicts)}; "
                "choose another name with SAFERANK_FIELD, or re-index with the right mapping"
            )
        if theirs := _not_ours(found.mapping, fields):
            raise MappingError(
                f"index {concrete!r} has an object {fields.root!r} of its own with "
                f"{', '.join(theirs)}, which scoring would write over; choose another name with "
                "SAFERANK_FIELD"
            )
        # The index's own `_meta` would be replaced, so it is sent along.
        meta = found.mapping.get("_meta", {})
        version = max(version_of(found.mapping), version_of(wanted))
        ours = {**meta.get("saferank", {}), "version": version}
        try:
            client.indices.put_mapping(
                index=concrete,
                properties=_as_there(wanted["properties"], found.mapping.get("properties", {})),
                meta={**meta, "saferank": ours},
            )
        except BadRequestError as error:
            raise MappingError(
                f"index {concrete!r} does not take the safety fields: {error}"
            ) from error


def check_index(
    client: Elasticsearch,
    index: str,
    fields: SafetyFields | None = None,
    *,
    image_field: str | None = None,
) -> None:
    """See that an index (or each index of an alias) can be scored and has the safety fields.

    Args:
        client: connected.
        index: index, alias or pattern.
        fields: names of the safety fields.
        image_field: source field with the image references, if it is known.

    Raises:
        MappingError: there is no such index, a field is missing or mapped differently, or storing
            a score would lose something of its documents.
    """
    for reason in not_ready(client, index, fields, image_field=image_field).values():
        raise MappingError(reason)


def not_ready(
    client: Elasticsearch,
    index: str,
    fields: SafetyFields | None = None,
    *,
    image_field: str | None = None,
) -> dict[str, str]:
    """The indices of a name that cannot be scored or lack the safety fields, each with the reason.

    Args:
        client: connected.
        index: index, alias or pattern.
        fields: names of the safety fields.
        image_field: source field with the image references, if it is known.

    Raises:
        MappingError: there is no such index.
    """
    fields = fields or SafetyFields()
    wanted = component_template(fields)["template"]["mappings"]["properties"]
    reasons = {}
    for concrete, found in _indices(client, index).items():
        if loss := _loss(concrete, found, fields, image_field):
            reasons[concrete] = loss
        elif wrong := [problem for _, problem in problems(found.mapping, wanted)]:
            reasons[concrete] = (
                f"index {concrete!r} is not ready for safety scores: {'; '.join(wrong)}; "
                f"{how_to_install(concrete, fields.root)}"
            )
    return reasons


def how_to_install(index: str, root: str) -> str:
    """What to do about an index that lacks the fields under an object, for a message.

    Without settings that name the object, the command would add another one, and say that all is
    well.
    """
    command = f"run 'saferank mapping install {index}'"
    if root == SafetyFields().root:
        return command
    return f"{command} with {root!r} in its settings: SAFERANK_FIELD, or the 'field' of a category"


def lacking(client: Elasticsearch, index: str, path: str) -> list[str]:
    """The indices with documents whose mapping says that none of them has a field.

    Raises:
        MappingError: there is no such index.
    """
    suspects = [
        name for name, found in _indices(client, index).items() if not may_have(found.mapping, path)
    ]
    return [name for name in suspects if client.count(index=name)["count"]]


def _as_there(wanted: Json, have: Json) -> Json:
    """The wanted properties, without the ``dynamic`` of objects that are there already."""
    result: Json = {}
    for name, definition in wanted.items():
        there = have.get(name)
        if there is not None and "properties" in definition:
            inside = _as_there(definition["properties"], there.get("properties", {}))
            kept = {key: value for key, value in definition.items() if key != "dynamic"}
            definition = {**kept, "properties": inside}
        result[name] = definition
    return result


def _not_ours(mapping: Json, fields: SafetyFields) -> list[str]:
    """Names that scoring writes and that an object has which saferank has not made."""
    if "saferank" in mapping.get("_meta", {}):
        return []
    have: Json = mapping
    for part in fields.root.split("."):
        have = have.get("properties", {}).get(part, {})
    names = [name for name in SafetyFields.INDEXER_OWNED if name in have.get("properties", {})]
    lacking = set(SafetyFields.INDEXER_OWNED) - set(names)
    return [] if lacking <= _NEW else names


# What version 3 of the template brought: an index of an earlier one is ours all the same.
_NEW = {"digests", "matched", "matched_by"}


def _roots(fields: SafetyFields, names: list[str]) -> dict[str, list[str]]:
    """Which properties go under which object: the decisions may live in another one."""
    scores = [name for name in names if name in SafetyFields.INDEXER_OWNED]
    decisions = [name for name in names if name not in scores]
    override_root = fields.override_root or fields.root
    if override_root == fields.root:
        return {fields.root: scores + decisions}
    return {fields.root: scores, override_root: decisions}


def _nest(properties: Json, path: str, definition: Json) -> None:
    """Put an object's definition at a dotted path."""
    *parents, last = path.split(".")
    for parent in parents:
        properties = properties.setdefault(parent, {}).setdefault("properties", {})
    inside = properties.get(last, {}).get("properties", {})
    properties[last] = {**definition, "properties": {**inside, **definition["properties"]}}


@dataclass(frozen=True, slots=True)
class _Index:
    """What an index is made of, as far as it matters here."""

    mapping: Json
    settings: Json

    @classmethod
    def of(cls, found: Json) -> _Index:
        """Read an entry of ``GET index?include_defaults``."""
        set_to, default = (found.get(part, {}).get("index", {}) for part in _PARTS)
        inside = {**default.get("mapping", {}), **set_to.get("mapping", {})}
        return cls(found.get("mappings", {}), {**set_to, "mapping": inside})


_PARTS = ("settings", "defaults")
# All defaults of an index are some 30 kB. The uuid is there always, and so is the index then.
_NEEDED = (
    "*.mappings",
    "*.settings.index.uuid",
    "*.settings.index.mode",
    *(f"*.{part}.index.mapping" for part in _PARTS),
)


def _indices(client: Elasticsearch, index: str) -> dict[str, _Index]:
    """The indices that a name stands for."""
    try:
        response = client.indices.get(index=index, include_defaults=True, filter_path=_NEEDED)
    except NotFoundError as error:
        raise MappingError(
            f"there is no index {index!r}; create it first, or correct the name"
        ) from error
    if not response.body:
        raise MappingError(f"no index matches {index!r}; correct the pattern")
    return {name: _Index.of(found) for name, found in response.body.items()}


def _loss(name: str, index: _Index, fields: SafetyFields, image_field: str | None) -> str | None:
    """Why storing a score in an index would lose something, or could not be done."""
    if index.mapping.get("_meta", {}).get("saferank", {}).get("own"):
        return f"index {name!r} is one of saferank's own and has no images; name another"
    own = (fields.images, *fields.deciding)
    needed = own if image_field is None else (*own, image_field)
    reason = why_not_scorable(index.mapping, index.settings, needed)
    return f"index {name!r} {reason}" if reason else None


def problems(mapping: Json, wanted: Json) -> Iterator[tuple[bool, str]]:
    """Compare a mapping with the wanted properties.

    Yields:
        ``(missing, sentence)``: missing fields can be added, others cannot be changed.
    """
    yield from _compare(mapping.get("properties", {}), wanted, "")


def _compare(have: Mapping[str, Json], wanted: Mapping[str, Json], prefix: str) -> Iterator[Any]:
    for name, definition in wanted.items():
        path = f"{prefix}{name}"
        actual = have.get(name)
        if actual is None:
            yield True, f"field {path!r} is missing"
            continue
        wanted_type = definition.get("type", "object")
        actual_type = actual.get("type", "object")
        if actual_type != wanted_type:
            yield False, f"field {path!r} is {actual_type!r} and must be {wanted_type!r}"
        elif "properties" in definition:
            yield from _compare(actual.get("properties", {}), definition["properties"], f"{path}.")
        elif definition.get("enabled", True) != actual.get("enabled", True):
            wanted_enabled = json.dumps(definition.get("enabled", True))
            yield False, f"field {path!r} must have 'enabled: {wanted_enabled}'"
        elif actual.get("index") is False or actual.get("doc_values") is False:
            yield False, f"field {path!r} must be indexed and have doc values"
