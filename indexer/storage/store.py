"""Reading documents from Elasticsearch and writing their scores back.

A write changes the indexer's own fields and only if the document is still the version that was
read. So it never creates a document, never brings a deleted one back, never undoes another
writer's change, and needs no script on the cluster.

A document is read by its id through the name that the caller gave. That does not go through a
data stream's name, nor through an alias of several indices, nor without a custom routing; what is
not found so is looked for by a query. It is written to the concrete index where it was found, and
not to another one that has taken that index's name meanwhile.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import Enum
from functools import partial
from typing import Any, TypeVar

import stamina
from elastic_transport import ConnectionError as TransportConnectionError
from elastic_transport import ConnectionTimeout
from elasticsearch import ApiError, Elasticsearch, NotFoundError

from saferank.engines.engine import wrong_server
from saferank.errors import MappingError, ServiceUnavailable
from saferank.indexer.bulk.outages import BLOCK, BUSY, is_transient
from saferank.indexer.bulk.pages import pages
from saferank.indexer.bulk.parts import TOO_LARGE, by_bytes, in_halves, to_json
from saferank.indexer.documents import Document, Json, Scored
from saferank.indexer.keys import DocumentKey
from saferank.indexer.operate import metrics
from saferank.indexer.storage.indices import Indices
from saferank.indexer.storage.matches import Matches
from saferank.indexer.storage.overrides import KeptOverrides
from saferank.mappings.fields import SafetyFields
from saferank.mappings.known_index import KnownIndex
from saferank.mappings.overrides import NO_FIELDS
from saferank.mappings.paths import list_on_the_way, nested, put_at, value_at, values_at
from saferank.mappings.record import ImageRecord, Match, Override, copies_fields
from saferank.settings import Settings

log = logging.getLogger(__name__)

T = TypeVar("T")

# Answers to a read by id that say: not through this name, or not without a routing.
_NOT_BY_ID = frozenset(
    {
        "illegal_argument_exception",
        "index_not_found_exception",
        "index_closed_exception",
        "routing_missing_exception",
    }
)
# Of the statuses 4xx, those that say nothing about the request itself.
_ACCESS = frozenset({401, 403})


class Written(Enum):
    """What became of a write."""

    STORED = "stored"
    UNCHANGED = "unchanged"
    """The same was stored already."""
    CHANGED = "changed"
    """The document is another version by now, or in another index; read it again."""
    DELETED = "deleted"
    REJECTED = "rejected"
    """Elasticsearch will not take it, whatever the score."""


@dataclass(frozen=True, slots=True)
class WriteResult:
    """The outcome for one document, with Elasticsearch's reason when it was rejected."""

    written: Written
    reason: str | None = None


class IndexBlocked(ServiceUnavailable):
    """An index refuses writes: its disk is full, it is being maintained, or it was replaced.

    Attributes:
        index: its name.
    """

    def __init__(self, index: str, message: str) -> None:
        self.index = index
        super().__init__(message)


class _Busy(Exception):
    """Some items were turned away for now."""


class _Blocked(_Busy):
    """An index refuses writes: for a second while an alias moves, or for longer."""

    def __init__(self, index: str, reason: str) -> None:
        self.index = index
        super().__init__(reason)


class DocumentStore:
    """Documents of any index, their images and their scores.

    Args:
        client: connected.
        fields: names of the safety fields; of several categories, the first one's.
        image_field: source field with the image references.
        patience: seconds to keep trying while Elasticsearch is busy or away.
        overrides: those kept outside of the documents, whose copies are brought back; None when
            documents alone have them.
        others: names of the fields of further categories.
        matches: what known pictures say of images; None when decisions do not reach copies.
        decided_in: the object that holds people's decisions, as ``fields`` says unless given. An
            allow says nothing about categories with another one; a block is about the document.
    """

    def __init__(
        self,
        client: Elasticsearch,
        fields: SafetyFields,
        image_field: str,
        *,
        patience: float = 60.0,
        overrides: KeptOverrides | None = None,
        others: Sequence[SafetyFields] = (),
        matches: Matches | None = None,
        decided_in: str | None = None,
    ) -> None:
        self._client = client
        self._fields = fields
        self._others = [each.root for each in others]
        every = [name for each in (fields, *others) for name in each.objects]
        self._objects = tuple(dict.fromkeys(every))
        decided_in = decided_in or fields.override_object
        self._allowing = {
            each.root for each in (fields, *others) if each.override_object == decided_in
        }
        self._image_field = image_field
        self._patience = patience
        self._blocked: set[str] = set()
        self._overrides = overrides
        self._matches = matches
        self._indices = Indices(client, (fields, *others), image_field)

    @classmethod
    def of(
        cls, client: Elasticsearch, settings: Settings, fields: Iterable[str] | None = None
    ) -> DocumentStore:
        """What reads and writes documents as the settings say.

        Args:
            client: connected.
            settings: names of the fields.
            fields: the object fields of some categories, when not all of them are meant.
        """
        names = tuple(settings.model_by_field if fields is None else fields)
        first, *others = (SafetyFields(name, settings.override_field) for name in names)
        # People decide about the first category, where the overrides that are kept are copied to.
        decided_in = SafetyFields.of(settings).override_object
        kept = None
        if first.override_object == decided_in and settings.overrides is not None:
            kept = KeptOverrides(client, settings.overrides)
        known = KnownIndex.of(client, settings)
        return cls(
            client,
            first,
            settings.image_field,
            patience=settings.indexer.store_patience,
            overrides=kept,
            others=others,
            matches=None if known is None else Matches(known),
            decided_in=decided_in,
        )

    def read(
        self, index: str, keys: Sequence[DocumentKey]
    ) -> tuple[list[Document], list[DocumentKey]]:
        """Read the newest version of documents, also of those not yet searchable.

        Args:
            index: index, alias or data stream; it may lead to several indices.
            keys: the documents. One that several documents have, in several indices or under
                several routings, means all of them.

        Returns:
            The documents that exist, and the keys of those that do not.

        Raises:
            MappingError: there is no such index, or it cannot be read.
            IndexBlocked: the index refused writes before, and still does.
            ServiceUnavailable: Elasticsearch stayed busy or away for longer than ``patience``.
        """
        if not keys:
            return [], []
        with metrics.stage("read"):
            documents, missing = self._patiently(index, lambda: self._read(index, keys))
        self._check_accept(documents)
        return documents, missing

    def unready(self, index: str, documents: Iterable[Document]) -> dict[str, str]:
        """The concrete indices of documents that cannot take scores, each with the reason.

        Args:
            index: as the documents were read through.
            documents: as they were read.

        Raises:
            MappingError: one of them is gone.
            ServiceUnavailable: Elasticsearch stayed busy or away for longer than ``patience``.
        """
        places = {document.index: document.uuid for document in documents}
        reasons = {
            name: self._patiently(index, partial(self._indices.why_not_ready, name, uuid))
            for name, uuid in places.items()
        }
        return {name: reason for name, reason in reasons.items() if reason is not None}

    def write(
        self,
        index: str,
        records: Sequence[Scored],
        *,
        restamp: bool = False,
    ) -> list[WriteResult]:
        """Store records, in the order given.

        Args:
            index: as the documents were read through.
            records: the documents that were read, with what to store.
            restamp: write a new ``scored_at`` even if nothing else is new.

        Raises:
            IndexBlocked: the index refused writes for longer than ``patience``.
            ServiceUnavailable: Elasticsearch stayed busy or away for longer than ``patience``.
        """
        if not records:
            return []
        results: list[WriteResult | None] = [None] * len(records)
        copies = self._patiently(index, lambda: self._copies(records))
        changes, records = self._patiently(index, lambda: self._matched(records))
        for place, scored in enumerate(records):
            if not restamp and not copies[place] and _says(scored):
                results[place] = WriteResult(Written.UNCHANGED)
        documents = [scored.document for scored in records]
        contents = [
            self._content(scored, copy) for scored, copy in zip(records, copies, strict=True)
        ]
        written = self._store(index, documents, contents, results)
        if self._matches is not None and self._patiently(index, self._matches.changes) != changes:
            # Something was decided in between, maybe after its copies were looked for.
            self.match_again(index, [document.key for document in documents])
        return written

    def match_again(self, index: str, keys: Sequence[DocumentKey]) -> int:
        """Write anew what known pictures say of documents that were scored; nothing else changes.

        Args:
            index: index, alias or data stream.
            keys: the documents.

        Returns:
            How many had something else before.

        Raises:
            MappingError: there is no such index.
            IndexBlocked, ServiceUnavailable: as ``write``.
        """
        changed, pending = 0, list(keys)
        while self._matches is not None and pending:
            found, _ = self.read(index, pending)
            documents = [one for one in found if one.list_at is None and self._images_of(one)]
            said = self._patiently(index, partial(self._said_of, documents))
            contents = list(map(self._copies_content, documents, said))
            results = [None if content else WriteResult(Written.UNCHANGED) for content in contents]
            written = self._store(index, documents, contents, results)
            changed += sum(one.written is Written.STORED for one in written)
            pending = []
            for document, one in zip(documents, written, strict=True):
                if one.written is Written.CHANGED:
                    pending.append(document.key)
                elif one.written is Written.REJECTED:
                    log.error("document %s is not matched: %s", document.key.id, one.reason)
        return changed

    def _images_of(self, document: Document) -> tuple[ImageRecord, ...]:
        """What is stored of a document's images for any category that has looked at them."""
        records = [document.record, *document.other_records.values()]
        return next((one.images for one in records if one.images), ())

    def _copies_content(self, document: Document, match: Match | None) -> Json:
        """What a document has to say otherwise of copies, in each category; mostly nothing."""
        content: dict[str, Any] = {}
        records = {self._fields.root: document.record, **document.other_records}
        for root, record in records.items():
            wanted = copies_fields(record.images, self._match_for(root, match))
            if record.images and any(record.values.get(key) != wanted[key] for key in wanted):
                put_at(content, root, wanted)
        return content

    def _said_of(self, documents: Sequence[Document]) -> list[Match | None]:
        if self._matches is None:
            return [None] * len(documents)
        images = [self._images_of(document) for document in documents]
        return self._matches.of(images, self._matches.changes())

    def _matched(self, records: Sequence[Scored]) -> tuple[int, Sequence[Scored]]:
        """The records with what known pictures say of them, and the changes of these so far."""
        if self._matches is None:
            return 0, records
        changes = self._matches.changes()
        said = self._matches.of([scored.record.images for scored in records], changes)
        return changes, [
            replace(
                scored,
                record=replace(scored.record, match=self._match_for(self._fields.root, match)),
                others={
                    root: replace(record, match=self._match_for(root, match))
                    for root, record in scored.others.items()
                },
            )
            for scored, match in zip(records, said, strict=True)
        ]

    def _match_for(self, root: str, match: Match | None) -> Match | None:
        """What of a match is about a category: an allow only where its people's decisions are."""
        allows = match is not None and match.decision is Override.ALLOW
        return None if allows and root not in self._allowing else match

    def _store(
        self,
        index: str,
        documents: Sequence[Document],
        contents: Sequence[Json],
        results: list[WriteResult | None],
    ) -> list[WriteResult]:
        """Write to the documents that have no result yet; the results of all, in order."""

        def write_rest() -> None:
            self._pass_over_replaced(documents, results)
            lines = {
                place: _lines(documents[place], contents[place])
                for place, result in enumerate(results)
                if result is None
            }
            turned_away: list[_Busy] = []
            for part in by_bytes([*lines], lambda place: sum(map(len, lines[place]))):
                turned_away += in_halves(lambda some: self._send(index, some, lines, results), part)
            if turned_away:
                metrics.STORE_RETRIES.labels("busy").inc(len(turned_away))
                blocks = (error for error in turned_away if isinstance(error, _Blocked))
                raise next(blocks, turned_away[0])

        with metrics.stage("write"):
            self._patiently(index, write_rest)
            if any(result and result.written is Written.DELETED for result in results):
                self._patiently(index, lambda: self._look_for_replaced(documents, results))
        return [result for result in results if result is not None]

    def _pass_over_replaced(
        self,
        documents: Sequence[Document],
        results: list[WriteResult | None],
    ) -> None:
        """Have documents read again whose index was deleted, or made anew, since they were read."""
        open_places = [place for place, result in enumerate(results) if result is None]
        names = {documents[place].index for place in open_places}
        now = self._uuids(names)
        for place in open_places:
            document = documents[place]
            if now.get(document.index) != document.uuid:
                results[place] = WriteResult(Written.CHANGED)

    def _look_for_replaced(
        self,
        documents: Sequence[Document],
        results: list[WriteResult | None],
    ) -> None:
        """Tell documents that were deleted from those whose index was, in the very last moment.

        A write that comes a moment late makes the index anew, empty; there is no way to ask
        Elasticsearch not to, but for a user without the privilege to make indices.
        """
        now = self._uuids({document.index for document in documents})
        replaced = set()
        for place, document in enumerate(documents):
            if now.get(document.index) != document.uuid:
                results[place] = WriteResult(Written.CHANGED)
                replaced.add(document.index)
        for name in replaced & now.keys():
            log.error(
                "index %r was deleted while its documents were scored, and is there again: if it "
                "is empty and nobody made it, the write of a score did; delete it then",
                name,
            )

    def _uuids(self, names: Iterable[str]) -> dict[str, str]:
        """The uuids of concrete indices; those that are gone are not among them."""
        found: dict[str, str] = {}
        for name in names:
            with suppress(NotFoundError):
                found |= self._indices.uuids([name])
        return found

    def _content(self, scored: Scored, copy: Json) -> Json:
        """What to write of one document: every category in the same partial update."""
        stored: dict[str, Any] = nested(self._fields.root, scored.record.to_document())
        for root, record in scored.others.items():
            put_at(stored, root, record.to_document())
        if copy:
            put_at(stored, self._fields.override_object, copy)
        return stored

    def _copies(self, records: Sequence[Scored]) -> list[Json]:
        """What has to change in each document's copy of a person's override; mostly nothing."""
        if self._overrides is None:
            return [{}] * len(records)
        self._overrides.renew()
        copies: list[Json] = []
        for scored in records:
            document = scored.document
            copy = self._overrides.copy_for(document, scored.record) or {}
            same = all(document.override.get(name) == value for name, value in copy.items())
            copies.append({} if same else copy)
            if not same:
                log.warning(
                    "document %s gets its override back: %s",
                    document.key.id,
                    copy["override"] or "none, since it allowed other images",
                    extra={"document": document.key.id},
                )
        return copies

    def _send(
        self,
        index: str,
        places: Sequence[int],
        lines: Mapping[int, tuple[bytes, bytes]],
        results: list[WriteResult | None],
    ) -> list[_Busy]:
        """Send one bulk and note the results; give what is to be sent again."""
        operations: list[Any] = [line for place in places for line in lines[place]]
        try:
            items = self._client.bulk(operations=operations)["items"]
        except ApiError as error:
            if error.status_code != TOO_LARGE or len(places) > 1:
                raise
            size = len(lines[places[0]][1])
            reason = f"its record of {size:,} bytes is refused as too large (413); raise the limit"
            results[places[0]] = WriteResult(Written.REJECTED, reason)
            return []
        turned_away: list[_Busy] = []
        for place, item in zip(places, items, strict=True):
            # Elasticsearch may answer an update under another name than "update".
            (answer,) = item.values()
            try:
                results[place] = _result(answer)
            except _Blocked as block:
                if self._leads_to(index, block.index):
                    self._blocked.add(block.index)
                    turned_away.append(block)
                else:
                    results[place] = WriteResult(Written.CHANGED)
            except _Busy as busy:
                turned_away.append(busy)
        return turned_away

    def _read(
        self, index: str, keys: Sequence[DocumentKey]
    ) -> tuple[list[Document], list[DocumentKey]]:
        # Seen before: a document of an index that comes later is then one to read again.
        uuids = self._indices.seen(index)
        entries = self._get([_location(index, key) for key in keys])
        documents, unknown = [], []
        for key, entry in zip(keys, entries, strict=True):
            if entry.get("found"):
                documents.append(self._document(key, entry, uuids))
            else:
                unknown.append(key)
        elsewhere = self._find(index, unknown, uuids)
        documents += elsewhere
        found = {document.key for document in elsewhere}
        found |= {DocumentKey(key.id) for key in found}
        return documents, [key for key in unknown if key not in found]

    def _find(
        self, index: str, keys: Sequence[DocumentKey], uuids: Mapping[str, str]
    ) -> list[Document]:
        """Look for documents by a query, whichever index and routing they have."""
        if not keys:
            return []
        # What was written in the last second is not searchable yet.
        self._client.indices.refresh(index=index)
        query = {"ids": {"values": [key.id for key in keys]}}
        asked = set(keys)
        places = [
            (one.index, one.key)
            for page in pages(self._client, index, query, size=len(keys))
            for one in page
            if one.key in asked or DocumentKey(one.key.id) in asked
        ]
        entries = self._get([_location(*place) for place in places])
        return [
            self._document(key, entry, uuids)
            for (_, key), entry in zip(places, entries, strict=True)
            if entry.get("found")
        ]

    @property
    def _read_fields(self) -> list[str]:
        # Whole from the top, or a list on the way would not show where nothing in it is asked for.
        return [self._image_field, *(path.partition(".")[0] for path in self._objects)]

    def _get(self, locations: Sequence[Json]) -> list[Json]:
        """Read by id; an entry that cannot be read so counts as not found."""
        if not locations:
            return []

        def get(some: Sequence[Json]) -> list[Json]:
            found: list[Json] = self._client.mget(docs=some, source_includes=self._read_fields)[
                "docs"
            ]
            return found

        entries = in_halves(get, locations)
        for entry in entries:
            error = entry.get("error")
            if error is not None and error["type"] not in _NOT_BY_ID:
                raise _Busy(f"{error['type']}: {error.get('reason')}")
        return entries

    def _document(self, key: DocumentKey, entry: Json, uuids: Mapping[str, str]) -> Document:
        source = entry.get("_source", {})
        objects = {path: value_at(source, path) for path in self._objects}
        lists = (list_on_the_way(source, path) for path in self._objects)
        return Document(
            key,
            tuple(values_at(source, self._image_field)),
            _some(objects[self._fields.root], SafetyFields.INDEXER_OWNED),
            _some(objects[self._fields.override_object], NO_FIELDS),
            entry["_seq_no"],
            entry["_primary_term"],
            entry["_index"],
            uuids.get(entry["_index"], ""),
            next(filter(None, lists), None),
            {root: _some(objects[root], SafetyFields.INDEXER_OWNED) for root in self._others},
        )

    def _check_accept(self, documents: Iterable[Document]) -> None:
        """See, before work is done in vain, whether indices that refused writes still do.

        Raises:
            IndexBlocked: one does.
        """
        for index in {document.index for document in documents} & self._blocked:
            if self._blocks(index).get(index):
                raise IndexBlocked(index, f"index {index!r} still refuses writes")
            self._blocked.discard(index)

    def _leads_to(self, name: str, index: str) -> bool:
        return name == index or index in self._blocks(name)

    def _blocks(self, name: str) -> dict[str, list[str]]:
        """The concrete indices that a name leads to, each with its blocks."""
        try:
            found = self._client.indices.get_settings(
                index=name, name="index.blocks.*,index.uuid", flat_settings=True
            )
        except ApiError as error:
            return {name: [BLOCK]} if error.error == BLOCK else {}
        return {
            index: [
                setting
                for setting, value in entry["settings"].items()
                if setting.startswith("index.blocks.") and value == "true"
            ]
            for index, entry in found.items()
        }

    def _patiently(self, index: str, call: Callable[[], T]) -> T:
        """Call again, with growing pauses, while Elasticsearch is busy or away."""
        try:
            for attempt in stamina.retry_context(
                on=_try_again, attempts=None, timeout=self._patience, wait_max=10.0
            ):
                with attempt:
                    if attempt.num > 1:
                        metrics.STORE_RETRIES.labels("request").inc()
                    return call()
        except _Blocked as error:
            raise IndexBlocked(
                error.index,
                f"index {error.index!r} has refused writes for {self._patience:g} s ({error}); "
                "its documents wait until it takes them again: make room on its disk, or lift the "
                "block",
            ) from error
        except _Busy as error:
            raise ServiceUnavailable(
                f"Elasticsearch stayed too busy for {self._patience:g} s ({error}); "
                "lower the rate of the backfill, or give the cluster more room"
            ) from error
        except ApiError as error:
            if is_transient(error):
                raise self._away(error) from error
            if error.status_code in _ACCESS or error.status_code >= 500:
                raise ServiceUnavailable(f"Elasticsearch refuses for now: {error}") from error
            raise MappingError(_refusal(index, error)) from error
        except (TransportConnectionError, ConnectionTimeout) as error:
            raise self._away(error) from error
        raise AssertionError("unreachable")

    def _away(self, error: Exception) -> ServiceUnavailable:
        return ServiceUnavailable(
            f"Elasticsearch did not serve a request for {self._patience:g} s: {error}"
        )


def _says(scored: Scored) -> bool:
    """Whether a document says already what is to be stored, but for the time."""
    there = scored.document.other_records
    return scored.document.record.says(scored.record) and all(
        name in there and there[name].says(record) for name, record in scored.others.items()
    )


def _lines(document: Document, content: Json) -> tuple[bytes, bytes]:
    """What a bulk says of one document."""
    action = {
        **_location(document.index, document.key),
        "if_seq_no": document.seq_no,
        "if_primary_term": document.primary_term,
    }
    return to_json({"update": action}), to_json({"doc": content})


def _location(index: str, key: DocumentKey) -> dict[str, str]:
    location = {"_index": index, "_id": key.id}
    return location if key.routing is None else {**location, "routing": key.routing}


def _refusal(index: str, error: ApiError) -> str:
    """What is wrong with an index that cannot be read, and what to do."""
    if (said := wrong_server(error)) is not None:
        return f"the server {said}"
    match error.error:
        case "index_not_found_exception" | "illegal_argument_exception" if ":" in index:
            return f"{index!r} is an index of another cluster; score it from there"
        case "index_not_found_exception":
            return f"there is no index {index!r}; correct the name, or create it"
        case "index_closed_exception":
            return f"index {index!r} is closed; open it, then score what has no score"
    return f"Elasticsearch refuses the request for {index!r}: {error}"


def _some(found: object, names: Iterable[str]) -> dict[str, Any]:
    """The values of these names in what should be an object."""
    if not isinstance(found, Mapping):
        return {}
    return {name: found[name] for name in names if name in found}


def _try_again(error: Exception) -> bool:
    return isinstance(error, _Busy) or is_transient(error)


def _result(item: Json) -> WriteResult:
    """Read one item of a bulk answer.

    Raises:
        _Busy: it is to be sent again.
        ServiceUnavailable: this process may not write there.
    """
    status: int = item["status"]
    if status < 400:
        return WriteResult(Written.UNCHANGED if item["result"] == "noop" else Written.STORED)
    error = item["error"]
    reason = f"{error['type']}: {error.get('reason')}"
    if error["type"] == BLOCK:
        raise _Blocked(item["_index"], reason)
    if status in BUSY:
        raise _Busy(reason)
    if status in _ACCESS:
        raise ServiceUnavailable(f"Elasticsearch refuses a write ({reason}); allow it")
    if status == 409 or error["type"] == "index_not_found_exception":
        return WriteResult(Written.CHANGED)
    if status == 404:
        return WriteResult(Written.DELETED)
    cause = error.get("caused_by", {}).get("reason", "")
    return WriteResult(Written.REJECTED, f"{reason} {cause}".strip())
