"""What safe search costs: each level and every way of demoting, as a ratio to the raw query and to
the filter of the level, put around the query by hand.

All ways are interleaved query by query, in random order, in one run, through the same Python
client, so that a busy machine slows all of them. Needs an Elasticsearch node (``saferank stack
up``); the corpus takes a minute the first time and is kept.

On a busy machine even the medians wander; "quiet" compares the fastest tenth of the calls, which
were hardly disturbed.

    python benchmarks/bench_ranker.py [--documents 1000000] [--repeats 5]
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from elasticsearch import Elasticsearch
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parent))

from ranker_corpus import ensure_corpus, word

from saferank.ranker import Decision, Policy, SafeSearch, load_policy, rerank
from saferank.ranker.rewrite.search import rewrite_search
from saferank.settings import get_settings

POLICY = """\
version: 1
levels:
  off:      {}
  moderate: {demote_from: 0.2, hide_from: 0.8, unscored: demote}
  strict:   {hide_from: 0.2, unscored: hide}
demotion: {curve: exponential, floor: 0.1}
contexts:
  - {when: {audience: child}, level: strict}
  - {level: moderate}
"""
# Ranks of terms by frequency.
FREQUENT, RARE = range(30), range(300, 3000)
PAGES = {"top 20": {"from": 0, "size": 20}, "page 5": {"from": 80, "size": 20}}
QUERIES_PER_KIND = 25

Json = dict[str, Any]
Way = Callable[[Json], Any]


def queries(seed: int = 7) -> dict[str, list[Json]]:
    """Match queries of one, two and four frequent or rare terms."""
    source = random.Random(seed)
    result = {}
    for name, ranks in (("frequent", FREQUENT), ("rare", RARE)):
        for terms in (1, 2, 4):
            texts = [
                " ".join(word(source.choice(ranks)) for _ in range(terms))
                for _ in range(QUERIES_PER_KIND)
            ]
            label = f"{terms} {name} term{'s' if terms > 1 else ''}"
            result[label] = [{"match": {"title": text}} for text in texts]
    return result


# Level -> the client's way, and the same filter by hand.
BY_HAND = {
    "strict": ("client, strict", "by hand, strict"),
    "moderate": ("client, moderate", "by hand, moderate"),
}


def ways(client: Elasticsearch, index: str, policy: Policy) -> dict[str, Way]:
    """The raw query first, then every way of making it safe."""
    context = {"requested": "moderate"}
    decision, strictly = policy.resolve(context), policy.decision_for("strict")
    safe = SafeSearch(client, policy)

    def send(body: Json) -> Any:
        return client.search(index=index, body=body, request_cache=False)

    def in_query(body: Json) -> Any:
        return send(rewrite_search(body, decision))

    def filtering(level: Decision) -> Way:
        clauses = level.visible  # What an application would have as a constant.

        def filtered(body: Json) -> Any:
            return send({**body, "query": {"bool": {"must": [body["query"]], **clauses}}})

        return filtered

    def strict(body: Json) -> Any:
        context = {"audience": "child"}
        return safe.search(index=index, body=body, request_cache=False, context=context)

    def overfetch(body: Json) -> Any:
        response = safe.search(index=index, body=body, request_cache=False, context=context)
        used[response["saferank"]["demotion"]] = used.get(response["saferank"]["demotion"], 0) + 1
        return response

    def reranked(body: Json) -> Any:
        return rerank(send(body)["hits"]["hits"], decision)

    return {
        "raw": send,
        "by hand, strict": filtering(strictly),
        "client, strict": strict,
        "by hand, moderate": filtering(decision),
        "client, moderate": overfetch,
        "in query": in_query,
        "rerank": reranked,
    }


used: dict[str, int] = {}


def measure(
    alternatives: dict[str, Way], bodies: list[Json], repeats: int
) -> dict[str, list[float]]:
    """Milliseconds of each call; the first round warms up and does not count."""
    times: dict[str, list[float]] = {name: [] for name in alternatives}
    order = list(alternatives)
    for repeat in range(repeats + 1):
        for body in bodies:
            random.shuffle(order)
            for name in order:
                started = time.perf_counter()
                alternatives[name](body)
                elapsed = (time.perf_counter() - started) * 1e3
                if repeat:
                    times[name].append(elapsed)
    return times


def p95(values: list[float]) -> float:
    return statistics.quantiles(values, n=20)[-1]


def quiet(values: list[float]) -> float:
    return statistics.quantiles(values, n=10)[0]


def cell(values: list[float], raw: list[float]) -> str:
    return " / ".join(f"{of(values) / of(raw):.2f}" for of in (quiet, statistics.median, p95))


def table_of(title: str, rows: dict[str, dict[str, list[float]]]) -> Table:
    names = list(next(iter(rows.values())))
    table = Table("query", "raw, ms", *names[1:], title=title, title_justify="left")
    for label, times in rows.items():
        raw = times["raw"]
        spread = " / ".join(f"{of(raw):.1f}" for of in (quiet, statistics.median, p95))
        table.add_row(label, spread, *(cell(times[name], raw) for name in names[1:]))
    scaled = {
        name: [value / quiet(times["raw"]) for times in rows.values() for value in times[name]]
        for name in names
    }
    table.add_row("all", "", *(cell(scaled[name], scaled["raw"]) for name in names[1:]))
    return table


def goals_table(title: str, rows: dict[str, dict[str, list[float]]]) -> Table:
    """The client as a ratio to the same filter by hand: the median over the kinds of queries."""
    table = Table("level", "median", "p95", title=title, title_justify="left")
    for level, (client, by_hand) in BY_HAND.items():
        ratios = [
            statistics.median(of(times[client]) / of(times[by_hand]) for times in rows.values())
            for of in (statistics.median, p95)
        ]
        table.add_row(level, *(f"{ratio:.3f}" for ratio in ratios))
    return table


def python_costs(policy: Policy, console: Console) -> None:
    """What is spent in this process alone."""
    decision = policy.decision_for("moderate")
    body = {"query": {"match": {"title": "w1 w5"}}, "size": 20}
    source = random.Random(1)
    hits = [
        {
            "_id": str(n),
            "_score": 10 - n / 100,
            "_source": {"safety": {"probability": source.betavariate(0.35, 2.5)}},
        }
        for n in range(1000)
    ]
    for name, call in {
        "rewrite a body, hiding and demoting": lambda: rewrite_search(body, decision),
        "resolve a context": lambda: policy.resolve({"audience": "child"}),
        "rerank 20 hits": lambda: rerank(hits[:20], decision),
        "rerank 1,000 hits": lambda: rerank(hits, decision),
    }.items():
        values = []
        for _ in range(200):
            started = time.perf_counter()
            call()
            values.append((time.perf_counter() - started) * 1e6)
        console.print(f"{name}: {statistics.median(values):.0f} µs (median)", highlight=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--documents", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--pages", nargs="+", default=list(PAGES), choices=list(PAGES))
    parser.add_argument("--url", default=get_settings().elasticsearch_url)
    options = parser.parse_args()
    console = Console(width=170)
    policy = load_policy(POLICY)
    python_costs(policy, console)
    with Elasticsearch(options.url, request_timeout=120) as client:
        index = ensure_corpus(client, options.documents)
        alternatives = ways(client, index, policy)
        for title in options.pages:
            rows = {}
            for label, plain in queries().items():
                bodies = [
                    {"query": query, "track_total_hits": False, **PAGES[title]} for query in plain
                ]
                rows[label] = measure(alternatives, bodies, options.repeats)
            about = f"{title}, {options.documents:,} documents: ratio to raw, quiet / median / p95"
            console.print(table_of(about, rows))
            console.print(goals_table(f"{title}: ratio to the same filter by hand", rows))
    console.print(f"ways that the client chose: {used}")


if __name__ == "__main__":
    main()
