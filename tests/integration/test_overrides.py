"""A person's override holds whatever an application writes, and comes back to the document."""

import asyncio
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from brightness import brightness_pipeline, data_uri, png
from elasticsearch import AsyncElasticsearch, Elasticsearch, NotFoundError

from saferank.errors import (
    ConfigurationError,
    DocumentNotFound,
    MappingError,
    ServiceUnavailable,
    UnsafeRequest,
)
from saferank.indexer.keys import DocumentKey
from saferank.indexer.score.scoring import score_documents
from saferank.indexer.storage.overrides import KeptOverrides
from saferank.indexer.storage.store import DocumentStore
from saferank.mappings import SafetyFields, add_to_index
from saferank.mappings.override_index import install_overrides, override
from saferank.mappings.overrides import HOLDS, OverrideRecord
from saferank.mappings.record import Override
from saferank.ranker.alias import install_aliases
from saferank.ranker.client.client import AsyncSafeSearch, SafeSearch
from saferank.ranker.policy.load import load_policy
from saferank.ranker.policy.policy import Policy
from saferank.review.entries import Item
from saferank.review.log import Log
from saferank.review.operator import override_document
from saferank.settings import ReviewSettings, Settings
from saferank.web import status_of

FIELDS = SafetyFields()
BLOCK = OverrideRecord(Override.BLOCK, "ann", reason="asked to")
ALLOW = OverrideRecord(Override.ALLOW, "ben")


@pytest.fixture
def kept(client: Elasticsearch) -> Iterator[str]:
    name = f"test-overrides-{uuid.uuid4().hex[:8]}"
    install_overrides(client, name)
    install_overrides(client, name)
    yield name
    client.indices.delete(index=name, ignore_unavailable=True)


@pytest.fixture
def policy(kept: str) -> Policy:
    return load_policy(
        f"version: 1\noverrides: {kept}\nlevels:\n  all: {{blocked: show}}\n  off: {{}}\n"
        "  moderate: {demote_from: 0.2, hide_from: 0.8, unscored: show}\ncontexts:\n"
        "  - {level: moderate}\n"
    )


@pytest.fixture
def alias(client: Elasticsearch, index_name: str) -> str:
    alias = f"{index_name}-alias"
    client.indices.create(index=index_name, aliases={alias: {}})
    add_to_index(client, index_name)
    for id in ("1", "2"):
        save(client, index_name, id)
    return alias


def save(client: Elasticsearch, index: str, id: str, level: int = 5) -> None:
    """What an application does that knows nothing of saferank."""
    document = {"title": "beach", "image": data_uri(png(level))}
    client.index(index=index, id=id, document=document, refresh=True)


def decide(
    client: Elasticsearch, kept: str, index: str, id: str, record: OverrideRecord | None
) -> None:
    override(client, kept, FIELDS, index, id, record)
    time.sleep(HOLDS)


def found(answer: Any) -> list[str]:
    return sorted(hit["_id"] for hit in answer["hits"]["hits"])


def test_a_block_holds_through_every_whole_document_write(
    client: Elasticsearch, kept: str, policy: Policy, alias: str, index_name: str
) -> None:
    safe = SafeSearch(client, policy)
    decide(client, kept, alias, "1", BLOCK)
    closing, seen, searches = threading.Event(), [], [0]

    def look() -> None:
        while not closing.is_set():
            seen.extend(found(safe.search(index=index_name, query={"match": {"title": "beach"}})))
            searches[0] += 1

    searcher = threading.Thread(target=look)
    searcher.start()
    try:
        for level in range(150):
            save(client, index_name, "1", level % 20)
    finally:
        closing.set()
        searcher.join()
    assert "override" not in client.get(index=index_name, id="1")["_source"].get("safety", {})
    assert searches[0] > 10
    assert set(seen) == {"2"}


def test_every_call_sees_a_block_that_the_document_has_lost(
    client: Elasticsearch, kept: str, policy: Policy, alias: str, index_name: str
) -> None:
    decide(client, kept, alias, "1", BLOCK)
    assert client.get(index=index_name, id="1")["_source"]["safety"]["override_by"] == "ann"
    save(client, index_name, "1")
    safe = SafeSearch(client, policy)
    for name in (alias, index_name):
        assert found(safe.search(index=name)) == ["2"]
        assert safe.count(index=name)["count"] == 1
        answer = safe.search(index=name, aggs={"t": {"global": {}}}, size=0)
        assert answer["aggregations"]["t"]["doc_count"] == 1
        assert safe.exists(index=name, id="2")
        assert not safe.exists(index=name, id="1")
        with pytest.raises(NotFoundError):
            safe.get(index=name, id="1")
        docs = safe.mget(index=name, ids=["1", "2"])["docs"]
        assert [one["found"] for one in docs] == [False, True]
    assert found(safe.search(index=alias, context={"requested": "off"})) == ["2"]
    assert found(safe.search(index=alias, context={"requested": "all"})) == ["1", "2"]
    install_aliases(client, index_name, policy)
    assert found(client.search(index=f"{index_name}-moderate")) == ["2"]
    decide(client, kept, alias, "1", None)
    assert found(safe.search(index=alias)) == ["1", "2"]
    assert safe.get(index=alias, id="1")["found"]


def test_completions_leave_out_what_is_blocked(
    client: Elasticsearch, kept: str, policy: Policy, alias: str, index_name: str
) -> None:
    """No query filters them: what is hidden is taken out of the answer."""
    client.indices.put_mapping(index=index_name, properties={"c": {"type": "completion"}})
    decide(client, kept, alias, "1", BLOCK)
    for id in ("1", "2"):
        client.index(index=index_name, id=id, document={"c": f"beach {id}"}, refresh=True)
    suggest = {"s": {"prefix": "beach", "completion": {"field": "c"}}}

    def completed(level: str) -> list[str]:
        safe = SafeSearch(client, policy)
        answer = safe.search(index=alias, suggest=suggest, context={"requested": level})
        return [option["_id"] for option in answer["suggest"]["s"][0]["options"]]

    assert completed("moderate") == ["2"]
    assert completed("off") == ["2"]
    assert sorted(completed("all")) == ["1", "2"]


def test_reranking_takes_out_what_is_blocked_under_any_name_of_its_index(
    client: Elasticsearch, kept: str, policy: Policy, alias: str, index_name: str
) -> None:
    decide(client, kept, alias, "1", BLOCK)
    save(client, index_name, "1")
    safe = SafeSearch(client, policy)
    hits = client.search(index=index_name)["hits"]["hits"]
    assert sorted(hit["_id"] for hit in hits) == ["1", "2"]
    assert [hit["_id"] for hit in safe.rerank(hits)] == ["2"]
    elsewhere = [{**hit, "_index": "of-another-store"} for hit in hits]
    assert len(safe.rerank(elsewhere)) == 2
    assert len(safe.rerank(hits, {"requested": "all"})) == 2
    with pytest.raises(UnsafeRequest, match=r"'hits\.0\._id' was refused: it is missing"):
        safe.rerank([{"_index": index_name, "_score": 1.0}])


def test_a_moderator_of_an_application_decides_and_takes_it_back(
    client: Elasticsearch, kept: str, policy: Policy, alias: str, indexer_settings: Settings
) -> None:
    review = ReviewSettings(log_index=f"{kept}-log", work_index=f"{kept}-work")
    settings = indexer_settings.model_copy(update={"overrides": kept, "review": review})
    safe = SafeSearch(client, policy)
    try:
        override_document(alias, "1", "block", by="ann", reason="asked to", settings=settings)
        time.sleep(HOLDS)
        assert found(safe.search(index=alias)) == ["2"]
        override_document(alias, "1", None, by="ben", settings=settings)
        time.sleep(HOLDS)
        assert found(safe.search(index=alias)) == ["1", "2"]
        entries = Log(client, review.log_index).chain(Item(alias, "1"))
        said = [(one.act.value, one.by, one.queue, one.reason) for one in entries]
        assert said == [
            ("block", "ann", "application", "asked to"),
            ("undo", "ben", "application", None),
        ]
        with pytest.raises(DocumentNotFound, match="no document 'nix'") as caught:
            override_document(alias, "nix", "allow", by="ann", settings=settings)
        assert status_of(caught.value) == 404
        with pytest.raises(ConfigurationError, match="is 'allow', 'block' or None, and not 'BLOCK"):
            override_document(alias, "1", "BLOCK", by="ann", settings=settings)  # type: ignore[arg-type]
        with pytest.raises(ConfigurationError, match="set SAFERANK_OVERRIDES"):
            override_document(alias, "1", "block", by="ann", settings=indexer_settings)
    finally:
        names = [review.log_index, review.work_index]
        client.indices.delete(index=names, ignore_unavailable=True)


def test_the_asynchronous_client_does_not_rerank_by_what_it_has_not_read(
    elasticsearch_url: str, kept: str, policy: Policy
) -> None:
    async def rerank() -> None:
        async with AsyncSafeSearch(AsyncElasticsearch(elasticsearch_url), policy) as safe:
            safe.rerank([])

    with pytest.raises(UnsafeRequest, match="the policy has them in"):
        asyncio.run(rerank())


def test_the_asynchronous_client_sees_it_too(
    elasticsearch_url: str, client: Elasticsearch, kept: str, policy: Policy, alias: str
) -> None:
    async def search() -> list[str]:
        async with AsyncSafeSearch(AsyncElasticsearch(elasticsearch_url), policy) as safe:
            return found(await safe.search(index=alias))

    decide(client, kept, alias, "1", BLOCK)
    save(client, alias, "1")
    assert asyncio.run(search()) == ["2"]


def test_an_override_is_of_one_index_and_follows_its_alias(
    client: Elasticsearch, kept: str, policy: Policy, alias: str, index_name: str
) -> None:
    other = f"{index_name}-2"
    safe = SafeSearch(client, policy)
    try:
        client.indices.create(index=other)
        add_to_index(client, other)
        save(client, other, "1")
        with pytest.raises(MappingError, match=f"is behind '{alias}'; name the alias"):
            override(client, kept, FIELDS, index_name, "1", BLOCK)
        with pytest.raises(MappingError, match="no document 'nix'"):
            override(client, kept, FIELDS, alias, "nix", BLOCK)
        decide(client, kept, alias, "1", BLOCK)
        save(client, index_name, "1")
        assert found(safe.search(index=f"{index_name},{other}")) == ["1", "2"]
        assert safe.get(index=other, id="1")["found"]
        moves = [{"remove": {"index": index_name, "alias": alias}}]
        moves += [{"add": {"index": other, "alias": alias}}]
        client.indices.update_aliases(actions=moves)
        assert found(safe.search(index=other)) == []
        assert not safe.exists(index=other, id="1")
    finally:
        client.indices.delete(index=other, ignore_unavailable=True)


def test_without_its_index_nothing_is_shown(
    client: Elasticsearch, kept: str, policy: Policy, alias: str
) -> None:
    client.indices.delete(index=kept)
    safe = SafeSearch(client, policy)
    for one in (safe, safe.options(ignore_status=404)):
        with pytest.raises(MappingError, match="what people blocked is not known"):
            one.search(index=alias)
    with pytest.raises(MappingError, match="saferank override install"):
        override(client, kept, FIELDS, alias, "1", BLOCK)


@pytest.fixture
def store(client: Elasticsearch, kept: str) -> DocumentStore:
    return DocumentStore(client, FIELDS, "image", patience=5, overrides=KeptOverrides(client, kept))


def test_scoring_brings_the_copy_back(
    client: Elasticsearch, kept: str, alias: str, index_name: str, store: DocumentStore
) -> None:
    def score(id: str) -> dict[str, Any]:
        score_documents(brightness_pipeline(), store, index_name, [DocumentKey(id)])
        safety: dict[str, Any] = client.get(index=index_name, id=id)["_source"]["safety"]
        return safety

    score("1")
    decide(client, kept, alias, "1", BLOCK)
    decide(client, kept, alias, "2", ALLOW)  # of a document that was never scored
    save(client, index_name, "1", 200)
    safety = score("1")
    assert (safety["override"], safety["override_by"]) == ("block", "ann")
    assert safety["override_reason"] == "asked to"
    version = client.get(index=index_name, id="1")["_version"]
    score("1")
    assert client.get(index=index_name, id="1")["_version"] == version
    assert score("2")["override"] is None  # it allowed an image that nobody had looked at


def test_an_allow_is_bound_to_the_images_that_it_was_made_for(
    client: Elasticsearch, kept: str, alias: str, index_name: str, store: DocumentStore
) -> None:
    def score(level: int) -> str | None:
        save(client, index_name, "1", level)
        return score_again()

    def score_again() -> str | None:
        score_documents(brightness_pipeline(), store, index_name, [DocumentKey("1")])
        source = client.get(index=index_name, id="1")["_source"]
        override: str | None = source["safety"].get("override")
        return override

    assert score(200) is None
    decide(client, kept, alias, "1", ALLOW)
    assert score(200) == "allow"
    client.update(index=index_name, id="1", doc={"image": data_uri(png(250))})
    assert score_again() is None
    assert score(200) == "allow"


def test_without_its_index_documents_wait(
    client: Elasticsearch, kept: str, alias: str, index_name: str, store: DocumentStore
) -> None:
    client.indices.delete(index=kept)
    with pytest.raises(ServiceUnavailable, match="what people blocked is not known"):
        score_documents(brightness_pipeline(), store, index_name, [DocumentKey("1")])
