"""Safe retrieval with haystack: a document store that is given its client."""

from __future__ import annotations

from typing import Any

from haystack import Document
from haystack_integrations.components.retrievers.elasticsearch import ElasticsearchBM25Retriever
from haystack_integrations.document_stores.elasticsearch import ElasticsearchDocumentStore

from saferank import AsyncSafeSearch, Context, SafeSearch
from saferank.web import without_safety


# [store]
class SafeDocumentStore(ElasticsearchDocumentStore):
    """A store for one request, whose answers obey the policy; the index exists already.

    haystack's own store makes its clients itself, in the three places that are replaced here. Its
    documents carry the whole source; the record is not for a language model.
    """

    def __init__(self, index: str, safe: SafeSearch, safe_async: AsyncSafeSearch) -> None:
        super().__init__(index=index)
        self._safe: Any = safe
        self._safe_async: Any = safe_async

    def _ensure_initialized(self) -> None:
        self._client = self._safe

    async def _ensure_initialized_async(self) -> None:
        self._async_client = self._safe_async

    def _create_async_client(self) -> Any:
        return self._safe_async

    def _deserialize_document(self, hit: dict[str, Any]) -> Document:
        public = without_safety(hit["_source"], self._safe.policy)
        return super()._deserialize_document({**hit, "_source": public})


# [end]


# [retriever]
def retriever(
    safe: SafeSearch, safe_async: AsyncSafeSearch, context: Context
) -> ElasticsearchBM25Retriever:
    store = SafeDocumentStore("captions", safe.bind(context), safe_async.bind(context))
    return ElasticsearchBM25Retriever(document_store=store)


# [end]
