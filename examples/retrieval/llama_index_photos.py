"""Safe retrieval with llama-index: a store takes the asynchronous client of the request."""

from __future__ import annotations

from llama_index.core import VectorStoreIndex
from llama_index.core.embeddings import BaseEmbedding
from llama_index.core.retrievers import BaseRetriever
from llama_index.vector_stores.elasticsearch import ElasticsearchStore

from saferank import AsyncSafeSearch, Context


# [retriever]
def retriever(client: AsyncSafeSearch, context: Context, embedding: BaseEmbedding) -> BaseRetriever:
    store = ElasticsearchStore(
        es_client=client.bind(context),
        index_name="photos",
        text_field="title",
        vector_field="vector",
    )
    return VectorStoreIndex.from_vector_store(store, embed_model=embedding).as_retriever()


# [end]
