"""Every shape of index that people have, through everything that saferank does to an index.

    python tests/faults/shapes.py [--url http://…] [--version 8.19.21] [--shape NAME ...]

Three documents of each shape go through install, check, index (in this process), upload (by a
worker), backfill, reindex and rollback, and are searched at three levels. Before and after each
step every document is compared: its source, vectors too, and what a search for its text and its
vector finds. A cell says ``ok``, or ``refused`` with the sentence below the table, or FAULT.

The server's major version is that of the installed client.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from elasticsearch import Elasticsearch
from harness import Node, Valkey, data_uri, environment, png, started
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parent.parent / "support"))

from brightness import Brightness, brightness_pipeline
from workers import running_worker, wait_until

from saferank.errors import SaferankError
from saferank.indexer.bulk.changes import whole_source
from saferank.indexer.jobs.backfill import Backfill
from saferank.indexer.jobs.records import Job, Jobs, JobState, Pace
from saferank.indexer.jobs.selection import Only, Selection
from saferank.indexer.keys import DocumentKey
from saferank.indexer.queue import queue_documents
from saferank.indexer.reindex.merge import without_scores
from saferank.indexer.reindex.start import start_reindex, start_rollback
from saferank.indexer.reindex.steps import Reindex
from saferank.indexer.score.report import Outcome
from saferank.indexer.score.scoring import score_documents
from saferank.indexer.storage.store import DocumentStore
from saferank.indexer.worker.app import create_app
from saferank.indexer.worker.resources import model_identity
from saferank.local.elasticsearch import VERSION
from saferank.mappings import SafetyFields, add_to_index, check_index
from saferank.ranker.client.client import SafeSearch
from saferank.ranker.policy.load import load_policy
from saferank.settings import IndexerSettings, Settings

Json = dict[str, Any]

MODEL = model_identity("open_nsfw")
_AT_ONCE = 6
STEPS = ("install", "check", "index", "upload", "backfill", "reindex", "rollback", "search")
# Ids and their pictures' brightness: below both thresholds, between them, above both.
PICTURES = {"dark": 25, "middle": 100, "bright": 230}
SHOWN = {"off": {*PICTURES}, "moderate": {"dark", "middle"}, "strict": {"dark"}}
POLICY = """\
version: 1
field: {field}
levels:
  off: {{}}
  moderate: {{hide_from: 0.5, unscored: hide}}
  strict: {{hide_from: 0.2, unscored: hide}}
contexts: [{{level: moderate}}]
"""
TEXT, KEYWORD = {"type": "text"}, {"type": "keyword"}
UNUSED = {"type": "keyword", "index": False, "doc_values": False}
VECTOR = {"type": "dense_vector", "dims": 3}
ALONG = "text of its own"


def image_at(path: str, picture: str) -> Json:
    """A document with one picture at a path."""
    value: Any = picture
    for name in reversed(path.split(".")):
        value = {name: value}
    document: Json = value
    return document


@dataclass(frozen=True)
class Shape:
    """One kind of index, with its documents.

    Attributes:
        name: in the table.
        mappings, settings: of the index.
        extra: further fields of each document.
        document: picture -> document, when the picture is not simply at ``image``.
        image, root: as the settings name them.
        routing: of each document.
        alias: options of the alias.
        refused: the first step that is to refuse it, by engine's major version or for all.
        left_alone: documents that cannot be scored stay as they are.
    """

    name: str
    mappings: Json = field(default_factory=dict)
    settings: Json = field(default_factory=dict)
    extra: Json = field(default_factory=dict)
    document: Callable[[str], Json] | None = None
    image: str = "image"
    root: str = "safety"
    routing: str | None = None
    alias: Json = field(default_factory=dict)
    refused: str | dict[int, str] | None = None
    left_alone: bool = False

    def source(self, id: str) -> Json:
        """The document of this id."""
        picture = data_uri(png(PICTURES[id]))
        made = (self.document or (lambda one: image_at(self.image, one)))(picture)
        return {"body": f"needle {id}", **self.extra, **made}

    def refusing(self, major: int) -> str | None:
        """The step that is to refuse it."""
        return self.refused.get(major) if isinstance(self.refused, dict) else self.refused


def properties(**fields: Json) -> Json:
    return {"properties": fields}


def kept(**source: Any) -> Json:
    return {"_source": source, "dynamic": "strict"}


BODY = properties(body=TEXT, image=UNUSED)
MANY = {
    "day": "2024-02-29", "nano": "2024-02-29T12:00:00.123456789Z", "ip": "2001:db8::1",
    "point": {"lat": 1.5, "lon": -2.25}, "blob": "c29tZSBieXRlcw==", "flat": {"a": {"b": "c"}},
    "range": {"gte": 1, "lt": 5}, "truth": True, "suggest": {"input": ["sea"], "weight": 3},
}  # fmt: skip
MANY_TYPES = {
    "day": "date", "nano": "date_nanos", "ip": "ip", "point": "geo_point", "blob": "binary",
    "flat": "flattened", "range": "integer_range", "truth": "boolean", "suggest": "completion",
}  # fmt: skip
ODD = {
    "big": 9007199254740993, "small": 5e-324, "huge": 1e300, "tenth": 0.1, "one": 1.0,
    "minus": -0.0, "null": None, "blank": "", "none": [], "nested": [[1, [2]], [3]],
    "mixed": [None, 1], "ünï": "çödé 𝄞", "dotted.key": "d", "line": "a\nb\u2028c",
}  # fmt: skip

SHAPES = [
    Shape("plain"),
    Shape("mapped", BODY),
    Shape("dynamic strict", {"dynamic": "strict", **BODY}),
    Shape("dynamic false", {"dynamic": False, **properties(body=TEXT)}),
    Shape("dynamic runtime", {"dynamic": "runtime", **properties(body=TEXT)}),
    Shape("two shards", BODY, {"number_of_shards": 2}),
    Shape("unassigned replica", BODY, {"number_of_replicas": 2}),
    Shape("best compression", BODY, {"codec": "best_compression"}),
    Shape("sorted", properties(body=TEXT, sku=KEYWORD), {"sort.field": "sku"}, {"sku": "s"}),
    Shape("hidden", BODY, {"hidden": True}),
    Shape("routing", BODY, {"number_of_shards": 3}, routing="r"),
    Shape("routing required", {"_routing": {"required": True}, **BODY}, routing="r"),
    Shape("filtered alias", BODY, alias={"filter": {"exists": {"field": "_seq_no"}}}),
    Shape("write alias", BODY, alias={"is_write_index": True}),
    Shape("odd values", {}, {}, {**ODD, "huge": 1e30}),
    Shape("odd values, not mapped", {"dynamic": False, **properties(body=TEXT)}, {}, ODD),
    Shape("all types", properties(body=TEXT, **{n: {"type": t} for n, t in MANY_TYPES.items()}),
          {}, MANY),
    Shape("ignore malformed", properties(
        body=TEXT, n={"type": "integer", "ignore_malformed": True}), {}, {"n": "no number"}),
    Shape("copy_to and fields", properties(
        body={**TEXT, "copy_to": "all", "fields": {"raw": KEYWORD}}, all=TEXT)),
    Shape("stored and vectors of terms", properties(
        body={**TEXT, "store": True, "term_vector": "with_positions_offsets"})),
    Shape("dynamic templates", {"dynamic_templates": [
        {"all": {"match": "s_*", "mapping": {"type": "keyword"}}}]}, {}, {"s_one": "1"}),
    Shape("disabled object", properties(body=TEXT, raw={"enabled": False}), {},
          {"raw": {"any": [1, {"thing": None}]}}),
    Shape("vector", properties(body=TEXT, vector=VECTOR), {}, {"vector": [1, 2, 3]}),
    Shape("vector, not indexed", properties(body=TEXT, other={**VECTOR, "index": False}), {},
          {"other": [0.5, 0.25, 0.125]}),
    Shape("vector of bytes", properties(
        body=TEXT, vector={**VECTOR, "element_type": "byte"}), {}, {"vector": [1, 2, 3]}),
    Shape("weighted words", properties(body=TEXT, w={"type": "sparse_vector"}), {},
          {"w": {"a": 0.5}}),
    Shape("synthetic source", {"dynamic": "strict", **properties(body=TEXT, image=KEYWORD,
          vector=VECTOR)}, {"mapping.source.mode": "synthetic"}, {"vector": [1, 2, 3]}),
    Shape("synthetic, arrays", properties(body=TEXT, image=KEYWORD, tags=KEYWORD),
          {"mapping.source.mode": "synthetic"}, {"tags": ["b", "a", "b"]}),
    Shape("logs", properties(body=TEXT, image=KEYWORD), {"mode": "logsdb"},
          {"@timestamp": "2024-01-01T00:00:00.000Z"}),
    Shape("excludes text", {**kept(excludes=["body"]), **BODY}, refused="install"),
    Shape("excludes what is to come", {"_source": {"excludes": ["later"]}}, refused="install"),
    Shape("excludes unused", {**kept(excludes=["raw"]), **properties(
        body=TEXT, image=UNUSED, raw=UNUSED)}, {}, {"raw": "r"}, refused="reindex"),
    Shape("excludes a vector", {**kept(excludes=["vector"]), **properties(
        body=TEXT, image=UNUSED, vector=VECTOR)}, {}, {"vector": [1, 2, 3]},
          refused={8: "install", 9: "reindex"}),
    Shape("includes", {**kept(includes=["image"]), **BODY}, refused="install"),
    Shape("excludes the image", {**kept(excludes=["image"]), **BODY}, refused="install"),
    Shape("excludes the score", {"_source": {"excludes": ["safety"]}, **BODY}, refused="install"),
    Shape("no source", {"_source": {"enabled": False}, **BODY}, refused="install"),
    Shape("time series", properties(
        body=TEXT, shop={**KEYWORD, "time_series_dimension": True},
        **{"@timestamp": {"type": "date"}}), {"mode": "time_series", "routing_path": "shop"},
        refused="install"),
    Shape("without objects", {"subobjects": False}, refused="install"),
    Shape("few fields allowed", BODY, {"mapping.total_fields.limit": 3}, refused="install"),
    Shape("object of its own", properties(safety=properties(level=KEYWORD)), {},
          {"safety": {"level": "low", "note": "n"}}),
    Shape("object with our names", properties(safety=properties(status=KEYWORD)), {},
          {"safety": {"status": "new"}}, refused="install"),
    Shape("keyword of our name", properties(safety=KEYWORD), {}, {"safety": "s"},
          refused="install"),
    Shape("nested of our name", properties(safety={"type": "nested"}), refused="install"),
    Shape("array of our name", properties(safety=properties(note=KEYWORD)), {},
          {"safety": [{"note": "a"}, {"note": "b"}]}, left_alone=True),
    Shape("another name", BODY, root="saferank"),
    Shape("inside an object", {}, {}, {"meta": {"a": 1}}, root="meta.safety"),
    Shape("inside dotted keys", {}, {}, {"meta.a": 1}, root="meta.safety"),
    Shape("inside an array", properties(media=properties(credit=KEYWORD)), image="media.url",
          root="media.safety", left_alone=True,
          document=lambda one: {"media": [{"url": one, "credit": "A"}, {"credit": "B"}]}),
    Shape("images in an array", image="media.url",
          document=lambda one: {"media": [{"url": one, "credit": "A"}, {"credit": "B"}]}),
    Shape("nested images", properties(body=TEXT, media={"type": "nested"}), image="media.url",
          document=lambda one: {"media": [{"url": one, "credit": "A"}, {"credit": "B"}]}),
    Shape("dotted image", image="media.url", document=lambda one: {"media.url": one}),
    Shape("200 images", {"dynamic": False, **properties(body=TEXT)},
          document=lambda one: {"image": [one] * 200}),
    Shape("large documents", {"dynamic": False, **properties(body=TEXT)}, {},
          {"note": "x" * 2_000_000}),
]  # fmt: skip


class Run:
    """One shape, through all steps."""

    def __init__(self, client: Elasticsearch, settings: Settings, shape: Shape, place: int) -> None:
        self.client, self.shape = client, shape
        name = f"shape-{place}"
        self.old, self.new, self.alias = f"{name}-1", f"{name}-2", f"{name}-alias"
        self.settings = settings
        self.fields = SafetyFields(shape.root)
        self.app = create_app(settings)
        self.keys = [DocumentKey(id, shape.routing) for id in PICTURES]
        self.jobs = Jobs(client, settings.indexer.jobs_index)
        self.source: Any = True
        self.first: Any = None

    def make(self) -> None:
        """The index as the application has it."""
        self.client.indices.delete(index=[self.old, self.new], ignore_unavailable=True)
        settings = {"number_of_replicas": 0, **self.shape.settings}
        self.client.indices.create(
            index=self.old,
            mappings=self.shape.mappings,
            settings={"index": settings},
            aliases={self.alias: self.shape.alias},
        )
        self.source = whole_source(self.client, self.old)
        if self.shape.settings.get("mode") == "time_series":
            return
        for key in self.keys:
            self.client.index(
                index=self.old, id=key.id, routing=key.routing, document=self.shape.source(key.id)
            )
        self.first = self.seen()

    def seen(self) -> Any:
        """What the application sees: its documents, and what its searches find."""
        self.client.indices.refresh(index=self.alias)

        def search(**body: Any) -> list[Json]:
            hits: list[Json] = self.client.search(index=self.alias, size=10, **body)["hits"]["hits"]
            return sorted(hits, key=lambda hit: str(hit["_id"]))

        roots = [self.fields.root]
        documents = {
            hit["_id"]: (hit.get("_routing"), pruned(without_scores(hit["_source"], roots)))
            for hit in search(source=self.source)
            if "_source" in hit
        }
        words = [hit["_id"] for hit in search(query={"match": {"body": "needle"}}, source=False)]
        near: list[str] = []
        if "vector" in self.shape.extra:
            knn = {"field": "vector", "query_vector": [1, 2, 3], "k": 10, "num_candidates": 10}
            near = [hit["_id"] for hit in search(knn=knn, source=False)]
        return documents, words, near

    def install(self) -> None:
        add_to_index(self.client, self.alias, self.fields, image_field=self.shape.image)

    def check(self) -> None:
        check_index(self.client, self.alias, self.fields, image_field=self.shape.image)

    def index(self) -> None:
        store = DocumentStore(self.client, self.fields, self.shape.image, patience=20)
        pipeline = brightness_pipeline(Brightness(MODEL))
        report = score_documents(pipeline, store, self.old, self.keys[:1])
        outcome = Outcome.REJECTED if self.shape.left_alone else Outcome.SCORED
        self._expect(report.counts[outcome], 1)

    def upload(self) -> None:
        queue_documents(self.alias, self.keys[1:2], app=self.app, settings=self.settings)
        if not self.shape.left_alone:
            wait_until(lambda: self._scored() >= 2, "the upload", 60)

    def backfill(self) -> None:
        job = self._job(index=self.alias, selection=Selection(Only.ALL))
        done = Backfill(
            self.client, self.app, self.settings, self.jobs, self.jobs.acquire(job)
        ).run()
        outcome = Outcome.REJECTED if self.shape.left_alone else Outcome.SCORED
        self._expect(done.counts.get(outcome, 0) >= len(self.keys), True)

    def reindex(self) -> None:
        job = self._job(index=self.alias, selection=Selection(), into=self.new)
        self._replace(start_reindex(self.client, self.jobs, job), self.new)

    def rollback(self) -> None:
        job = self._job(index=self.alias, selection=Selection(), into="")
        self._replace(start_rollback(self.client, self.jobs, job), self.old)

    def search(self) -> None:
        self.client.indices.refresh(index=self.alias)
        safe = SafeSearch(self.client, load_policy(POLICY.format(field=self.shape.root)))
        for level, shown in SHOWN.items():
            hits = safe.search(index=self.alias, context={"requested": level})["hits"]["hits"]
            unscored = self.shape.left_alone and level != "off"
            self._expect({hit["_id"] for hit in hits}, set() if unscored else shown)
            for id in PICTURES:
                there = bool(safe.exists(
                    index=self.alias, id=id, routing=self.shape.routing,
                    context={"requested": level},
                ))  # fmt: skip
                self._expect(there, not unscored and id in shown)

    def _replace(self, job: Job, leads_to: str) -> None:
        done = Reindex(self.client, self.app, self.settings, self.jobs, job).run()
        self._expect(done.state, JobState.DONE)
        self._expect(list(self.client.indices.get_alias(name=self.alias)), [leads_to])
        if not self.shape.left_alone:
            self._expect(self._scored(), len(self.keys))

    def _job(self, **values: Any) -> Job:
        pace = Pace(chunk_size=10, in_flight=4)
        return Job(field=self.shape.root, model=MODEL, pace=pace, **values)

    def _scored(self) -> int:
        self.client.indices.refresh(index=self.alias)
        query = {"term": {self.fields.status: "scored"}}
        return int(self.client.count(index=self.alias, query=query)["count"])

    def _expect(self, found: Any, wanted: Any) -> None:
        if found != wanted:
            raise AssertionError(f"found {found}, expected {wanted}")


def pruned(value: Any) -> Any:
    """Without objects that hold nothing: a score's own object leaves one behind."""
    if not isinstance(value, dict):
        return value
    inside = {name: pruned(item) for name, item in value.items()}
    return {name: item for name, item in inside.items() if item != {}}


def through(major: int, run: Run) -> tuple[dict[str, str], list[str]]:
    """All steps of one shape: what each cell says, and the sentences of the refusals."""
    cells: dict[str, str] = {}
    sentences: list[str] = []
    refusing = run.shape.refusing(major)
    refusing_steps = ("install", "check") if refusing == "install" else (refusing,)
    try:
        run.make()
    except Exception as error:
        return {"install": f"FAULT: not made: {error}"[:300]}, []
    for step in STEPS:
        try:
            getattr(run, step)()
            cell = "FAULT: not refused" if step in refusing_steps else "ok"
        except SaferankError as error:
            cell = "refused" if step in refusing_steps else f"FAULT: {error}"
            sentences.append(f"{run.shape.name}, {step}: {error}")
        except Exception as error:
            cell = f"FAULT: {type(error).__name__}: {error}"[:300]
        if run.first is not None and (now := run.seen()) != run.first:
            cell = f"FAULT: changed: {first_difference(run.first, now)}"[:600]
        cells[step] = cell
        if cell != "ok" and step == "check":
            break
        if cell == "refused" and step == "reindex":
            break  # there is nothing to go back to
    return cells, sentences


def first_difference(one: Any, other: Any) -> str:
    """Where two values differ, in short."""
    for name, before, after in zip(("documents", "words", "near"), one, other, strict=True):
        if before != after:
            return f"{name}: {str(before)[:200]} became {str(after)[:200]}"
    return ""


@contextmanager
def workers(settings: Settings, folder: Path) -> Iterator[Callable[[Shape], Settings]]:
    """A worker for each pair of fields, started when it is first needed, with queues of its own."""
    from contextlib import ExitStack

    made: dict[tuple[str, str], Settings] = {}
    with ExitStack() as stack:

        def of(shape: Shape) -> Settings:
            pair = (shape.root, shape.image)
            if pair not in made:
                place = len(made)
                names = {"fresh_queue": f"fresh-{place}", "backfill_queue": f"back-{place}"}
                made[pair] = settings.model_copy(
                    update={
                        "field": shape.root,
                        "image_field": shape.image,
                        "indexer": settings.indexer.model_copy(update=names),
                    }
                )
                env = environment(
                    made[pair],
                    SAFERANK_FIELD=shape.root,
                    SAFERANK_IMAGE_FIELD=shape.image,
                    **{f"SAFERANK_INDEXER__{name.upper()}": queue for name, queue in names.items()},
                )
                stack.enter_context(running_worker(env, folder / f"worker-{place}.log", fast=True))
            return made[pair]

        yield of


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url", help="a running node, instead of one of its own")
    parser.add_argument("--version", default=VERSION, help="of its own node")
    parser.add_argument("--shape", action="append", help="only these")
    arguments = parser.parse_args()
    logging.disable(logging.ERROR)
    chosen = [one for one in SHAPES if not arguments.shape or one.name in arguments.shape]
    with tempfile.TemporaryDirectory(prefix="saferank-shapes-") as scratch:
        folder = Path(scratch)
        folder.chmod(0o755)
        broker = Valkey(folder / "broker")
        node = Node(folder / "node", heap="1g", version=arguments.version)
        services = [broker] if arguments.url else [node, broker]
        with started(*services):
            settings = Settings(
                elasticsearch_url=arguments.url or node.url,
                broker_url=broker.url,
                indexer=IndexerSettings(chunk_size=10, jobs_index="shape-jobs", store_patience=20),
            )
            with (
                Elasticsearch(settings.elasticsearch_url, request_timeout=60) as client,
                workers(settings, folder) as of,
            ):
                failed = run_all(client, chosen, of)
    sys.exit(1 if failed else 0)


def is_fault(cell: str) -> bool:
    return cell.startswith("FAULT")


def in_short(shape: Shape, step: str, cell: str) -> str:
    """A cell as the table has it."""
    if is_fault(cell):
        return "FAULT"
    scores = step in ("index", "upload", "backfill")
    return "left alone" if shape.left_alone and scores and cell == "ok" else cell


def run_all(
    client: Elasticsearch, shapes: list[Shape], of: Callable[[Shape], Settings]
) -> list[str]:
    """Print the table; the faults."""
    client.indices.delete(index="shape-jobs", ignore_unavailable=True)  # of a run that was killed
    nodes = client.nodes.info(filter_path="nodes.*.version")["nodes"]
    version = next(iter(nodes.values()))["version"]
    table = Table("shape", *STEPS, title=f"Elasticsearch {version}")
    faults, sentences = [], []
    kinds = Counter[str]()
    major = int(version.split(".")[0])
    # Most of a shape's time is waiting: for a worker, for a job's next look.
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        runs = [Run(client, of(shape), shape, place) for place, shape in enumerate(shapes)]
        for run, (cells, refusals) in zip(
            runs, pool.map(partial(through, major), runs), strict=True
        ):
            shape = run.shape
            sentences += refusals
            found = {step: cell for step, cell in cells.items() if is_fault(cell)}
            faults += [f"{shape.name}, {step}: {cell}" for step, cell in found.items()]
            row = [in_short(shape, step, cells.get(step, "")) for step in STEPS]
            table.add_row(shape.name, *row)
            kinds.update(filter(None, row))
            print(f"{shape.name}: {cells}", file=sys.stderr, flush=True)
            client.indices.delete(index=[run.old, run.new], ignore_unavailable=True)
    console = Console(width=150)
    console.print(table)
    for sentence in (*sentences, *faults):
        console.print(sentence, markup=False, highlight=False, soft_wrap=True)
    counts = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
    console.print(f"{len(shapes)} shapes, {len(faults)} faults; cells: {counts}")
    client.indices.delete(index="shape-jobs", ignore_unavailable=True)
    return faults


if __name__ == "__main__":
    main()
