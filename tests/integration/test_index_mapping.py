"""The safety fields on a real node."""

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from elasticsearch import BadRequestError, Elasticsearch
from typer.testing import CliRunner

from saferank.cli import app
from saferank.errors import MappingError
from saferank.indexer.jobs.jobs_index import ensure_jobs_index
from saferank.mappings import SafetyFields, add_to_index, check_index, component_template, install
from saferank.ranker.odd_values import odd_values
from saferank.settings import get_settings


def test_add_to_a_live_index_touches_nothing_else(client: Elasticsearch, index_name: str) -> None:
    mappings: dict[str, Any] = {
        "_meta": {"owner": "shop"},
        "dynamic": "strict",
        "properties": {"title": {"type": "text"}, "media": {"properties": {"u": {"type": "ip"}}}},
    }
    client.indices.create(index=index_name, mappings=mappings)
    fields = SafetyFields("media.safety")
    with pytest.raises(MappingError, match=r"media\.safety.*missing.*mapping install"):
        check_index(client, index_name, fields)
    add_to_index(client, index_name, fields)
    add_to_index(client, index_name, fields)
    check_index(client, index_name, fields)
    after = client.indices.get_mapping(index=index_name)[index_name]["mappings"]
    assert after["properties"]["media"]["properties"].pop("safety")
    assert after["_meta"].pop("saferank") == {"version": 3}
    assert after == mappings


@pytest.mark.parametrize(
    ("properties", "where"),
    [
        ({"safety": {"type": "keyword"}}, "'safety' is 'keyword'"),
        ({"safety": {"type": "nested"}}, "'safety' is 'nested'"),
        ({"safety": {"properties": {"probability": {"type": "double"}}}}, "safety.probability"),
        ({"safety": {"properties": {"images": {"type": "object"}}}}, "safety.images"),
        (
            {"safety": {"properties": {"status": {"type": "keyword", "index": False}}}},
            "safety.status",
        ),
    ],
)
def test_a_conflict_is_named_and_nothing_changes(
    client: Elasticsearch, index_name: str, properties: dict[str, Any], where: str
) -> None:
    client.indices.create(index=index_name, mappings={"properties": properties})
    before = client.indices.get_mapping(index=index_name).body
    for function in (add_to_index, check_index):
        with pytest.raises(MappingError, match=where):
            function(client, index_name)
    assert client.indices.get_mapping(index=index_name).body == before


def test_a_missing_index_is_named(client: Elasticsearch) -> None:
    with pytest.raises(MappingError, match="no index 'test-absent'"):
        add_to_index(client, "test-absent")


def test_the_component_template_gives_new_indices_strict_fields(
    client: Elasticsearch, index_name: str
) -> None:
    name = f"test-{uuid.uuid4().hex[:8]}"
    install(client, name=name)
    try:
        stored = client.cluster.get_component_template(name=name)["component_templates"][0]
        assert stored["component_template"]["_meta"]["saferank"] == {"version": 3}
        client.indices.put_index_template(
            name=name, index_patterns=[index_name], composed_of=[name], priority=900
        )
        client.indices.create(index=index_name)
        check_index(client, index_name)
        with pytest.raises(BadRequestError, match="strict"):
            client.index(index=index_name, document={"safety": {"probabilty": 0.5}})
    finally:
        client.indices.delete_index_template(name=name)
        client.cluster.delete_component_template(name=name)


def test_the_template_is_what_the_engine_keeps(client: Elasticsearch, index_name: str) -> None:
    client.indices.create(index=index_name, mappings=component_template()["template"]["mappings"])
    kept = client.indices.get_mapping(index=index_name)[index_name]["mappings"]["properties"]
    assert kept["safety"]["dynamic"] == "strict"
    assert kept["safety"]["properties"]["images"] == {"type": "object", "enabled": False}


NOT_SCORABLE: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({}, {"_source": {"excludes": ["body"]}}, "'body' out"),
    ({}, {"_source": {"includes": ["title"]}, "dynamic": "strict"}, "'body', 'shop' out"),
    ({}, {"_source": {"excludes": ["safety"]}}, r"'safety\.images'"),
    ({}, {"_source": {"excludes": ["image"]}}, "'image' out"),
    ({}, {"_source": {"excludes": ["note"]}}, "'note' out"),  # in no document yet
    ({}, {"_source": {"enabled": False}}, "no source"),
    ({"mapping.source.mode": "disabled"}, {}, "no source"),
    ({"mode": "time_series", "routing_path": ["shop"]}, {}, "time series"),
    ({}, {"subobjects": False}, "subobjects"),
]


@pytest.mark.parametrize(("settings", "mapping", "reason"), NOT_SCORABLE)
def test_an_index_that_scoring_would_damage_is_refused(
    client: Elasticsearch,
    index_name: str,
    settings: dict[str, Any],
    mapping: dict[str, Any],
    reason: str,
) -> None:
    properties = {
        "@timestamp": {"type": "date"},
        "shop": {"type": "keyword", "time_series_dimension": settings.get("mode") is not None},
        "image": {"type": "keyword"},
        "body": {"type": "text"},
    }
    client.indices.create(
        index=index_name,
        settings={"index": settings},
        mappings={"properties": properties, **mapping},
    )
    for function in (add_to_index, check_index):
        with pytest.raises(MappingError, match=reason):
            function(client, index_name, image_field="image")
    assert (
        "safety"
        not in client.indices.get_mapping(index=index_name)[index_name]["mappings"]["properties"]
    )


def test_what_is_only_in_the_source_may_be_left_out(client: Elasticsearch, index_name: str) -> None:
    """Elasticsearch 9 puts vectors back that the source leaves out."""
    properties = {
        "raw": {"type": "keyword", "index": False, "doc_values": False},
        "vector": {"type": "dense_vector", "dims": 2},
    }
    kept = {"excludes": ["raw", "vector"]}
    client.indices.create(index=index_name, mappings={"_source": kept, "properties": properties})
    add_to_index(client, index_name, image_field="image")
    client.index(index=index_name, id="1", document={"raw": "r", "vector": [1, 0]})
    client.update(index=index_name, id="1", doc={"safety": {"status": "scored"}}, refresh=True)
    knn = {"field": "vector", "query_vector": [1, 0], "k": 1}
    assert client.search(index=index_name, knn=knn)["hits"]["total"]["value"] == 1


def test_a_pattern_without_an_index_is_refused(client: Elasticsearch) -> None:
    for function in (add_to_index, check_index):
        with pytest.raises(MappingError, match="no index matches 'test-none-"):
            function(client, "test-none-*")


def test_a_probability_that_is_no_number_is_refused_whatever_the_index_says(
    client: Elasticsearch, index_name: str
) -> None:
    client.indices.create(index=index_name, settings={"index.mapping.ignore_malformed": True})
    add_to_index(client, index_name)
    for probability in ("high", "NaN", 1e300):
        with pytest.raises(BadRequestError, match=r"(document|mapper)_parsing_exception"):
            client.index(index=index_name, document={"safety": {"probability": probability}})


@pytest.fixture
def environment(elasticsearch_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("SAFERANK_ELASTICSEARCH_URL", elasticsearch_url)
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()


SAFETY = (
    {"probability": 0.5, "status": "scored", "override": "allow"},
    {"probability": -0.0, "status": "no_image", "override": "block"},
    {"probability": 1.0, "status": "failed"},
    {"status": ["failed", "not_read"]},
    {"probability": -1, "override": "BLOCK"},
    {"probability": 2, "override": "BLOCK"},
    {"probability": [0.1, -0.1], "override": ["allow", "blocked"]},
    {"status": "FAILED"},
    {"status": ""},
)


@pytest.mark.usefixtures("environment")
def test_values_that_nobody_can_read_are_counted(client: Elasticsearch, index_name: str) -> None:
    client.indices.create(index=index_name)
    add_to_index(client, index_name)
    for number, safety in enumerate(SAFETY):
        document = {"image": "a.png", "safety": safety}
        client.index(index=index_name, id=str(number), document=document)
    client.indices.refresh(index=index_name)
    assert [str(value) for value in odd_values(client, index_name, SafetyFields())] == [
        "safety.override 'BLOCK' in 2 documents: counts as 'block'",
        "safety.override 'blocked' in 1 document: counts as 'block'",
        "safety.status '' in 1 document: counts as 'failed'",
        "safety.status 'FAILED' in 1 document: counts as 'failed'",
        "safety.probability outside 0..1 in 3 documents: counts as 1",
    ]
    result = CliRunner(env={"COLUMNS": "200"}).invoke(app, ["mapping", "check", index_name])
    assert result.exit_code == 1
    assert "'BLOCK' in 2 documents" in result.output
    for number in range(3, len(SAFETY)):
        client.delete(index=index_name, id=str(number), refresh=True)
    assert odd_values(client, index_name, SafetyFields()) == []
    result = CliRunner(env={"COLUMNS": "200"}).invoke(app, ["mapping", "check", index_name])
    assert (result.exit_code, result.output) == (0, f"index '{index_name}' is ready\n")


def test_many_odd_values_and_malformed_ones_are_counted_too(
    client: Elasticsearch, index_name: str
) -> None:
    keyword = {"type": "keyword"}
    fields = {"model": keyword, "status": keyword, "override": keyword}
    safety = {**fields, "probability": {"type": "float", "ignore_malformed": True}}
    client.indices.create(
        index=index_name, mappings={"properties": {"safety": {"properties": safety}}}
    )
    for number in range(12):
        odd = {"override": f"no {number:02}", "probability": "high"}
        client.index(index=index_name, document={"safety": odd})
    client.indices.refresh(index=index_name)
    *_, tenth, others, malformed = odd_values(client, index_name, SafetyFields())
    assert tenth.what == "'no 09'"
    assert (others.what, others.documents) == ("of other unknown values", 2)
    assert (malformed.what, malformed.documents) == ("with a malformed value", 12)


@pytest.mark.parametrize("dynamic", [None, True, "runtime", False, "strict"])
@pytest.mark.parametrize("root", ["safety", "media.safety"])
def test_an_object_of_the_applications_own_stays_as_open_as_it_was(
    client: Elasticsearch, index_name: str, root: str, dynamic: bool | str | None
) -> None:
    own: dict[str, Any] = {"properties": {"level": {"type": "keyword"}}}
    if dynamic is not None:
        own["dynamic"] = dynamic
    properties: dict[str, Any] = {"safety": own}
    if root != "safety":
        properties = {"media": {"properties": properties}}
    client.indices.create(index=index_name, mappings={"properties": properties})
    fields = SafetyFields(root)
    add_to_index(client, index_name, fields)
    add_to_index(client, index_name, fields)
    check_index(client, index_name, fields)
    document: dict[str, Any] = {"safety": {"level": "low", "note": "n"}}
    document = document if root == "safety" else {"media": document}
    if dynamic == "strict":
        with pytest.raises(BadRequestError, match="strict"):
            client.index(index=index_name, document=document)
    else:
        client.index(index=index_name, document=document)


def test_an_object_whose_values_scoring_would_replace_is_refused(
    client: Elasticsearch, index_name: str
) -> None:
    own = {"properties": {"status": {"type": "keyword"}, "model": {"type": "keyword"}}}
    client.indices.create(index=index_name, mappings={"properties": {"safety": own}})
    with pytest.raises(MappingError, match=r"of its own with model, status, .* SAFERANK_FIELD"):
        add_to_index(client, index_name)
    add_to_index(client, index_name, SafetyFields("saferank"))


def test_what_a_reindex_noted_in_the_mapping_stays(client: Elasticsearch, index_name: str) -> None:
    client.indices.create(
        index=index_name, mappings={"_meta": {"saferank": {"copied_from": "uuid"}, "a": 1}}
    )
    add_to_index(client, index_name)
    meta = client.indices.get_mapping(index=index_name)[index_name]["mappings"]["_meta"]
    assert meta == {"a": 1, "saferank": {"copied_from": "uuid", "version": 3}}


def test_an_older_version_leaves_the_fields_of_a_newer_one_alone(
    client: Elasticsearch, index_name: str
) -> None:
    name = f"test-{uuid.uuid4().hex[:8]}"
    newer = {"mappings": {"_meta": {"saferank": {"version": 9}}}}
    client.cluster.put_component_template(name=name, template=newer, version=9)
    try:
        with pytest.raises(MappingError, match=r"has version 9 .* knows version 3; update it"):
            install(client, name=name)
        kept = client.cluster.get_component_template(name=name)["component_templates"][0]
    finally:
        client.cluster.delete_component_template(name=name)
    assert kept["component_template"]["template"] == newer
    client.indices.create(index=index_name, mappings=newer["mappings"])
    add_to_index(client, index_name)
    meta = client.indices.get_mapping(index=index_name)[index_name]["mappings"]["_meta"]
    assert meta == {"saferank": {"version": 9}}


def test_an_older_version_leaves_the_records_of_a_newer_one_alone(
    client: Elasticsearch, index_name: str
) -> None:
    newer = {"dynamic": "strict", "_meta": {"saferank": {"version": 99, "own": True}}}
    client.indices.create(index=index_name, mappings=newer)
    ensure_jobs_index(client, index_name)
    assert client.indices.get_mapping(index=index_name)[index_name]["mappings"] == newer
    client.indices.put_mapping(index=index_name, meta={"saferank": {"version": 1, "own": True}})
    ensure_jobs_index(client, index_name)
    mended = client.indices.get_mapping(index=index_name)[index_name]["mappings"]
    assert mended["properties"]["record"] == {"type": "object", "enabled": False}
    assert mended["_meta"]["saferank"]["version"] > 1
