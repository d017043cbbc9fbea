"""saferank: safe-search re-ranking for Elasticsearch.

How an image becomes a rank: ``indexer`` fetches and decodes a document's images, ``models`` turns
each into a probability, ``mappings`` names the fields it is stored in, and ``ranker`` turns a
request's context into a level and hides or demotes by the stored probability.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

# Public names and where they live; each part is imported when it is first asked for, since a web
# application needs no model and a worker no policy.
_PUBLIC = {
    "AsyncSafeSearch": "saferank.ranker",
    "Policy": "saferank.ranker",
    "SafeSearch": "saferank.ranker",
    "load_model": "saferank.models",
    "load_policy": "saferank.ranker",
    "protect": "saferank.ranker",
    "rerank": "saferank.ranker",
}


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'saferank' has no attribute {name!r}")
    return getattr(importlib.import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return [*globals(), *_PUBLIC]
