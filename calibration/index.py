"""What calibration asks of an index: how many documents reach which thresholds, and samples."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from elasticsearch import Elasticsearch

from saferank.calibration.labels import NEAR_THRESHOLD, Table
from saferank.errors import ConfigurationError, ServiceUnavailable
from saferank.mappings.decisions import DecidedDocument
from saferank.mappings.float32 import as_float32
from saferank.mappings.override_index import read_overrides
from saferank.mappings.overrides import Overrides
from saferank.mappings.paths import values_at
from saferank.ranker.bodies import Json, Query
from saferank.ranker.level.states import StateQueries, any_of
from saferank.ranker.level.thresholds import Interval

MOST = 10_000
"""Most documents in one sample."""
STRATA = tuple(as_float32(bound) for bound in (0.0, 0.05, 0.2, 0.5, 0.8))
"""Where the strata of a stratified sample begin."""


def shares(size: int, counts: Sequence[int]) -> list[int]:
    """How many of a sample to draw from each stratum: alike, and what one lacks from the others.

    >>> shares(600, [4300, 500, 60, 5, 0])
    [268, 267, 60, 5, 0]

    Args:
        size: documents in the sample.
        counts: documents in each stratum.
    """
    taken = [0] * len(counts)
    left = size
    smallest_first = sorted(range(len(counts)), key=counts.__getitem__)
    for place, number in enumerate(smallest_first):
        taken[number] = min(counts[number], left // (len(counts) - place))
        left -= taken[number]
    return taken


@dataclass(frozen=True)
class Drawn:
    """A document to label.

    Attributes:
        index, id: name it.
        image: its image reference, the first if there are several; empty without one.
        probability: a float32 value.
        drawn: how: random, stratified, near_threshold.
        weight: how many documents of the index it stands for; None for none but itself.
    """

    index: str
    id: str
    image: str
    probability: float
    drawn: str
    weight: float | None


class Population:
    """The documents of an index that thresholds decide about: scored, and not decided by people.

    Args:
        client: a plain client.
        index: index, alias or pattern with the safety fields.
        queries: for the states of its documents.
        image_field: source field with the image reference.
    """

    def __init__(
        self, client: Elasticsearch, index: str, queries: StateQueries, image_field: str = "image"
    ) -> None:
        self._client = client
        self._index = index
        self._queries = queries
        self._image_field = image_field

    @classmethod
    def of(
        cls,
        client: Elasticsearch,
        index: str,
        queries: StateQueries,
        image_field: str,
        overrides_index: str | None,
    ) -> Population:
        """The same with the overrides that are kept outside of the documents."""
        known = None if overrides_index is None else read_overrides(client, overrides_index)
        queries = StateQueries(queries.fields, queries.model, known)
        return cls(client, index, queries, image_field)

    def reached(self, bounds: Sequence[float]) -> tuple[int, list[int]]:
        """How many documents there are, and how many reach each bound; by one search."""
        queries = [self._from(bound) for bound in bounds]
        response = self._search(
            {"query": self._all(), "aggs": {"reached": {"filters": {"filters": queries}}}}, size=0
        )
        buckets = response["aggregations"]["reached"]["buckets"]
        return response["hits"]["total"]["value"], [one["doc_count"] for one in buckets]

    def random(self, size: int, seed: int) -> list[Drawn]:
        """Documents drawn at random; the same ones as long as nothing is written to the index."""
        query = self._all()
        return self._at_random(query, self._count(query), size, seed, "random")

    def stratified(self, size: int, seed: int) -> list[Drawn]:
        """As many from each of ``STRATA`` as it has; so the rare ones are well known, too."""
        ends: list[float | None] = [*STRATA[1:], None]
        strata = [self._between(start, end) for start, end in zip(STRATA, ends, strict=True)]
        counts = [self._count(stratum) for stratum in strata]
        return [
            one
            for stratum, count, own in zip(strata, counts, shares(size, counts), strict=True)
            for one in self._at_random(stratum, count, own, seed, "stratified")
        ]

    def near(self, thresholds: Sequence[float], size: int, seed: int) -> list[Drawn]:
        """The documents that lie nearest to each threshold, half of them on either side."""
        found: dict[tuple[str, str], Drawn] = {}
        for number, threshold in enumerate(thresholds):
            share = size // len(thresholds) + (number < size % len(thresholds))
            for below, part in ((False, share - share // 2), (True, share // 2)):
                for one in self.beside(threshold, part, seed, below=below):
                    found.setdefault((one.index, one.id), one)
        return list(found.values())

    def beside(self, threshold: float, size: int, seed: int, *, below: bool) -> list[Drawn]:
        """The documents nearest to a threshold, on one side of it."""
        query = self._between(0.0, threshold) if below else self._between(threshold, None)
        order = {"order": "desc" if below else "asc", "mode": "max"}
        # What lies outside 0..1 counts as 1, and is near to nothing.
        query = {"bool": {"filter": [query], "must_not": [self._queries.beyond]}}
        body = {
            "query": self._shuffled(query, seed),
            "sort": [{self._queries.fields.probability: order}, {"_score": "desc"}],
        }
        return list(self._documents(body, size, NEAR_THRESHOLD, None))

    def _at_random(self, query: Query, count: int, size: int, seed: int, how: str) -> list[Drawn]:
        if not size:
            return []
        weight = count / min(size, count) if count else None
        return list(self._documents({"query": self._shuffled(query, seed)}, size, how, weight))

    def _count(self, query: Query) -> int:
        count: int = self._search({"query": query}, size=0)["hits"]["total"]["value"]
        return count

    def _documents(self, body: Json, size: int, how: str, weight: float | None) -> Iterator[Drawn]:
        if not size:
            return
        field = self._queries.fields.probability
        body = {**body, "docvalue_fields": [field], "_source": [self._image_field]}
        for hit in self._search(body, size=size)["hits"]["hits"]:
            images = list(values_at(hit.get("_source") or {}, self._image_field))
            values = hit["fields"][field]
            probability = max(values) if min(values) >= 0 and max(values) <= 1 else 1.0
            image = str(images[0]) if images else ""
            yield Drawn(hit["_index"], hit["_id"], image, probability, how, weight)

    def _shuffled(self, query: Query, seed: int) -> Query:
        # By the number of a document's last write, which every copy of a shard has alike.
        order = {"seed": seed, "field": "_seq_no"}
        return {"function_score": {"query": query, "random_score": order, "boost_mode": "replace"}}

    def _all(self) -> Query:
        undecided = self._queries.undecided(self._queries.scored)
        return {"bool": {"filter": [undecided], "must_not": list(self._decided())}}

    def _between(self, start: float, end: float | None) -> Query:
        """Those that reach a bound, but not the next one."""
        beyond = [] if end is None else [self._from(end)]
        return {"bool": {"filter": [self._all(), self._from(start)], "must_not": beyond}}

    def _decided(self) -> Iterator[Query]:
        """Documents about which people decided outside of them."""
        known = self._queries.overrides or Overrides()
        for name, documents in known.of.items():
            ids = {"terms": {"_id": sorted(documents)}}
            yield {"bool": {"filter": [{"term": {"_index": name}}, ids]}}

    def _from(self, bound: float) -> Query:
        return any_of(self._queries.in_range(Interval(bound)))

    def _search(self, body: Json, *, size: int) -> Json:
        if size > MOST:
            raise ConfigurationError(f"a sample has at most {MOST:,} documents, not {size:,}")
        response: Any = self._client.search(
            index=self._index, **body, size=size, track_total_hits=True
        )
        check_whole(self._index, response.body)
        return dict(response.body)


def check_whole(index: str, answer: Json) -> None:
    """See that all of an index answered, since shares of a part say nothing.

    Raises:
        ServiceUnavailable: a part did not.
    """
    if answer["timed_out"] or answer["_shards"]["failed"]:
        raise ServiceUnavailable(
            f"only a part of index {index!r} answered; see its shards, and try again"
        )


def table_of(index: str, documents: Iterable[DecidedDocument]) -> Table:
    """Documents that people decided about, with their probabilities, as labels.

    Those without a probability are left out.
    """
    rows = [
        (one.index, one.id, str(probability), one.override.value)
        for one in documents
        if (probability := _probability(one)) is not None
    ]
    if not rows:
        raise ConfigurationError(
            f"nobody has decided about scored documents of {index!r}; see 'saferank override'"
        )
    names = ("index", "id", "probability", "label")
    return Table(index, dict(zip(names, zip(*rows, strict=True), strict=True)))


def of_sample(sample: Table, documents: Iterable[DecidedDocument]) -> Table:
    """A sample with the labels that people have given to its documents since.

    Args:
        sample: as ``saferank sample`` writes it; its probabilities hold.
        documents: that people decided about.

    Raises:
        ConfigurationError: it has no columns index and id.
    """
    for column in ("index", "id"):
        if column not in sample.columns:
            raise ConfigurationError(
                f"{sample.path}: the column {column!r} is missing; give a file of 'saferank sample'"
            )
    said = {(one.index, one.id): one.override.value for one in documents}
    keys = zip(sample.columns["index"], sample.columns["id"], strict=True)
    return Table(sample.path, {**sample.columns, "label": [said.get(key, "") for key in keys]})


def _probability(document: DecidedDocument) -> float | None:
    value = document.record.values.get("probability")
    return float(value) if isinstance(value, (int, float)) else None
