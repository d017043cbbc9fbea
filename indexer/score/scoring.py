"""Score documents by key: read, run the pipeline, write, and settle what changed meanwhile."""

from __future__ import annotations

import logging
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Protocol

from saferank.indexer.documents import Document, Scored, WriteResult, Written
from saferank.indexer.keys import DocumentKey
from saferank.indexer.operate import metrics
from saferank.indexer.score.interfaces import Guard, Known
from saferank.indexer.score.memory import Memory
from saferank.indexer.score.report import FailedImage, Outcome, Report, SideCount
from saferank.mappings.record import ImageRecord, Override, SafetyRecord, Status, StoredRecord

log = logging.getLogger(__name__)

# Each round needs another writer to change the same document while it is being scored.
_ROUNDS = 10

_LIST_CODE = "list_in_path"
_LIST = (
    f"{_LIST_CODE}: it has a list at {{path!r}}, and storing the score would replace the list; "
    "name another object with SAFERANK_FIELD"
)


class Scorer(Protocol):
    """What gives documents their scores: a pipeline, or scores that there are already."""

    @property
    def identity(self) -> str:
        """Of the model that makes or made them; of several categories, the first one's."""

    @property
    def other_identities(self) -> Mapping[str, str]:
        """Of the models of further categories, by their object field."""

    def stream(
        self,
        documents: Sequence[Document],
        *,
        known: Known = ...,
        guard: Guard | None = None,
        force: bool = False,
        until: float = math.inf,
        not_before: datetime | None = None,
    ) -> Iterator[dict[int, Scored]]:
        """See ``Pipeline.stream``."""


class Store(Protocol):
    """Where the documents are, see ``storage.store.DocumentStore``."""

    def read(
        self, index: str, keys: Sequence[DocumentKey]
    ) -> tuple[list[Document], list[DocumentKey]]:
        """Documents, and the keys of those that do not exist."""

    def unready(self, index: str, documents: Iterable[Document]) -> dict[str, str]:
        """The concrete indices of documents that cannot take scores, each with the reason."""

    def write(
        self, index: str, records: Sequence[Scored], *, restamp: bool = False
    ) -> list[WriteResult]:
        """What became of each record, in the order given."""


def score_documents(
    pipeline: Scorer,
    store: Store,
    index: str,
    keys: Sequence[DocumentKey],
    *,
    since: datetime | None = None,
    last_try: bool = True,
    longest_wait: float = math.inf,
    guard: Guard | None = None,
    force: bool = False,
    until: float = math.inf,
    memory: Memory | None = None,
) -> Report:
    """Score documents and store the result.

    A document that another writer changes meanwhile is read again. If its images and its score
    are as before, the result still holds and is stored; else it is scored again, so a late result
    never replaces a newer one.

    Args:
        pipeline: what scores.
        store: where the documents are.
        index: the documents' index, alias or data stream.
        keys: the documents.
        since: documents that this model scored at or after this time are passed over; others
            get a new ``scored_at`` even when nothing else is new. It is never before ``since``,
            whatever this machine's clock says, or they would be scored again.
        last_try: store a transient error too; else report the document as waiting.
        longest_wait: store it at once, too, when a host is left alone for more seconds than this.
        guard: see ``Pipeline.score``.
        force: send every image through the model, also those known by their bytes, and try those
            again that crashed workers.
        until: when to start on no further image, on the monotonic clock; what is not done then is
            the report's ``rest``.
        memory: what is known of images beside the documents, if that is kept.

    Raises:
        MappingError: there is no such index.
        IndexBlocked: an index refuses writes.
        ServiceUnavailable: Elasticsearch cannot be used.
    """
    report = Report()
    identities = (pipeline.identity, *pipeline.other_identities.values())
    before: dict[tuple[str, DocumentKey], Scored] = {}
    pending = list(dict.fromkeys(keys))
    for _ in range(_ROUNDS):
        documents, missing = store.read(index, pending)
        report.add_missing(missing)
        scorable = _scorable(store, index, documents, report)
        if since is not None:
            scorable = _without_done(scorable, pipeline, since, report)
        todo, still_valid = _divided(scorable, before)
        known = _known(before.values())
        if memory is not None and not force:
            for identity in identities:
                known[identity] += memory.recall(identity, _without_score(todo))
        pending = _write(store, index, still_valid, report, restamp=since is not None)
        late = dict(enumerate(todo))
        stream = pipeline.stream(
            todo, known=known, guard=guard, force=force, until=until, not_before=since
        )
        for group in stream:
            scored = _finished([*group.values()], report, -1.0 if last_try else longest_wait)
            if memory is not None:
                _remember(memory, scored)
            before |= {one.document.place: one for one in scored}
            pending += _write(store, index, scored, report, restamp=since is not None)
            late = {place: one for place, one in late.items() if place not in group}
        report.add_rest(document.key for document in late.values())
        if not pending:
            break
    else:
        report.add_waiting(pending)
    for outcome in Outcome:
        if outcome.is_settled:
            metrics.DOCUMENTS.labels(outcome.value).inc(report.counts[outcome])
    return report


def _reject(report: Report, key: DocumentKey, reason: str, **extra: str) -> None:
    report.add_rejected([key], reason)
    log.error("document %s is not stored: %s", key.id, reason, extra={"document": key.id, **extra})


def _scorable(
    store: Store, index: str, documents: Sequence[Document], report: Report
) -> Sequence[Document]:
    """Those that can take scores; the others are rejected, with one line for each index."""
    unready = store.unready(index, documents)
    for name, reason in unready.items():
        keys = [document.key for document in documents if document.index == name]
        report.add_rejected(keys, reason)
        log.error("%d documents are not scored: %s", len(keys), reason)
    scorable = []
    for document in documents:
        if document.index in unready:
            continue
        if document.list_at is None:
            scorable.append(document)
        else:
            _reject(report, document.key, _LIST.format(path=document.list_at), code=_LIST_CODE)
    return scorable


def _without_done(
    documents: Sequence[Document], pipeline: Scorer, since: datetime, report: Report
) -> Sequence[Document]:
    """Those that were not scored since then; the others are passed over."""
    rest = [document for document in documents if not _done(document, pipeline, since)]
    report.counts[Outcome.SKIPPED] += len(documents) - len(rest)
    return rest


def _divided(
    documents: Sequence[Document], before: Mapping[tuple[str, DocumentKey], Scored]
) -> tuple[list[Document], list[Scored]]:
    """Documents to score, and results of an earlier round that still hold for theirs."""
    todo, still_valid = [], []
    for document in documents:
        previous = before.get(document.place)
        if previous is not None and _alike(document, previous.document):
            still_valid.append(replace(previous, document=document))
        else:
            todo.append(document)
    return todo, still_valid


def _remember(memory: Memory, scored: Iterable[Scored]) -> None:
    """Keep what the model said, beside the documents."""
    for identity, images in _known(one for one in scored if one.inferred).items():
        memory.remember(identity, images)


def _known(scored: Iterable[Scored]) -> defaultdict[str, list[ImageRecord]]:
    """The images that have a probability, by the identity of the model that gave it."""
    known = defaultdict[str, list[ImageRecord]](list)
    for one in scored:
        for record in one.records:
            known[record.model] += [each for each in record.images if each.probability is not None]
    return known


def _without_score(documents: Sequence[Document]) -> list[str]:
    """The references of documents that say nothing of their images."""
    return [
        name
        for document in documents
        if not document.record.images
        for name in document.reference_names
    ]


def _finished(scored: list[Scored], report: Report, longest_wait: float) -> list[Scored]:
    """Those to store now; the others, with no longer to wait, are reported as waiting."""
    finished = []
    for one in scored:
        report.counts[SideCount.INFERRED] += one.inferred
        if one.transient and (one.retry_after or 0.0) <= longest_wait:
            report.add_waiting([one.document.key], one.retry_after)
        else:
            finished.append(one)
    return finished


def _write(
    store: Store,
    index: str,
    scored: Sequence[Scored],
    report: Report,
    *,
    restamp: bool,
) -> list[DocumentKey]:
    """Write, count what is settled, and give the keys of those to look at again."""
    again = []
    results = store.write(index, scored, restamp=restamp)
    for one, result in zip(scored, results, strict=True):
        document = one.document
        match result.written:
            case Written.CHANGED:
                again.append(document.key)
                report.counts[SideCount.CONFLICTS] += 1
            case Written.DELETED:
                report.add_missing([document.key])
            case Written.REJECTED:
                _reject(report, document.key, result.reason or "")
            case Written.STORED | Written.UNCHANGED:
                record = _hardest(one.records)
                outcome = Outcome(record.status.value)
                report.counts[outcome] += 1
                report.counts[SideCount.UNCHANGED] += result.written is Written.UNCHANGED
                if _allowed_before(document, one.record):
                    report.counts[SideCount.ALLOWED_BEFORE] += 1
                    log.warning(
                        "document %s was allowed by a person, and has other images now",
                        document.key.id,
                        extra={"document": document.key.id},
                    )
                if record.error is not None:
                    if outcome is Outcome.FAILED:
                        report.failures[record.error.value] += 1
                    metrics.FAILURES.labels(record.error.value).inc()
                    _note_failed_images(document, one.records, report)
    return again


def _hardest(records: Sequence[SafetyRecord]) -> SafetyRecord:
    """Of a document's categories, the one that its outcome is told by: one that failed, if any."""
    return min(records, key=lambda record: _HARDEST_FIRST.index(record.status))


_HARDEST_FIRST = (Status.FAILED, Status.NOT_READ, Status.SCORED, Status.NO_IMAGE)


def _allowed_before(document: Document, record: SafetyRecord) -> bool:
    """Whether a person allowed it when it had other images than it has now."""
    if document.override.get("override") != Override.ALLOW:
        return False
    before = {image.sha256 for image in document.record.images}
    now = {image.sha256 for image in record.images}
    return bool(before) and not now <= before


def _note_failed_images(
    document: Document, records: Iterable[SafetyRecord], report: Report
) -> None:
    """Keep of each image without a probability why, and what can be done about it."""
    failed = {
        FailedImage.of(document.key.id, image, image.error): None
        for record in records
        for image in record.images
        if image.error is not None
    }
    for image in failed:
        report.examples.setdefault(image.code, image)
        log.debug("%s", image, extra=image.to_json())


def _alike(document: Document, other: Document) -> bool:
    """Whether two versions of a document have the same images and the same score."""
    return (
        document.references == other.references
        and document.stored == other.stored
        and document.others == other.others
    )


def _done(document: Document, scorer: Scorer, since: datetime) -> bool:
    """Whether these models scored the document, as it is now, at or after the given time.

    What failed for a transient reason is not done.
    """
    others = scorer.other_identities
    if any(name not in document.other_records for name in others):
        return False
    stored = [(document.record, scorer.identity)]
    stored += [(document.other_records[name], identity) for name, identity in others.items()]
    names = document.reference_names
    return all(_scored_since(record, model, since, names) for record, model in stored)


def _scored_since(stored: StoredRecord, model: str, since: datetime, names: list[str]) -> bool:
    scored_at = stored.scored_at
    if stored.model != model or scored_at is None or scored_at < since:
        return False
    if any(image.error is not None and image.error.transient for image in stored.images):
        return False
    return [image.reference for image in stored.images] == names
