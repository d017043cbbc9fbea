"""saferank: safe-search re-ranking for Elasticsearch.

How an image becomes a rank: ``indexer`` fetches and decodes a document's images, ``models`` turns
each into a probability, ``mappings`` names the fields it is stored in, and ``ranker`` turns a
request's context into a level and hides or demotes by the stored probability.

Everything that an application or a worker's operator imports is offered here. Each part is loaded
when it is first asked for, since a web application needs no model and a worker no policy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from saferank.errors import (
        ConfigurationError,
        ContextError,
        DocumentNotFound,
        ErrorCode,
        ImageError,
        JobError,
        MappingError,
        ModelError,
        PolicyError,
        SaferankError,
        SaferankWarning,
        ServiceUnavailable,
        UnsafeRequest,
    )
    from saferank.indexer.keys import DocumentKey
    from saferank.indexer.queue import queue_documents
    from saferank.mappings.fields import SafetyFields
    from saferank.mappings.override_index import read_overrides
    from saferank.models.model import Model, load_model
    from saferank.ranker.client.client import AsyncSafeSearch, SafeSearch
    from saferank.ranker.client.dsl import protect
    from saferank.ranker.client.every_level import check_request
    from saferank.ranker.client.keywords import Context
    from saferank.ranker.esql import where
    from saferank.ranker.level.decision import Decision
    from saferank.ranker.policy.file import PolicyFile
    from saferank.ranker.policy.load import load_policy
    from saferank.ranker.policy.policy import Policy
    from saferank.ranker.rerank import rerank
    from saferank.ranker.rewrite.limits import Limits
    from saferank.ranker.rewrite.neighbours import nearest_request
    from saferank.ranker.rewrite.search import restore_response, rewrite_count, rewrite_search
    from saferank.review.operator import override_document

__version__ = "0.2.0"

__all__ = [  # noqa: RUF022  (grouped as readers look for them)
    # Search safely
    "AsyncSafeSearch",
    "Context",
    "Decision",
    "Policy",
    "PolicyFile",
    "SafeSearch",
    "check_request",
    "load_policy",
    "protect",
    "rerank",
    # Make request bodies safe yourself
    "Limits",
    "nearest_request",
    "restore_response",
    "rewrite_count",
    "rewrite_search",
    "where",
    # Have documents scored
    "DocumentKey",
    "SafetyFields",
    "queue_documents",
    # Note what people decide
    "override_document",
    "read_overrides",
    # Score images
    "Model",
    "load_model",
    # Errors
    "ConfigurationError",
    "ContextError",
    "DocumentNotFound",
    "ErrorCode",
    "ImageError",
    "JobError",
    "MappingError",
    "ModelError",
    "PolicyError",
    "SaferankError",
    "SaferankWarning",
    "ServiceUnavailable",
    "UnsafeRequest",
]

# Where each name lives, as the imports above say it to type checkers; a test holds them equal.
_HOMES = {
    "saferank.errors": (
        "ConfigurationError ContextError DocumentNotFound ErrorCode ImageError JobError "
        "MappingError ModelError PolicyError SaferankError SaferankWarning ServiceUnavailable "
        "UnsafeRequest"
    ),
    "saferank.indexer.keys": "DocumentKey",
    "saferank.indexer.queue": "queue_documents",
    "saferank.mappings.fields": "SafetyFields",
    "saferank.mappings.override_index": "read_overrides",
    "saferank.models.model": "Model load_model",
    "saferank.ranker.client.client": "AsyncSafeSearch SafeSearch",
    "saferank.ranker.client.dsl": "protect",
    "saferank.ranker.client.every_level": "check_request",
    "saferank.ranker.client.keywords": "Context",
    "saferank.ranker.esql": "where",
    "saferank.ranker.level.decision": "Decision",
    "saferank.ranker.policy.file": "PolicyFile",
    "saferank.ranker.policy.load": "load_policy",
    "saferank.ranker.policy.policy": "Policy",
    "saferank.ranker.rerank": "rerank",
    "saferank.ranker.rewrite.limits": "Limits",
    "saferank.ranker.rewrite.neighbours": "nearest_request",
    "saferank.ranker.rewrite.search": "restore_response rewrite_count rewrite_search",
    "saferank.review.operator": "override_document",
}
_PUBLIC = {name: module for module, names in _HOMES.items() for name in names.split()}
# What a web application may lack that came with no more than the policies and the search client.
_EXTRAS = {"queue_documents": "queue", "Model": "indexer", "load_model": "indexer"}


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'saferank' has no attribute {name!r}")
    try:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    except ModuleNotFoundError as error:
        if name not in _EXTRAS or str(error.name).startswith("saferank"):
            raise
        raise ModuleNotFoundError(
            f"saferank.{name} needs {error.name!r}, which is not installed: "
            f"pip install 'saferank[{_EXTRAS[name]}]'",
            name=error.name,
        ) from error


def __dir__() -> list[str]:
    return [*globals(), *_PUBLIC]
