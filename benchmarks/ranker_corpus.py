"""A corpus of a million documents for the ranker's benchmark, the same on every run.

Zipf vocabulary of 20,000 terms, eight terms a document, probability Beta(0.35, 2.5) with 3 % of
the documents never scored; one shard, force-merged to one segment. The index stays on the node
and is used again by the next run.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from elasticsearch import Elasticsearch
from numpy.typing import NDArray

INDEX = "saferank-bench-ranker"
VOCABULARY = 20_000
TERMS_PER_DOCUMENT = 8
MISSING = 0.03
SEED = 20_240_601
_BULK = 10_000

_MAPPING: dict[str, Any] = {
    "dynamic": "strict",
    "properties": {
        "title": {"type": "text"},
        "url": {"type": "keyword", "index": False},
        "safety": {
            "dynamic": "strict",
            "properties": {
                "probability": {"type": "float"},
                "model": {"type": "keyword"},
                "status": {"type": "keyword"},
                "override": {"type": "keyword"},
                "matched": {"type": "keyword"},
            },
        },
    },
}


@dataclass(frozen=True, slots=True)
class Corpus:
    """The documents as arrays: term numbers (documents, 8) and probabilities (NaN: unscored)."""

    terms: NDArray[np.int64]
    probabilities: NDArray[np.float32]

    def title(self, row: int) -> str:
        """The searchable text of one document."""
        return " ".join(word(term) for term in self.terms[row])


def word(rank: int) -> str:
    """The term of a frequency rank, 0 being the most frequent."""
    return f"w{rank}"


def make_corpus(documents: int) -> Corpus:
    """Draw the documents."""
    random = np.random.default_rng(SEED)
    weights = 1.0 / np.arange(1, VOCABULARY + 1)
    terms = random.choice(
        VOCABULARY, size=(documents, TERMS_PER_DOCUMENT), p=weights / weights.sum()
    )
    probabilities = random.beta(0.35, 2.5, size=documents).astype(np.float32)
    probabilities[random.random(documents) < MISSING] = np.nan
    return Corpus(terms, probabilities)


def _bulk_lines(corpus: Corpus, start: int, stop: int) -> Iterator[str]:
    for row in range(start, stop):
        yield json.dumps({"index": {"_id": str(row)}})
        document: dict[str, object] = {
            "title": corpus.title(row),
            "url": f"https://images.example/{row:07d}/picture.jpg",
        }
        probability = corpus.probabilities[row]
        if not np.isnan(probability):
            document["safety"] = {
                "probability": float(probability),
                "model": "bench",
                "status": "scored",
            }
        yield json.dumps(document)


def ensure_corpus(client: Elasticsearch, documents: int = 1_000_000) -> str:
    """Index the corpus unless it is there already; the index name."""
    name = f"{INDEX}-{documents}"
    if client.indices.exists(index=name) and client.count(index=name)["count"] == documents:
        client.indices.put_mapping(index=name, properties=_MAPPING["properties"])
        return name
    client.indices.delete(index=name, ignore_unavailable=True)
    client.indices.create(
        index=name,
        settings={"number_of_shards": 1, "number_of_replicas": 0, "refresh_interval": "-1"},
        mappings=_MAPPING,
    )
    corpus = make_corpus(documents)
    for start in range(0, documents, _BULK):
        lines = _bulk_lines(corpus, start, min(start + _BULK, documents))
        body = "\n".join(lines) + "\n"
        answer = client.bulk(index=name, body=body, filter_path="errors")  # type: ignore[arg-type]
        if answer["errors"]:
            raise RuntimeError(f"indexing documents {start}... failed")
    client.indices.refresh(index=name)
    slow = client.options(request_timeout=600)
    slow.indices.forcemerge(index=name, max_num_segments=1)
    client.indices.refresh(index=name)
    return name
