"""What an index template will give to the next index of a data stream or a rollover alias.

Fields that were added to the indices that are there do not come along: a new index takes its
mapping from a template alone. One without the safety fields cannot be searched safely, from the
moment of the rollover on.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from elasticsearch import AuthorizationException, Elasticsearch

from saferank.mappings.fields import SafetyFields
from saferank.mappings.template import TEMPLATE_NAME, component_template, problems

Json = Mapping[str, Any]


def next_indices_without_fields(
    client: Elasticsearch, index: str, fields: SafetyFields | None = None
) -> list[str]:
    """What is to be done so that later indices have the safety fields, too; a sentence for each.

    Args:
        client: connected, with the cluster privilege ``manage_index_templates``.
        index: index, alias, data stream or pattern; it must exist.
        fields: names of the safety fields.
    """
    places = client.indices.get(index=index, filter_path=_NEEDED).body
    names = {entry.get("data_stream", name): _rolls_over(entry) for name, entry in places.items()}
    try:
        templates = client.indices.get_index_template()["index_templates"]
        legacy = client.indices.get_template().body
    except AuthorizationException:
        unseen = [name for name, rolls_over in names.items() if rolls_over]
        return [_UNSEEN.format(name=name) for name in unseen]
    makers = {name: template_of(name, templates) for name in names}
    # Of the many indices that one template made, the last stands for all.
    chosen = {maker["name"] if maker else name: name for name, maker in makers.items()}
    advice = (
        _advice_composed(client, name, maker, fields)
        if (maker := makers[name]) is not None
        else _advice_plain(name, names[name], legacy, fields)
        for name in chosen.values()
    )
    return [sentence for sentence in advice if sentence is not None]


def _advice_composed(
    client: Elasticsearch, name: str, maker: Json, fields: SafetyFields | None
) -> str | None:
    given = client.indices.simulate_template(name=maker["name"])["template"]
    if _complete([given], fields):
        return None
    line = json.dumps([*maker["index_template"].get("composed_of", ()), TEMPLATE_NAME])
    return _LACKS.format(name=name, template=maker["name"], line=line)


def _advice_plain(
    name: str, rolls_over: bool, legacy: Mapping[str, Json], fields: SafetyFields | None
) -> str | None:
    """Where no index template is for a name, those of Elasticsearch 7 are asked."""
    old = [key for key, one in legacy.items() if matches(name, one["index_patterns"])]
    if old and not _complete([legacy[key] for key in old], fields):
        return _LEGACY.format(name=name, template=", ".join(map(repr, old)))
    return _NONE.format(name=name) if rolls_over and not old else None


_NEEDED = (
    "*.settings.index.uuid",
    "*.settings.index.lifecycle.rollover_alias",
    "*.aliases.*.is_write_index",
    "*.data_stream",
)
_DO = "run 'saferank mapping install', and have"
_LACKS = (
    "the next index like {name!r} will lack the safety fields, for the index template {template!r} "
    f'does not have them: {_DO} the template say "composed_of": {{line}}'
)
_LEGACY = (
    "the next index like {name!r} will lack the safety fields, for the legacy index template "
    "{template} does not have them: add what 'saferank mapping show' prints to its mappings"
)
_NONE = (
    "the next index like {name!r} will lack the safety fields, for no index template is for it: "
    f'{_DO} a template for its name say "composed_of": ["{TEMPLATE_NAME}"]'
)
_UNSEEN = (
    "whether the next index like {name!r} will have the safety fields cannot be seen without the "
    f'cluster privilege manage_index_templates: {_DO} its template say "composed_of": '
    f'[..., "{TEMPLATE_NAME}"]'
)


def template_of(name: str, templates: Iterable[Json]) -> Json | None:
    """The index template that a new index or data stream of a name is made by."""
    fitting = [
        one for one in templates if matches(name, one["index_template"].get("index_patterns", ()))
    ]
    return max(fitting, key=lambda one: one["index_template"].get("priority", 0), default=None)


def matches(name: str, patterns: Iterable[str]) -> bool:
    """Whether one of the patterns of a template, in which ``*`` is any text, is for a name."""
    return any(
        re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), name) for pattern in patterns
    )


def _rolls_over(entry: Json) -> bool:
    """Whether an index is one of a series, of which the next will be made by Elasticsearch."""
    aliases = entry.get("aliases", {}).values()
    return (
        "data_stream" in entry
        or "lifecycle" in entry["settings"]["index"]
        or any(alias.get("is_write_index") for alias in aliases)
    )


def _complete(templates: Iterable[Json], fields: SafetyFields | None) -> bool:
    """Whether templates, or several together, have the safety fields as they must be."""
    wanted = component_template(fields)["template"]["mappings"]["properties"]
    properties: dict[str, Any] = {}
    for template in templates:
        properties |= template.get("mappings", {}).get("properties", {})
    found: Iterator[object] = problems({"properties": properties}, wanted)
    return next(found, None) is None
