"""Retrievers of langchain, llama-index and haystack with safe clients: ``make test-frameworks``."""

from __future__ import annotations

import importlib.util
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from elasticsearch import AsyncElasticsearch, Elasticsearch, helpers
from haystack import Pipeline
from haystack_integrations.components.retrievers.elasticsearch import (
    ElasticsearchEmbeddingRetriever,
)
from langchain_core.embeddings import DeterministicFakeEmbedding
from llama_index.core import MockEmbedding

from saferank import AsyncSafeSearch, SafeSearch, UnsafeRequest, load_policy
from saferank.mappings import add_to_index

EXAMPLES = Path(__file__).parents[2] / "examples"
DIMENSIONS = 8
PROBABILITIES = {"plain": 0.01, "medium": 0.5, "high": 0.9}
SHOWN = {"off": {"plain", "medium", "high"}, "moderate": {"plain", "medium"}, "strict": {"plain"}}
LEVELS = pytest.mark.parametrize("level", SHOWN)


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / "retrieval" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def url(elasticsearch_url: str) -> Iterator[str]:
    """A node with the indices ``photos`` and ``captions``: a document of each kind."""
    vector = {"type": "dense_vector", "dims": DIMENSIONS, "similarity": "cosine"}
    mappings = {
        "photos": {"title": {"type": "text"}, "vector": vector},
        "captions": {"content": {"type": "text"}, "embedding": vector},
    }
    with Elasticsearch(elasticsearch_url, request_timeout=60) as client:
        for index, properties in mappings.items():
            client.indices.delete(index=index, ignore_unavailable=True)
            client.indices.create(index=index, mappings={"properties": properties})
            add_to_index(client, index)
        for number, (kind, probability) in enumerate(PROBABILITIES.items()):
            place = [1.0, *[0.1 * number] * (DIMENSIONS - 1)]
            safety = {"probability": probability, "status": "scored", "images": [{"sha256": "x"}]}
            title = f"cat {kind}"
            photo = {"title": title, "vector": place, "metadata": {}, "safety": safety}
            caption = {"id": kind, "content": title, "embedding": place, "safety": safety}
            helpers.bulk(
                client,
                [
                    {"_index": "photos", "_id": kind, "_source": photo},
                    {"_index": "captions", "_id": kind, "_source": caption},
                ],
                refresh=True,
            )
        yield elasticsearch_url
        client.indices.delete(index="photos,captions")


POLICY = load_policy(EXAMPLES / "policy.yaml")


@pytest.fixture
def safe(url: str) -> Iterator[SafeSearch]:
    with SafeSearch(Elasticsearch(url), POLICY, require_context=True) as client:
        yield client


@pytest.fixture
async def safe_async(url: str) -> AsyncIterator[AsyncSafeSearch]:
    async with AsyncSafeSearch(AsyncElasticsearch(url), POLICY, require_context=True) as client:
        yield client


def kinds(texts: list[str | None]) -> set[str]:
    return {str(text).removeprefix("cat ") for text in texts}


@LEVELS
def test_langchain_retrieves_what_the_level_shows(safe: SafeSearch, level: str) -> None:
    found = example("langchain_photos").retriever(safe, {"requested": level}).invoke("cat")
    assert kinds([one.page_content for one in found]) == SHOWN[level]
    assert all(one.metadata["saferank"]["level"] == level for one in found)
    assert all("safety" not in one.metadata["_source"] for one in found)


@LEVELS
def test_a_store_of_langchain_finds_neighbours_that_the_level_shows(
    safe: SafeSearch, level: str
) -> None:
    embedding = DeterministicFakeEmbedding(size=DIMENSIONS)
    store = example("langchain_photos").store(safe, {"requested": level}, embedding)
    found = store.similarity_search("cat", k=3)
    assert kinds([one.page_content for one in found]) == SHOWN[level]


@LEVELS
async def test_llama_index_retrieves_what_the_level_shows(
    safe_async: AsyncSafeSearch, level: str
) -> None:
    retriever = example("llama_index_photos").retriever(
        safe_async, {"requested": level}, MockEmbedding(embed_dim=DIMENSIONS)
    )
    found = await retriever.aretrieve("cat")
    assert kinds([one.node.get_content() for one in found]) <= SHOWN[level]
    assert len(found) == min(2, len(SHOWN[level]))  # It asks for two.


@LEVELS
async def test_haystack_retrieves_what_the_level_shows(
    safe: SafeSearch, safe_async: AsyncSafeSearch, level: str
) -> None:
    retriever = example("haystack_photos").retriever(safe, safe_async, {"requested": level})
    pipeline = Pipeline()
    pipeline.add_component("retriever", retriever)
    nearest = ElasticsearchEmbeddingRetriever(document_store=retriever._document_store)
    results: list[Any] = [
        nearest.run(query_embedding=[1.0] * DIMENSIONS)["documents"],
        pipeline.run({"retriever": {"query": "cat"}})["retriever"]["documents"],
        (await retriever.run_async(query="cat"))["documents"],
    ]
    for found in results:
        assert kinds([one.content for one in found]) == SHOWN[level]
        assert all("safety" not in one.meta for one in found)


async def test_a_store_of_haystack_has_no_way_around_the_policy(
    safe: SafeSearch, safe_async: AsyncSafeSearch
) -> None:
    context = {"requested": "strict"}
    store = example("haystack_photos").retriever(safe, safe_async, context)._document_store
    everything = {"field": "id", "operator": "!=", "value": ""}
    assert store.count_documents() == 1
    assert await store.count_documents_async() == 1
    assert {one.id for one in store.filter_documents()} == {"plain"}
    assert {one.id for one in await store.filter_documents_async()} == {"plain"}
    assert store.count_documents_by_filter(everything) == 1
    # What begins with this call makes a client of its own in a store that was not closed in.
    fresh = example("haystack_photos").retriever(safe, safe_async, context)._document_store
    assert await fresh.count_documents_by_filter_async(everything) == 1
    with pytest.raises(Exception, match="not known to be safe") as refused:
        store._query_sql("SELECT id FROM captions")
    assert isinstance(refused.value.__cause__ or refused.value, UnsafeRequest)
