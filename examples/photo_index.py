"""The index that the web examples search; run it once, then ``saferank mapping install``."""

from __future__ import annotations

import os
from typing import Any

from elasticsearch import Elasticsearch

MAPPINGS: dict[str, Any] = {
    "properties": {
        "id": {"type": "keyword"},  # Tells hits of equal relevance apart, for cursors.
        "title": {"type": "text"},
        "tag": {"type": "keyword"},
        "file": {"type": "keyword", "index": False},
        "image": {"type": "keyword", "index": False},  # Where workers find the picture.
    }
}

if __name__ == "__main__":
    with Elasticsearch(os.environ["SAFERANK_ELASTICSEARCH_URL"]) as client:
        client.indices.create(index="photos", mappings=MAPPINGS)
