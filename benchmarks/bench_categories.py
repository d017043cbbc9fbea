"""What categories cost: a level about three, as a ratio to the same level about one, in one run.

The corpus is ``ranker_corpus``'s, with two more categories of the same distribution. Both policies
search the same index, interleaved query by query, through the same client. "in query" is the form
for sorts, aggregations and deep pages, in which the factor of every match is computed.

    python benchmarks/bench_categories.py [--documents 1000000] [--repeats 5] [--url ADDRESS]
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from elasticsearch import Elasticsearch
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parent))

from bench_ranker import Way, queries
from ranker_corpus import MISSING, make_corpus

from saferank.ranker import Policy, SafeSearch, load_policy
from saferank.ranker.rewrite.search import rewrite_search
from saferank.settings import get_settings

INDEX = "saferank-bench-categories"
FIELDS = {"nudity": "safety", "violence": "safety_violence", "drawing": "safety_drawing"}
MODERATE = "{demote_from: 0.2, hide_from: 0.8, unscored: demote}"
STRICT = "{hide_from: 0.2, unscored: hide}"
BULK = 10_000
PAGES = {"top 20": {"from": 0, "size": 20}, "page 5": {"from": 80, "size": 20}}


def policy_of(*categories: str) -> Policy:
    """The same levels about each of these categories."""

    def each(value: str) -> str:
        return ", ".join(f"{name}: {value}" for name in categories)

    fields = "".join(f"  {name}: {{field: {FIELDS[name]}}}\n" for name in categories)
    return load_policy(
        f"version: 2\ncategories:\n{fields}"
        f"levels:\n  moderate: {{{each(MODERATE)}}}\n  strict: {{{each(STRICT)}}}\n"
        "contexts: [{level: moderate}]\n"
    )


def ensure_corpus(client: Elasticsearch, documents: int, *, seconds: float = float("inf")) -> bool:
    """Index what is missing, for as long as there is time; whether all is there."""
    safety = {
        "properties": {
            "probability": {"type": "float"},
            **{key: {"type": "keyword"} for key in ("model", "status", "override", "matched")},
        }
    }
    if not client.indices.exists(index=INDEX):
        client.indices.create(
            index=INDEX,
            settings={"number_of_shards": 1, "number_of_replicas": 0, "refresh_interval": "-1"},
            mappings={
                "properties": {"title": {"type": "text"}, **dict.fromkeys(FIELDS.values(), safety)}
            },
        )
    client.indices.refresh(index=INDEX)
    start, begun = client.count(index=INDEX)["count"], time.monotonic()
    if start == documents:
        return True
    corpus = make_corpus(documents)
    draw = np.random.default_rng(1)
    values = [corpus.probabilities]
    for _ in range(2):
        more = draw.beta(0.35, 2.5, size=documents).astype(np.float32)
        more[draw.random(documents) < MISSING] = np.nan
        values.append(more)
    while start < documents and time.monotonic() - begun < seconds:
        lines = []
        for row in range(start, min(start + BULK, documents)):
            document: dict[str, Any] = {"title": corpus.title(row)}
            for field, probabilities in zip(FIELDS.values(), values, strict=True):
                if not np.isnan(probabilities[row]):
                    document[field] = {
                        "probability": float(probabilities[row]),
                        "model": "bench",
                        "status": "scored",
                    }
            lines += [json.dumps({"index": {"_id": str(row)}}), json.dumps(document)]
        body = "\n".join(lines) + "\n"
        answer = client.bulk(index=INDEX, body=body, filter_path="errors")  # type: ignore[arg-type]
        if answer["errors"]:
            raise RuntimeError(f"indexing documents {start}... failed")
        start = min(start + BULK, documents)
    if start < documents:
        return False
    client.indices.refresh(index=INDEX)
    client.options(request_timeout=600).indices.forcemerge(index=INDEX, max_num_segments=1)
    client.indices.refresh(index=INDEX)
    return True


def measure(client: Elasticsearch, repeats: int, console: Console) -> None:
    """Print, for each way of searching, the ratio of three categories to one."""
    policies = {1: policy_of("nudity"), 3: policy_of(*FIELDS)}

    def by_client(count: int, level: str) -> Way:
        safe = SafeSearch(client, policies[count]).at_level(level)
        return lambda body: safe.search(index=INDEX, body=body, request_cache=False)

    def in_query(count: int) -> Way:
        decision = policies[count].decision_for("moderate")
        return lambda body: client.search(
            index=INDEX, body=rewrite_search(body, decision), request_cache=False
        )

    ways = {
        "client, strict": (by_client(1, "strict"), by_client(3, "strict")),
        "client, moderate": (by_client(1, "moderate"), by_client(3, "moderate")),
        "in query, moderate": (in_query(1), in_query(3)),
    }
    order = random.Random(3)
    for title, page in PAGES.items():
        table = Table("queries", *ways, title=f"{title}: three to one, median (95th percentile)")
        for label, plain in queries().items():
            cells = []
            bodies = [{"query": query, "track_total_hits": False, **page} for query in plain]
            for pair in ways.values():
                times: tuple[list[float], list[float]] = ([], [])
                for number in range(repeats + 1):
                    for body in bodies:
                        for place in order.sample(range(2), 2):
                            started = time.perf_counter()
                            pair[place](body)
                            if number:  # The first round warms up.
                                times[place].append(time.perf_counter() - started)
                one, three = times
                ratio = statistics.median(three) / statistics.median(one)
                last = statistics.quantiles(three, n=20)[-1] / statistics.quantiles(one, n=20)[-1]
                cells.append(f"{ratio:.2f} ({last:.2f})")
            table.add_row(label, *cells)
        console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--documents", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--url", default=get_settings().elasticsearch_url)
    options = parser.parse_args()
    with Elasticsearch(options.url, request_timeout=120) as client:
        ensure_corpus(client, options.documents)
        measure(client, options.repeats, Console(width=140))


if __name__ == "__main__":
    main()
