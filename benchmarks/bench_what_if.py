"""Time of ``saferank policy what-if`` as a ratio to a raw aggregation, and whether it counts right.

    python benchmarks/bench_what_if.py [ADDRESS]

100,000 documents, half of them with a probability exactly at a possible threshold; 20 random
policies against another one. The raw aggregations are one histogram of the probability, and the
same fields that a policy looks at: probability by status by override. Each is asked in turns, with
the cache of requests cleared before. Without an address, a private node is started.
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

from saferank.calibration.what_if import what_if
from saferank.local.stack import temporary_stack
from saferank.mappings import template
from saferank.mappings.float32 import as_float32
from saferank.ranker import Policy, SafeSearch, load_policy
from saferank.ranker.level.verdicts import Action

INDEX = "bench-what-if"
DOCUMENTS = 100_000
POLICIES = 20
PARTS = [as_float32(number / 20) for number in range(21)]


def main() -> None:
    with _client() as client:
        _fill(client)
        draw = random.Random(5)
        old = _policy(draw)
        news = [_policy(draw) for _ in range(POLICIES)]
        histogram = {"histogram": {"field": "safety.probability", "interval": 0.05}}
        times: dict[str, list[float]] = {"what-if": [], "histogram": [], "three fields": []}
        levels = 0
        for new in news:
            _clear(client)
            found = _timed(times["what-if"], lambda new=new: what_if(client, INDEX, new, old))
            for name, aggregation in (
                ("histogram", histogram),
                ("three fields", _by("status", _by("override", histogram))),
            ):
                _clear(client)
                _timed(times[name], lambda one=aggregation: _search(client, {"found": one}))
            levels += _check(client, new, found)
    median = {name: float(np.median(values)) for name, values in times.items()}
    table = Table("what", "median, ms", "what-if as a ratio to it")
    for name, value in median.items():
        table.add_row(name, f"{value * 1000:.1f}", f"{median['what-if'] / value:.2f}")
    console = Console()
    console.print(table)
    console.print(f"{levels} levels of {POLICIES} policies: all counts equal the searches'")


def _by(field: str, inside: dict[str, Any]) -> dict[str, Any]:
    terms = {"field": f"safety.{field}", "missing": ""}
    return {"terms": terms, "aggs": {"inside": inside}}


def _clear(client: Elasticsearch) -> None:
    client.indices.clear_cache(index=INDEX, request=True, query=False, fielddata=False)


def _search(client: Elasticsearch, aggregations: dict[str, Any]) -> None:
    client.search(index=INDEX, size=0, track_total_hits=True, aggs=aggregations)


def _timed(times: list[float], call: Callable[[], Any]) -> Any:
    start = time.perf_counter()
    found = call()
    times.append(time.perf_counter() - start)
    return found


def _check(client: Elasticsearch, policy: Policy, found: Any) -> int:
    for outcome in found.outcomes:
        safe = SafeSearch(client, policy).at_level(outcome.level)
        shown = sum(outcome.now.values()) - outcome.now[Action.HIDDEN]
        assert safe.count(index=INDEX)["count"] == shown, outcome
    return len(found.outcomes)


def _fill(client: Elasticsearch) -> None:
    client.indices.delete(index=INDEX, ignore_unavailable=True)
    client.indices.create(index=INDEX, settings={"number_of_shards": 1, "number_of_replicas": 0})
    template.add_to_index(client, INDEX)
    draw = random.Random(1)

    def documents() -> Iterator[dict[str, Any]]:
        for number in range(DOCUMENTS):
            safety: dict[str, Any] = {"status": draw.choices(_STATUSES, _SHARES)[0]}
            if safety["status"] == "scored":
                at_a_part = draw.random() < 0.5
                safety["probability"] = (
                    draw.choice(PARTS) if at_a_part else as_float32(draw.betavariate(0.5, 3))
                )
            if draw.random() < 0.02:
                safety["override"] = draw.choice(["allow", "block"])
            yield {"_index": INDEX, "_id": str(number), "_source": {"safety": safety}}

    helpers.bulk(client, documents(), refresh=True)


_STATUSES = ("scored", "failed", "no_image", None)
_SHARES = (0.9, 0.04, 0.03, 0.03)


def _policy(draw: random.Random) -> Policy:
    low, middle, high = sorted(draw.sample(PARTS, 3))
    unscored = draw.choice(["show", "demote", "hide"])
    return load_policy(f"""
version: 1
levels:
  off: {{}}
  moderate: {{demote_from: {low}, hide_from: {high}, unscored: {unscored}}}
  strict: {{demote_from: {low}, hide_from: {middle}, unscored: hide}}
contexts:
  - {{when: {{audience: child}}, level: strict}}
  - {{when: {{audience: adult}}, level: off}}
  - {{level: moderate}}
""")


@contextmanager
def _client() -> Iterator[Elasticsearch]:
    if sys.argv[1:]:
        with Elasticsearch(sys.argv[1], request_timeout=60) as client:
            yield client
        return
    with temporary_stack() as stack, Elasticsearch(stack.elasticsearch.url) as client:
        yield client


if __name__ == "__main__":
    main()
