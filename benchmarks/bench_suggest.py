"""Time of suggestions through a safe client, as a ratio to the same without a policy.

    python benchmarks/bench_suggest.py [ADDRESS]

100,000 documents of four words each, out of 20,000 words with Zipf's frequencies; 15 % of the
documents are hidden. Each kind of suggestion is asked for 200 times with and without a policy in
turns. Without an address, a private node is started.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from elasticsearch import Elasticsearch, helpers
from rich.console import Console
from rich.table import Table

from saferank.local.stack import temporary_stack
from saferank.mappings import template
from saferank.ranker import SafeSearch, load_policy

INDEX = "bench-suggest"
DOCUMENTS = 100_000
WORDS = 20_000
ROUNDS = 200
POLICY = """\
version: 1
levels: {strict: {hide_from: 0.2, unscored: hide}}
contexts: [{level: strict}]
"""


def main() -> None:
    with _client() as client:
        draw = random.Random(4)
        letters, often = "etaoinsrhldcumfp", range(16, 0, -1)
        words = ["".join(draw.choices(letters, often, k=draw.randint(4, 9))) for _ in range(WORDS)]
        _fill(client, words)
        safe = SafeSearch(client, load_policy(POLICY))
        table = Table("what", "plain, ms", "safe, ms", "95 % of both, ms", "ratio of medians")
        for name, ask in _KINDS.items():
            plain: list[float] = []
            guarded: list[float] = []
            for number in range(ROUNDS + 20):
                request = ask(draw.choice(words[:2000]), draw)
                for call, times in ((client.search, plain), (safe.search, guarded)):
                    start = time.perf_counter()
                    call(index=INDEX, **request)
                    if number >= 20:
                        times.append((time.perf_counter() - start) * 1000)
            medians = [float(np.median(times)) for times in (plain, guarded)]
            high = [float(np.quantile(times, 0.95)) for times in (plain, guarded)]
            table.add_row(
                name,
                *(f"{median:.1f}" for median in medians),
                " and ".join(f"{value:.1f}" for value in high),
                f"{medians[1] / medians[0]:.1f}",
            )
        Console().print(table)


def _misspelled(word: str, draw: random.Random) -> str:
    place = draw.randrange(1, len(word))
    return word[:place] + draw.choice("xyz") + word[place + 1 :]


def _completion(word: str, _draw: random.Random) -> dict[str, Any]:
    return {"suggest": {"s": {"prefix": word[:3], "completion": {"field": "c"}}}}


def _term(word: str, draw: random.Random) -> dict[str, Any]:
    return {"suggest": {"s": {"text": _misspelled(word, draw), "term": {"field": "title"}}}}


def _frequent(word: str, draw: random.Random) -> dict[str, Any]:
    term = {"field": "title", "sort": "frequency", "size": 10}
    return {"suggest": {"s": {"text": _misspelled(word, draw), "term": term}}}


def _phrase(word: str, draw: random.Random) -> dict[str, Any]:
    text = f"{word} {_misspelled(word, draw)} {word}"
    return {"suggest": {"s": {"text": text, "phrase": {"field": "title", "size": 3}}}}


def _tags(word: str, _draw: random.Random) -> dict[str, Any]:
    return {
        "size": 0,
        "query": {"prefix": {"words": word[:3]}},
        "aggs": {"tags": {"terms": {"field": "words", "include": f"{word[:3]}.*"}}},
    }


def _typed(word: str, _draw: random.Random) -> dict[str, Any]:
    return {"query": {"match_bool_prefix": {"title": word[:3]}}}


_KINDS: dict[str, Callable[[str, random.Random], dict[str, Any]]] = {
    "completion": _completion,
    "term": _term,
    "term, by frequency": _frequent,
    "phrase": _phrase,
    "tags by an aggregation": _tags,
    "match_bool_prefix": _typed,
}


def _fill(client: Elasticsearch, words: list[str]) -> None:
    client.indices.delete(index=INDEX, ignore_unavailable=True)
    client.indices.create(
        index=INDEX,
        settings={"number_of_shards": 1, "number_of_replicas": 0, "refresh_interval": "-1"},
        mappings={
            "properties": {
                "title": {"type": "text"},
                "words": {"type": "keyword"},
                "c": {"type": "completion"},
            }
        },
    )
    template.add_to_index(client, INDEX)
    draw = random.Random(1)
    weights = [1 / (1 + rank) for rank in range(len(words))]

    def documents() -> Iterator[dict[str, Any]]:
        for number in range(DOCUMENTS):
            own = draw.choices(words, weights, k=4)
            hidden = draw.random() < 0.15
            yield {
                "_index": INDEX,
                "_id": str(number),
                "title": " ".join(own),
                "words": own,
                "c": {"input": " ".join(own), "weight": draw.randrange(1000)},
                "safety": {"probability": 0.9 if hidden else 0.01, "status": "scored"},
            }

    helpers.bulk(client, documents(), chunk_size=5000)
    client.indices.refresh(index=INDEX)
    client.options(request_timeout=600).indices.forcemerge(index=INDEX, max_num_segments=1)


@contextmanager
def _client() -> Iterator[Elasticsearch]:
    if len(sys.argv) > 1:
        with Elasticsearch(sys.argv[1], request_timeout=120) as client:
            yield client
            client.indices.delete(index=INDEX)
        return
    with temporary_stack() as stack, Elasticsearch(stack.elasticsearch.url) as client:
        yield client


if __name__ == "__main__":
    main()
