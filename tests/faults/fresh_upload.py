"""How soon an upload has its score while a backfill keeps the workers busy.

    python tests/faults/fresh_upload.py [--documents 2000] [--uploads 20]

The real model, one worker for uploads and one for backfills, one process each, as in
``deploy/compose.yaml``. An upload's picture comes from a server that takes its time; what counts
is the time from queueing the upload to its score in a search, less that of the fetch.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import threading
import time
import uuid
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import harness
from brightness import data_uri, png
from elasticsearch import Elasticsearch, helpers
from rich.console import Console
from rich.table import Table
from workers import running_worker, wait_until

from saferank.indexer.jobs.backfill import Backfill
from saferank.indexer.jobs.ledger import Ledger
from saferank.indexer.jobs.records import Job, Jobs, JobState, Pace
from saferank.indexer.jobs.selection import Selection
from saferank.indexer.keys import DocumentKey
from saferank.indexer.queue import queue_documents
from saferank.indexer.worker.app import create_app
from saferank.indexer.worker.resources import model_identity
from saferank.local.stack import temporary_stack
from saferank.mappings import add_to_index
from saferank.settings import FetchSettings, IndexerSettings, Settings

FETCH_SECONDS = 0.3
fetch_seconds: dict[str, float] = {}


class Pictures(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        began = time.monotonic()
        time.sleep(FETCH_SECONDS)
        number = int(self.path.strip("/"))
        data = png(number % 256, (300 + number, 200))
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
        fetch_seconds[self.path] = time.monotonic() - began

    def log_message(self, *_: object) -> None:
        pass


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=2000)
    parser.add_argument("--uploads", type=int, default=20)
    parser.add_argument("--elasticsearch", help="a running node instead of a private one")
    parser.add_argument("--broker", help="a running broker instead of a private one")
    options = parser.parse_args()
    unique = uuid.uuid4().hex[:8]
    index = f"fault-{unique}"
    with ExitStack() as stack:
        if options.elasticsearch is None:
            services = stack.enter_context(temporary_stack())
            urls = services.elasticsearch.url, services.broker.url
        else:
            urls = options.elasticsearch, options.broker
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        settings = Settings(
            elasticsearch_url=urls[0],
            broker_url=urls[1],
            fetch=FetchSettings(allow_private_addresses=True),
            indexer=IndexerSettings(
                fresh_queue=f"fresh-{unique}",
                backfill_queue=f"backfill-{unique}",
                jobs_index=f"fault-jobs-{unique}",
            ),
        )
        environment = harness.environment(settings, SAFERANK_FETCH__ALLOW_PRIVATE_ADDRESSES="true")
        client = stack.enter_context(Elasticsearch(urls[0], request_timeout=60))
        stack.callback(
            client.indices.delete,
            index=[index, settings.indexer.jobs_index],
            ignore_unavailable=True,
        )
        server = ThreadingHTTPServer(("127.0.0.1", 0), Pictures)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        stack.callback(server.shutdown)
        client.indices.create(
            index=index,
            settings={"number_of_shards": 1, "number_of_replicas": 0},
            mappings={
                "properties": {"image": {"type": "keyword", "index": False, "doc_values": False}}
            },
        )
        add_to_index(client, index)
        helpers.bulk(
            client,
            (
                {"_index": index, "_id": f"d{n}", "image": data_uri(png(n % 256, (300 + n, 200)))}
                for n in range(options.documents)
            ),
            refresh=True,
        )
        app = create_app(settings)
        jobs = Jobs(client, settings.indexer.jobs_index)
        job = jobs.acquire(
            Job(
                index=index,
                field=settings.field,
                model=model_identity(settings.model),
                selection=Selection(),
                pace=Pace(settings.indexer.chunk_size, settings.indexer.in_flight),
            )
        )
        for name in ("fresh", "backfill"):
            log = folder / f"{name}.log"
            stack.enter_context(running_worker(environment, log, "--queues", name))
            wait_until(lambda log=log: "ready" in log.read_text(), f"the {name} worker")
        producer = threading.Thread(
            target=Backfill(client, app, settings, jobs, job).run, name="backfill"
        )
        producer.start()
        ledger = Ledger(client, settings.indexer.jobs_index)
        since = job.started_at.isoformat()
        wait_until(lambda: ledger.tally(job.id, since).finished > 0, "the backfill's first chunk")

        beyond, totals = [], []
        for number in range(options.uploads):
            id, path = f"upload{number}", f"/{number}"
            reference = f"http://127.0.0.1:{server.server_port}{path}"
            client.index(index=index, id=id, document={"image": reference})
            began = time.monotonic()
            queue_documents(index, [DocumentKey(id)], app=app, settings=settings)
            query = {
                "bool": {
                    "filter": [{"ids": {"values": [id]}}, {"term": {"safety.status": "scored"}}]
                }
            }
            while True:
                client.indices.refresh(index=index)
                if client.count(index=index, query=query)["count"]:
                    break
                assert time.monotonic() - began < 60, f"{id} is not scored"
                time.sleep(0.02)
            totals.append(time.monotonic() - began)
            beyond.append(totals[-1] - fetch_seconds[path])
        tally = ledger.tally(job.id, since)
        busy = jobs.get(job.id).state is JobState.RUNNING and tally.in_flight > 1
        jobs.ask(job.id, JobState.CANCELLED)
        producer.join()
    table = Table(title=f"{options.uploads} uploads during a backfill of {options.documents}")
    for column in ("seconds", "median", "highest"):
        table.add_column(column, justify="right")
    table.add_row("queued to visible", f"{statistics.median(totals):.2f}", f"{max(totals):.2f}")
    table.add_row("less the fetch", f"{statistics.median(beyond):.2f}", f"{max(beyond):.2f}")
    console = Console()
    console.print(table)
    console.print(f"chunks of the backfill in flight at the end: {tally.in_flight}")
    assert busy, "the backfill ended before the uploads did: give it more documents"
    if max(beyond) > 1:
        raise SystemExit("an upload took longer than its fetch and a second")


if __name__ == "__main__":
    main()
