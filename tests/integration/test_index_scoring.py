"""Scoring documents of a real index, with other writers at work at the worst moments."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from brightness import Brightness, brightness_pipeline, data_uri, png
from elasticsearch import ConflictError, Elasticsearch, NotFoundError

from saferank.errors import MappingError, ServiceUnavailable
from saferank.indexer.decode import Decoded, decode
from saferank.indexer.fetch import Fetcher
from saferank.indexer.keys import DocumentKey
from saferank.indexer.score.memory import Memory
from saferank.indexer.score.pipeline import Pipeline
from saferank.indexer.score.scoring import score_documents
from saferank.indexer.storage.store import DocumentStore
from saferank.mappings import SafetyFields, add_to_index
from saferank.mappings.float32 import as_probability
from saferank.settings import DecodeSettings, FetchSettings

Put = Callable[..., None]


def grey(level: int) -> str:
    return data_uri(png(level))


@pytest.fixture
def store(client: Elasticsearch) -> DocumentStore:
    return DocumentStore(client, SafetyFields(), "image", patience=20)


@pytest.fixture
def put(client: Elasticsearch, index_name: str) -> Put:
    client.indices.create(
        index=index_name,
        settings={"number_of_shards": 2, "number_of_replicas": 0},
        mappings={
            "dynamic": "strict",
            "properties": {
                "image": {"type": "keyword", "index": False, "doc_values": False},
                "title": {"type": "text"},
            },
        },
    )
    add_to_index(client, index_name)

    def put_document(id: str, image: object, **rest: Any) -> None:
        client.index(index=index_name, id=id, document={"image": image, "title": id, **rest})

    return put_document


def keys(*ids: str) -> list[DocumentKey]:
    return [DocumentKey(id) for id in ids]


def interrupted(action: Callable[[], None], model: Brightness | None = None) -> Pipeline:
    """A pipeline during whose first decoding something else happens to the index."""
    pending = [action]

    def decoder(data: bytes) -> Decoded:
        if pending:
            pending.pop()()
        return decode(data, DecodeSettings())

    return brightness_pipeline(model, decoder=decoder)


def test_a_score_is_stored_and_nothing_else_changes(
    client: Elasticsearch, index_name: str, store: DocumentStore, put: Put
) -> None:
    put("a", grey(51), safety={"override": "allow", "override_by": "ann"})
    put("b", [grey(51), grey(204)])
    put("c", None)
    report = score_documents(brightness_pipeline(), store, index_name, keys("a", "b", "c", "nix"))
    assert report.counts["scored"] == 2
    assert report.counts["no_image"] == 1
    assert report.missing == keys("nix")
    source = client.get(index=index_name, id="a")["_source"]
    assert (source["image"], source["title"]) == (grey(51), "a")
    assert source["safety"]["override"] == "allow"
    assert source["safety"]["override_by"] == "ann"
    assert source["safety"]["probability"] == as_probability(0.2)
    assert not client.exists(index=index_name, id="nix")
    client.indices.refresh(index=index_name)
    at_least = {"range": {"safety.probability": {"gte": 0.8}}}
    assert [
        hit["_id"] for hit in client.search(index=index_name, query=at_least)["hits"]["hits"]
    ] == ["b"]


def test_scoring_twice_infers_and_stores_once(
    client: Elasticsearch, index_name: str, store: DocumentStore, put: Put
) -> None:
    put("a", grey(51))
    model = Brightness()
    for _ in range(2):
        report = score_documents(brightness_pipeline(model), store, index_name, keys("a", "a"))
    assert model.frames == 1
    assert report.counts["unchanged"] == 1
    assert client.get(index=index_name, id="a")["_version"] == 2


def test_values_that_no_longer_hold_are_erased(
    client: Elasticsearch, index_name: str, store: DocumentStore, put: Put
) -> None:
    put("a", grey(51))
    score_documents(brightness_pipeline(), store, index_name, keys("a"))
    client.update(index=index_name, id="a", doc={"image": None})
    score_documents(brightness_pipeline(), store, index_name, keys("a"))
    safety = client.get(index=index_name, id="a")["_source"]["safety"]
    assert (safety["status"], safety["probability"], safety["images"]) == ("no_image", None, [])


def test_an_update_of_other_fields_meanwhile_costs_no_second_inference(
    client: Elasticsearch, index_name: str, store: DocumentStore, put: Put
) -> None:
    put("a", grey(51))
    model = Brightness()

    def decide() -> None:
        client.update(
            index=index_name, id="a", doc={"title": "new", "safety": {"override": "block"}}
        )

    report = score_documents(interrupted(decide, model), store, index_name, keys("a"))
    source = client.get(index=index_name, id="a")["_source"]
    assert (source["title"], source["safety"]["override"]) == ("new", "block")
    assert source["safety"]["probability"] == as_probability(0.2)
    assert (report.counts["conflicts"], model.frames) == (1, 1)


def test_a_new_image_meanwhile_is_the_one_that_counts(
    client: Elasticsearch, index_name: str, store: DocumentStore, put: Put
) -> None:
    put("a", grey(51))
    pipeline = interrupted(lambda: put("a", grey(204)))
    report = score_documents(pipeline, store, index_name, keys("a"))
    safety = client.get(index=index_name, id="a")["_source"]["safety"]
    assert safety["probability"] == as_probability(0.8)
    assert (report.counts["conflicts"], report.counts["scored"]) == (1, 1)


def test_a_newer_score_is_not_replaced_by_a_late_one(
    client: Elasticsearch, index_name: str, store: DocumentStore, put: Put
) -> None:
    """The late scorer saw an image that has been replaced behind the same reference."""
    pictures = {"reference": png(51)}

    class Bytes:
        etag = last_modified = None

        def __init__(self, data: bytes) -> None:
            self.data = data

    def pipeline(action: Callable[[], None]) -> Pipeline:
        pending = [action]

        def decoder(data: bytes) -> Decoded:
            if pending:
                pending.pop()()
            return decode(data, DecodeSettings())

        return Pipeline(Brightness(), lambda reference: Bytes(pictures[reference]), decoder)

    def newer() -> None:
        pictures["reference"] = png(255)
        score_documents(pipeline(lambda: None), store, index_name, keys("a"))

    put("a", "reference")
    score_documents(pipeline(newer), store, index_name, keys("a"))
    assert client.get(index=index_name, id="a")["_source"]["safety"]["probability"] == 1.0


def test_a_deleted_document_stays_deleted(
    client: Elasticsearch, index_name: str, store: DocumentStore, put: Put
) -> None:
    put("a", grey(51))
    put("b", grey(51))

    def delete() -> None:
        client.delete(index=index_name, id="a")

    report = score_documents(interrupted(delete), store, index_name, keys("a", "b"))
    assert report.missing == keys("a")
    assert report.counts["scored"] == 1
    with pytest.raises(NotFoundError):
        client.get(index=index_name, id="a")


def test_a_document_that_is_always_changing_is_reported_not_lost(
    client: Elasticsearch, index_name: str, store: DocumentStore, put: Put
) -> None:
    put("a", grey(0))
    levels = iter(range(1, 250))

    def decoder(data: bytes) -> Decoded:
        put("a", grey(next(levels)))
        return decode(data, DecodeSettings())

    report = score_documents(brightness_pipeline(decoder=decoder), store, index_name, keys("a"))
    assert report.waiting == keys("a")


def test_one_document_that_elasticsearch_refuses_does_not_stop_the_others(
    client: Elasticsearch, index_name: str, store: DocumentStore
) -> None:
    client.indices.create(index=index_name, mappings={"dynamic": False})
    client.index(index=index_name, id="bad", document={"image": grey(51), "n": "no number"})
    client.index(index=index_name, id="ok", document={"image": grey(51)})
    client.indices.put_mapping(index=index_name, properties={"n": {"type": "integer"}})
    add_to_index(client, index_name)
    report = score_documents(brightness_pipeline(), store, index_name, keys("bad", "ok"))
    assert (report.counts["scored"], report.counts["rejected"]) == (1, 1)
    assert "integer" in report.rejected[DocumentKey("bad")]


def test_custom_routing_is_honoured(
    client: Elasticsearch, index_name: str, store: DocumentStore, put: Put
) -> None:
    routings = [str(number) for number in range(8)]
    for routing in routings:
        client.index(
            index=index_name, id=f"d{routing}", routing=routing, document={"image": grey(51)}
        )
    routed = [DocumentKey(f"d{routing}", routing) for routing in routings]
    report = score_documents(brightness_pipeline(), store, index_name, routed)
    assert report.counts["scored"] == 8
    assert report.missing == []


def test_since_passes_over_what_was_done_and_renews_the_time_of_the_rest(
    client: Elasticsearch, index_name: str, store: DocumentStore, put: Put
) -> None:
    put("a", grey(51))
    model = Brightness()
    score_documents(brightness_pipeline(model), store, index_name, keys("a"))
    first = client.get(index=index_name, id="a")["_source"]["safety"]["scored_at"]
    later = datetime.now(UTC) + timedelta(milliseconds=2)
    while datetime.now(UTC) <= later:
        pass
    report = score_documents(brightness_pipeline(model), store, index_name, keys("a"), since=later)
    second = client.get(index=index_name, id="a")["_source"]["safety"]["scored_at"]
    assert second > first
    assert report.counts["scored"] == 1
    report = score_documents(brightness_pipeline(model), store, index_name, keys("a"), since=later)
    assert report.counts["skipped"] == 1
    assert model.frames == 1


def test_a_missing_index_and_a_stopped_server_are_said_clearly(
    client: Elasticsearch, store: DocumentStore
) -> None:
    with pytest.raises(MappingError, match="no index 'test-absent'"):
        score_documents(brightness_pipeline(), store, "test-absent", keys("a"))
    with Elasticsearch("http://127.0.0.1:9", max_retries=0) as stopped:
        away = DocumentStore(stopped, SafetyFields(), "image", patience=0.1)
        with pytest.raises(ServiceUnavailable, match="did not serve a request"):
            score_documents(brightness_pipeline(), away, "x", keys("a"))


@pytest.mark.parametrize(
    ("root", "document"),
    [
        ("media.safety", {"media": [{"url": grey(51), "credit": "A"}, {"credit": "B"}]}),
        ("media.safety", {"media": [{"credit": "A"}, {"credit": "B"}]}),
        ("media.safety", {"media": []}),
        ("media.safety", {"media": {"url": grey(51), "safety": [{"status": "own"}]}}),
        ("safety", {"media": {"url": grey(51)}, "safety": [{"status": "a"}, {"status": "b"}]}),
        ("a.b.safety", {"media": {"url": grey(51)}, "a": {"b": [{"c": 1}]}}),
    ],
)
def test_a_list_where_the_score_would_go_is_never_replaced(
    client: Elasticsearch, index_name: str, root: str, document: dict[str, Any]
) -> None:
    client.indices.create(index=index_name)
    fields = SafetyFields(root)
    add_to_index(client, index_name, fields)
    client.index(index=index_name, id="list", document=document)
    client.index(index=index_name, id="ok", document={"media": {"url": grey(51)}})
    store = DocumentStore(client, fields, "media.url", patience=20)
    report = score_documents(brightness_pipeline(), store, index_name, keys("list", "ok"))
    assert (report.counts["scored"], report.counts["rejected"]) == (1, 1)
    assert report.rejected[DocumentKey("list")].startswith("list_in_path: it has a list at ")
    kept = client.get(index=index_name, id="list")
    assert (kept["_source"], kept["_version"]) == (document, 1)


def test_a_document_written_anew_has_its_score_again_without_the_model(
    client: Elasticsearch, index_name: str, store: DocumentStore, put: Put
) -> None:
    memory_index = f"{index_name}-images"
    model = Brightness()

    def score(*ids: str, **arguments: Any) -> list[float]:
        memory = Memory(client, memory_index)
        score_documents(
            brightness_pipeline(model), store, index_name, keys(*ids), memory=memory, **arguments
        )
        sources = [client.get(index=index_name, id=id)["_source"] for id in ids]
        return [source["safety"]["probability"] for source in sources]

    try:
        put("a", [grey(51), grey(102)])
        put("bad", grey(51)[:60])
        expected = [as_probability(0.4)]
        assert score("a") == expected
        score("bad")
        assert client.indices.get_mapping(index=memory_index)[memory_index]["mappings"]["dynamic"]
        frames = model.frames
        for _ in range(2):
            put("a", [grey(51), grey(102)])  # the whole document, without its safety object
            assert score("a") == expected
        put("b", grey(102))  # another document with the same picture
        assert score("b") == expected
        assert model.frames == frames
        assert score("a", force=True) == expected
        assert model.frames == frames + 2
        put("a", [grey(51), grey(153)])  # one new picture
        assert score("a") == [as_probability(0.6)]
        assert model.frames == frames + 3
        other = Brightness("brightness-2")
        put("a", grey(51))
        pipeline = brightness_pipeline(other)
        memory = Memory(client, memory_index)
        score_documents(pipeline, store, index_name, keys("a"), memory=memory)
        assert other.frames == 1  # known of one model is not known of another
    finally:
        client.indices.delete(index=memory_index, ignore_unavailable=True)


def test_half_a_surrogate_pair_fails_its_own_document_only(
    client: Elasticsearch, index_name: str, store: DocumentStore, put: Put
) -> None:
    """JSON can hold it, an application may send it, and no encoding of Unicode has it."""
    half = "\\ud83d"
    references = {
        "short": f"http://a/{half}",
        "long": f"http://a/{half}{'x' * 600}",
        "data": f"data:;base64,{half}",
        "text": f"data:,{half}",
    }
    put("good", grey(51))
    for id, reference in references.items():
        client.perform_request(
            "PUT",
            f"/{index_name}/_doc/{id}",
            headers={"Content-Type": "application/json", "Accept": "application/json"},
            body=f'{{"image": "{reference}"}}'.encode(),
        )
    memory_index = f"{index_name}-memory"
    fetcher = Fetcher(FetchSettings())
    pipeline = Pipeline(Brightness(), fetcher.fetch, lambda data: decode(data, DecodeSettings()))
    try:
        report = score_documents(
            pipeline,
            store,
            index_name,
            keys("good", *references),
            memory=Memory(client, memory_index),
        )
    finally:
        client.indices.delete(index=memory_index, ignore_unavailable=True)
    assert report.counts["scored"] == 1
    assert dict(report.failures) == {"unsupported_reference": 3, "not_an_image": 1}
    for id, reference in references.items():
        source = client.get(index=index_name, id=id)["_source"]
        assert source["image"] == json.loads(f'"{reference}"')
        assert source["safety"]["status"] == "failed"


def test_without_its_memory_scoring_goes_on(
    client: Elasticsearch, index_name: str, store: DocumentStore, put: Put
) -> None:
    put("a", grey(51))
    memory = Memory(client, f"-{index_name}")  # no index can be called so
    report = score_documents(brightness_pipeline(), store, index_name, keys("a"), memory=memory)
    assert report.counts["scored"] == 1


def test_an_allow_for_another_picture_is_reported(
    client: Elasticsearch, index_name: str, store: DocumentStore, put: Put
) -> None:
    def score(*pictures: int) -> int:
        image = [grey(level) for level in pictures]
        client.update(index=index_name, id="a", doc={"image": image})
        report = score_documents(brightness_pipeline(), store, index_name, keys("a"))
        assert report.counts["scored"] == 1
        return report.counts["allowed_before"]

    put("a", None)
    assert score(200, 250) == 0
    client.update(index=index_name, id="a", doc={"safety": {"override": "allow"}})
    assert score(250) == 0
    assert score(200) == 1
    assert score(200) == 0
    client.update(index=index_name, id="a", doc={"safety": {"override": "block"}})
    assert score(250) == 0
    assert client.get(index=index_name, id="a")["_source"]["safety"]["override"] == "block"


def test_a_job_scores_once_on_a_machine_whose_clock_is_behind(
    client: Elasticsearch, index_name: str, store: DocumentStore, put: Put
) -> None:
    put("a", grey(51))
    began = datetime.now(UTC).replace(microsecond=0) + timedelta(minutes=10)
    for outcome in ("scored", "skipped"):
        report = score_documents(brightness_pipeline(), store, index_name, keys("a"), since=began)
        assert report.counts[outcome] == 1
    stored = client.get(index=index_name, id="a")["_source"]["safety"]["scored_at"]
    assert datetime.fromisoformat(stored) == began


def test_external_versions_with_room_between_them_go_on_counting(
    client: Elasticsearch, index_name: str, store: DocumentStore, put: Put
) -> None:
    """Each scoring counts the version up by one; without room the next number is taken."""

    def save(version: int, level: int, kind: str = "external_gte") -> None:
        document = {"image": grey(level), "title": "t"}
        client.index(
            index=index_name, id="a", document=document, version=version, version_type=kind
        )
        for _ in range(2):
            score_documents(brightness_pipeline(), store, index_name, keys("a"))

    put("other", None)
    for version in (1000, 2000, 3000):
        save(version, version // 100)
        assert client.get(index=index_name, id="a")["_version"] == version + 1
    save(3001, 40)  # the same number as the scored document has
    with pytest.raises(ConflictError):
        save(3001, 50)
    client.delete(index=index_name, id="a", version=4000, version_type="external_gte")
