"""Safe clients over ``opensearch-py``, on a real OpenSearch; run by ``make test-engines``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import opensearchpy
import pytest
from elastic_transport import Transport
from elasticsearch import Elasticsearch
from opensearchpy import AsyncOpenSearch, OpenSearch
from opensearchpy.helpers import bulk, parallel_bulk, scan
from opensearchpy.helpers.search import Search

from saferank import AsyncSafeSearch, SafeSearch, load_policy
from saferank.errors import MappingError, ServiceUnavailable, UnsafeRequest
from saferank.mappings.template import component_template

INDEX, PIPELINE = "opensearch-client", "opensearch-client-pipeline"
POLICY = load_policy(
    """
version: 1
levels:
  off: {}
  moderate: {demote_from: 0.2, hide_from: 0.8, unscored: demote}
  strict: {hide_from: 0.2, unscored: hide}
contexts: [{level: moderate}]
"""
)
COUNT = 20
PROBABILITY = {str(number): number / COUNT for number in range(COUNT - 1)}  # The last has none.
HIDDEN = {
    "off": set(),
    "moderate": {name for name, p in PROBABILITY.items() if p >= 0.8},
    "strict": {str(COUNT - 1)} | {name for name, p in PROBABILITY.items() if p >= 0.2},
}
QUERY = {"match": {"title": "cat"}}


def document(number: int) -> dict[str, Any]:
    found = {"title": "cat " * (1 + number % 4), "price": number // 2, "word": f"w{number}"}
    probability = PROBABILITY.get(str(number))
    return found if probability is None else {**found, "safety": {"probability": probability}}


@pytest.fixture(scope="module")
def node(elasticsearch_url: str) -> Iterator[OpenSearch]:
    with OpenSearch(elasticsearch_url, timeout=60) as client:
        client.indices.delete(index=INDEX, ignore=404)
        properties = {
            **component_template()["template"]["mappings"]["properties"],
            "title": {"type": "text"},
            "price": {"type": "integer"},
            "word": {"type": "keyword"},
        }
        settings = {"number_of_shards": 3}
        client.indices.create(
            index=INDEX, body={"mappings": {"properties": properties}, "settings": settings}
        )
        for number in range(COUNT):
            client.index(index=INDEX, id=str(number), body=document(number))
        client.indices.refresh(index=INDEX)
        yield client
        client.indices.delete(index=INDEX)


@pytest.fixture(params=list(HIDDEN))
def safe(node: OpenSearch, request: pytest.FixtureRequest) -> SafeSearch:
    return SafeSearch(node, POLICY, level=request.param)


def ids(answer: Any) -> list[str]:
    return [hit["_id"] for hit in answer["hits"]["hits"]]


def level_of(safe: SafeSearch) -> str:
    return safe.decision().level_name


def visible(safe: SafeSearch) -> set[str]:
    return {str(number) for number in range(COUNT)} - HIDDEN[level_of(safe)]


BODY: dict[str, Any] = {"query": QUERY, "size": COUNT}
DOCS = {"docs": [{"_id": "1"}, {"_id": "17"}, {"_id": "none"}]}
TEMPLATE = {"source": {"query": {"match": {"title": "{{w}}"}}}, "params": {"w": "cat"}}
SUGGEST = {
    "words": {"text": "cet", "term": {"field": "title", "min_word_length": 3}},
    "numbers": {"text": "w2x", "term": {"field": "word", "min_word_length": 3, "size": COUNT}},
    "phrase": {"text": "cet", "phrase": {"field": "title", "confidence": 0}},
}
CALLS: dict[str, Callable[[Any], Any]] = {
    "search": lambda c: c.search(index=INDEX, body=BODY),
    "search by arguments": lambda c: c.search(body=BODY, index=INDEX, _source_includes=["title"]),
    "search sorted": lambda c: c.search(index=INDEX, body={**BODY, "sort": ["price", "word"]}),
    "search in pages": lambda c: c.search(index=INDEX, body={**BODY, "from": 3, "size": 4}),
    "msearch": lambda c: c.msearch(body=[{"index": INDEX}, BODY, {"index": INDEX}, {"size": 0}]),
    "count": lambda c: c.count(index=INDEX, body={"query": QUERY}),
    "get": lambda c: c.get(index=INDEX, id="1"),
    "get_source": lambda c: c.get_source(index=INDEX, id="1"),
    "mget": lambda c: c.mget(index=INDEX, body=DOCS),
    "explain": lambda c: c.explain(index=INDEX, id="1", body={"query": QUERY}),
    "termvectors": lambda c: c.termvectors(index=INDEX, id="1", body={"fields": ["title"]}),
    "mtermvectors": lambda c: c.mtermvectors(index=INDEX, body={"ids": ["1", "17"]}),
    "suggest": lambda c: c.search(index=INDEX, body={"suggest": SUGGEST}),
    "search_template": lambda c: c.search_template(index=INDEX, body=TEMPLATE),
    "suggest in a template": lambda c: c.search_template(
        index=INDEX,
        body={"source": '{"suggest": {{#toJson}}s{{/toJson}}}', "params": {"s": SUGGEST}},
    ),
}


@pytest.mark.parametrize("call", CALLS)
def test_a_call_answers_as_it_does_through_the_other_client(
    call: str, safe: SafeSearch, elasticsearch_url: str
) -> None:
    with Elasticsearch(elasticsearch_url) as other:
        expected = CALLS[call](SafeSearch(other, POLICY, level=level_of(safe))).body
    answer = CALLS[call](safe)
    assert type(answer) is dict
    assert timeless(answer) == timeless(expected)


def timeless(value: Any) -> Any:
    """An answer without how long it took, and by which of the equal ways it was made."""
    if isinstance(value, list):
        return [timeless(item) for item in value]
    if isinstance(value, dict):
        return {k: timeless(v) for k, v in value.items() if k not in ("took", "demotion")}
    return value


def test_what_is_found_counted_and_grouped_is_what_is_visible(safe: SafeSearch) -> None:
    names = {"terms": {"field": "word", "size": COUNT}}
    answer = safe.search(index=INDEX, body={**BODY, "aggs": {"names": names}})
    assert set(ids(answer)) == visible(safe)
    assert answer["hits"]["total"]["value"] == len(visible(safe))
    assert len(answer["aggregations"]["names"]["buckets"]) == len(visible(safe))
    assert safe.count(index=INDEX)["count"] == len(visible(safe))
    scores = [hit["_score"] for hit in answer["hits"]["hits"]]
    assert scores == sorted(scores, reverse=True)


def test_what_is_typed_finds_visible_documents_whatever_hidden_ones_begin_with(
    node: OpenSearch, safe: SafeSearch
) -> None:
    """A field for it looks a beginning up as a word; others list the first words that begin so."""
    name = f"{INDEX}-typed"
    node.indices.delete(index=name, ignore=404)
    properties = {
        **component_template()["template"]["mappings"]["properties"],
        "title": {"type": "text"},
        "typed": {"type": "search_as_you_type"},
    }
    node.indices.create(index=name, body={"mappings": {"properties": properties}})
    hidden = {"override": "block"}
    for number in range(60):
        title = f"old ca{number:02}"
        node.index(index=name, body={"title": title, "typed": title, "safety": hidden})
    shown = {"title": "old cats", "typed": "old cats", "safety": {"override": "allow"}}
    node.index(index=name, id="shown", body=shown, refresh=True)
    grams = ["typed", "typed._2gram", "typed._3gram"]
    for query, found in (
        ({"match_phrase_prefix": {"title": "old ca"}}, []),
        ({"match_phrase_prefix": {"typed": "old ca"}}, ["shown"]),
        ({"match_bool_prefix": {"title": "old ca"}}, ["shown"]),
        ({"multi_match": {"query": "old ca", "type": "bool_prefix", "fields": grams}}, ["shown"]),
    ):
        answer = safe.search(index=name, body={"query": query, "highlight": {"fields": {"*": {}}}})
        assert ids(answer) == found, query
    node.indices.delete(index=name)


SHINGLES = {
    "filter": {"shingle": {"type": "shingle", "min_shingle_size": 2, "max_shingle_size": 3}},
    "analyzer": {
        "trigram": {"type": "custom", "tokenizer": "standard", "filter": ["lowercase", "shingle"]},
        "reverse": {"type": "custom", "tokenizer": "standard", "filter": ["lowercase", "reverse"]},
    },
}
# Which words are misspelled is not to depend on all documents.
GENERATOR = {"suggest_mode": "always", "max_term_freq": 100, "size": 50}
PHRASE = {
    "field": "title.trigram",
    "size": 50,
    "confidence": 0,
    "direct_generator": [
        {**GENERATOR, "field": "title.trigram"},
        {
            **GENERATOR,
            "field": "title.reverse",
            "pre_filter": "reverse",
            "post_filter": "reverse",
        },
    ],
}
SOURCE = {"source": {"match_phrase": {"{{field}}": "{{suggestion}}"}}}


@pytest.mark.parametrize("prune", [None, False, True])
@pytest.mark.parametrize("text", ["noble prize", "obel prise", "nobel peece"])
def test_phrases_of_shingles_are_those_of_an_index_without_hidden_documents(
    node: OpenSearch, text: str, prune: bool | None
) -> None:
    """There the engine fills templates in, and here the client."""
    fields = {name: {"type": "text", "analyzer": name} for name in ("trigram", "reverse")}
    properties = {
        **component_template()["template"]["mappings"]["properties"],
        "title": {"type": "text", "fields": fields},
    }
    shown = ["nobel prize", "nobel prize", "noble cause", "prime time", "world peace"]
    hidden = ["noble prize", "novel piece", "nobel prise"]
    every, without = f"{INDEX}-all", f"{INDEX}-shown"
    for name, titles in ((every, shown + hidden), (without, shown)):
        node.indices.delete(index=name, ignore=404)
        body = {"mappings": {"properties": properties}, "settings": {"analysis": SHINGLES}}
        node.indices.create(index=name, body=body)
        for title in titles:
            decided = "block" if title in hidden else "allow"
            node.index(index=name, body={"title": title, "safety": {"override": decided}})
        node.indices.refresh(index=name)
    phrase = dict(PHRASE)
    if prune is not None:
        phrase["collate"] = {"query": SOURCE, "params": {"field": "title"}, "prune": prune}
    suggest = {"s": {"text": text, "phrase": phrase}}

    def told(answer: Any) -> set[tuple[str, bool | None]]:
        (part,) = answer["suggest"]["s"]
        return {(option["text"], option.get("collate_match")) for option in part["options"]}

    found = told(
        SafeSearch(node, POLICY, level="off").search(index=every, body={"suggest": suggest})
    )
    assert found == told(node.search(index=without, body={"suggest": suggest}))
    assert found or prune is False
    node.indices.delete(index=f"{every},{without}")


def test_hits_with_fields_of_scripts_are_judged_as_others_are(safe: SafeSearch) -> None:
    """No source comes with them, and the Elasticsearch of the tests runs no scripts."""
    scripts = {"script_fields": {"twice": {"script": "doc['price'].value * 2"}}}
    hits = safe.search(index=INDEX, body={**BODY, **scripts})["hits"]["hits"]
    assert {hit["_id"] for hit in hits} == visible(safe)
    assert all(hit["fields"] == {"twice": [int(hit["_id"]) // 2 * 2]} for hit in hits)
    others = safe.search(index=INDEX, body=BODY)["hits"]["hits"]
    told, expected = (
        [(hit["saferank"]["action"], hit["saferank"]["rule"]) for hit in some]
        for some in (hits, others)
    )
    assert told == expected


def test_reads_by_id_take_arguments_without_names(safe: SafeSearch) -> None:
    for name in map(str, range(COUNT)):
        shown = name in visible(safe)
        assert safe.exists(INDEX, name) is shown
        if shown:
            assert safe.get(INDEX, name)["_id"] == name
        else:
            with pytest.raises(opensearchpy.NotFoundError) as caught:
                safe.get(INDEX, name)
            assert caught.value.info == {"_index": INDEX, "_id": name, "found": False}
            assert safe.get(INDEX, name, ignore=404) == caught.value.info


def test_a_point_in_time_by_opensearchs_names(safe: SafeSearch) -> None:
    opened = safe.create_pit(index=INDEX, keep_alive="1m")
    found, after = [], None
    while True:
        body: dict[str, Any] = {"pit": {"id": opened["pit_id"]}, "sort": ["price"], "size": 3}
        page = safe.search(body=body if after is None else {**body, "search_after": after})
        if not ids(page):
            break
        found += ids(page)
        after = page["hits"]["hits"][-1]["sort"]
    assert sorted(found) == sorted(visible(safe))
    elsewhere = SafeSearch(safe.client, POLICY, level=level_of(safe))  # Which did not open it.
    again = elsewhere.search(body={"pit": {"id": opened["pit_id"]}, "size": COUNT})
    assert set(ids(again)) == visible(safe)
    closed = safe.delete_pit(body={"pit_id": [opened["pit_id"]]})
    assert closed["pits"][0]["successful"] is True


def test_in_version_2_sorted_pages_of_a_point_in_time_are_refused(safe: SafeSearch) -> None:
    pit = {"id": safe.create_pit(index=INDEX, keep_alive="1m")["pit_id"]}
    assert set(ids(safe.search(body={"pit": pit, "size": COUNT}))) == visible(safe)
    with pytest.raises(ServiceUnavailable, match="need version 3"):
        safe.search(body={"pit": pit, "sort": ["price"]})
    safe.delete_pit(body={"pit_id": [pit["id"]]})


def test_a_scroll_and_its_helper(safe: SafeSearch) -> None:
    found = [hit["_id"] for hit in scan(safe, index=INDEX, query={"query": QUERY}, size=3)]
    assert sorted(found) == sorted(visible(safe))


def test_a_search_of_the_dsl(safe: SafeSearch) -> None:
    search = Search(using=safe, index=INDEX).query("match", title="cat")[:COUNT]
    assert {hit.meta.id for hit in search.execute()} == visible(safe)
    assert search.count() == len(visible(safe))


@pytest.mark.parametrize("helper", [bulk, lambda *a: list(parallel_bulk(*a))])
def test_the_bulk_helpers_write(helper: Callable[..., Any], node: OpenSearch) -> None:
    name = f"{INDEX}-bulk"
    safe = SafeSearch(node, POLICY)
    helper(safe, [{"_index": name, "_id": str(n), "a": n} for n in range(5)])
    node.indices.refresh(index=name)
    assert node.count(index=name)["count"] == 5
    with pytest.raises(MappingError, match="no field 'safety"):
        safe.search(index=name, body={})
    node.indices.delete(index=name)


@pytest.fixture
def leaving_out(node: OpenSearch) -> Iterator[None]:
    """A default search pipeline that finds almost nothing and renames what judges a hit."""
    processors = [
        {"filter_query": {"query": {"term": {"word": "w3"}}}},
    ]
    renaming = [{"rename_field": {"field": "safety", "target_field": "other"}}]
    body = {"request_processors": processors, "response_processors": renaming}
    node.http.put(f"/_search/pipeline/{PIPELINE}", body=body)
    put = node.indices.put_settings
    put(index=INDEX, body={"index.search.default_pipeline": PIPELINE})
    assert node.count(index=INDEX)["count"] == 1
    yield
    put(index=INDEX, body={"index.search.default_pipeline": "_none"})
    node.http.delete(f"/_search/pipeline/{PIPELINE}")


@pytest.mark.usefixtures("leaving_out")
def test_an_index_s_default_search_pipeline_changes_nothing(safe: SafeSearch) -> None:
    answer = safe.search(index=INDEX, body=BODY)
    assert set(ids(answer)) == visible(safe)
    demoted = {hit["_id"] for hit in answer["hits"]["hits"] if hit["saferank"]["action"] != "shown"}
    band = {name for name, p in PROBABILITY.items() if 0.2 <= p < 0.8} | {str(COUNT - 1)}
    assert demoted == (band if level_of(safe) == "moderate" else set())
    assert all("safety" in hit["_source"] or hit["_id"] == "19" for hit in answer["hits"]["hits"])
    assert safe.count(index=INDEX)["count"] == len(visible(safe))
    (together,) = safe.msearch(body=[{"index": INDEX}, BODY])["responses"]
    assert set(ids(together)) == visible(safe)
    test_a_scroll_and_its_helper(safe)
    test_a_point_in_time_by_opensearchs_names(safe)


@pytest.mark.parametrize(
    ("arguments", "key"),
    [
        ({"body": {"query": QUERY, "terminate_after": 100}}, "terminate_after"),
        ({"body": {"query": QUERY, "search_pipeline": "mine"}}, "search_pipeline"),
        ({"search_pipeline": "mine"}, "search_pipeline"),
        ({"body": {"query": {"hybrid": {"queries": [QUERY]}}}}, "query.hybrid"),
        ({"body": {"derived": {"a": {"type": "long"}}}}, "derived"),
    ],
)
def test_what_is_not_known_to_be_safe_is_refused(
    arguments: dict[str, Any], key: str, safe: SafeSearch
) -> None:
    with pytest.raises(UnsafeRequest) as refused:
        safe.search(index=INDEX, **arguments)
    assert refused.value.key == key


def test_an_error_is_that_of_the_client(safe: SafeSearch) -> None:
    with pytest.raises(opensearchpy.NotFoundError, match="no such index"):
        safe.search(index="no-such-index", body={})
    with pytest.raises(opensearchpy.RequestError):
        safe.search(index=INDEX, body={"query": {"match": {"title": {"fuzziness": "x"}}}})


def test_a_client_of_the_other_engine_is_told_which_one_it_takes(elasticsearch_url: str) -> None:
    other = Elasticsearch(elasticsearch_url, transport_class=Transport)
    with other, pytest.raises(ServiceUnavailable, match=r"one of opensearch-py"):
        SafeSearch(other, POLICY).search(index=INDEX)


async def test_the_asynchronous_client(elasticsearch_url: str, safe: SafeSearch) -> None:
    async with AsyncOpenSearch(elasticsearch_url) as client:
        asynchronous = AsyncSafeSearch(client, POLICY, level=level_of(safe))
        answer = await asynchronous.search(index=INDEX, body=BODY)
        assert timeless(answer) == timeless(safe.search(index=INDEX, body=BODY))
        assert await asynchronous.exists(INDEX, "18") is ("18" in visible(safe))
        assert (await asynchronous.count(index=INDEX))["count"] == len(visible(safe))
        opened = await asynchronous.create_pit(index=INDEX, keep_alive="1m")
        found = await asynchronous.search(body={"pit": {"id": opened["pit_id"]}, "size": COUNT})
        assert set(ids(found)) == visible(safe)
        await asynchronous.delete_pit(body={"pit_id": [opened["pit_id"]]})
