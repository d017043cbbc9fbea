"""One picture among 500 makes the decoder end its process.

    python tests/faults/poison.py [--broker valkey|rabbitmq]

499 must be scored, the one must fail as worker_lost, after two ended processes at most.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from elasticsearch import Elasticsearch, helpers
from harness import Node, Producer, Workers, data_uri, environment, make_broker, png, started

from saferank.indexer.jobs.records import Jobs
from saferank.mappings import add_to_index
from saferank.settings import Settings

INDEX, DOCUMENTS, POISON = "pictures", 500, 321


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--broker", choices=["valkey", "rabbitmq"], default="valkey")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="saferank-poison-") as scratch:
        folder = Path(scratch)
        folder.chmod(0o755)
        node, broker = Node(folder / "node"), make_broker(arguments.broker, folder / "broker")
        with started(node, broker):
            client = Elasticsearch(node.url, request_timeout=60)
            client.indices.create(index=INDEX, mappings={"dynamic": False})
            add_to_index(client, INDEX)
            pictures = [png(n % 256, (8 + n // 256, 8)) for n in range(DOCUMENTS)]
            helpers.bulk(
                client,
                (
                    {"_index": INDEX, "_id": str(n), "image": data_uri(data)}
                    for n, data in enumerate(pictures)
                ),
                refresh=True,
            )
            noted = folder / "inferences"
            env = environment(
                Settings(elasticsearch_url=node.url, broker_url=broker.url),
                TEST_INFERENCES=str(noted),
                TEST_POISON=hashlib.sha256(pictures[POISON]).hexdigest(),
            )
            began = time.monotonic()
            workers = Workers(2, env, folder / "worker.log")
            try:
                Producer(env, folder / "producer.log", INDEX).run(
                    lambda: any(job.state.finished for job in Jobs(client, "saferank-jobs").all()),
                    300,
                )
            finally:
                workers.stop()
            wall = time.monotonic() - began
            client.indices.refresh(index=INDEX)
            found = [hit["_source"]["safety"] for hit in helpers.scan(client, index=INDEX)]
            outcomes = Counter(safety["error"] or safety["status"] for safety in found)
            kills = len(Path(f"{noted}.kills").read_text().split())
            inferences = len(noted.read_text().split())
    print(f"documents {DOCUMENTS}, outcomes {dict(outcomes)}, ended processes {kills}")
    print(f"inferences {inferences}, wall {wall:.0f} s, broker {arguments.broker}")
    right = outcomes == {"scored": DOCUMENTS - 1, "worker_lost": 1} and kills <= 2
    sys.exit(0 if right else 1)


if __name__ == "__main__":
    main()
