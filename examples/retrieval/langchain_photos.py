"""Safe retrieval with langchain: retrievers and stores take the client of the request."""

from __future__ import annotations

from typing import Any

from langchain_core.embeddings import Embeddings
from langchain_elasticsearch import ElasticsearchRetriever, ElasticsearchStore

from saferank import Context, SafeSearch


# [retriever]
def words_in_titles(words: str) -> dict[str, Any]:
    # The record stays in the index: a model is to read what a document says, and no more.
    return {"query": {"match": {"title": words}}, "_source": {"excludes": ["safety"]}, "size": 5}


def retriever(client: SafeSearch, context: Context) -> ElasticsearchRetriever:
    safe: Any = client.bind(context)
    return ElasticsearchRetriever(
        client=safe, index_name="photos", body_func=words_in_titles, content_field="title"
    )


# [end]


# [store]
def store(client: SafeSearch, context: Context, embedding: Embeddings) -> ElasticsearchStore:
    safe: Any = client.bind(context)
    return ElasticsearchStore(
        client=safe,
        index_name="photos",
        embedding=embedding,
        query_field="title",
        vector_query_field="vector",
    )


# [end]
