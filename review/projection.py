"""From the log to what searches obey: overrides are written, and can be written again.

The log is the truth. An override in a document, or in the index of overrides, is a copy of what
``Standing`` says; whoever lost it gets it back by ``rebuild``.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from elasticsearch import Elasticsearch

from saferank.errors import MappingError, SaferankError, needing
from saferank.mappings.fields import SafetyFields
from saferank.mappings.override_index import (
    find_documents,
    images_of,
    override,
    read_overrides,
)
from saferank.mappings.overrides import OverrideRecord, override_in
from saferank.mappings.record import ImageRecord
from saferank.review.entries import Entry, Item, Standing
from saferank.review.log import Log
from saferank.review.work import Work

if TYPE_CHECKING:
    from saferank.indexer.copies import Copies
    from saferank.settings import Settings

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What became of one item in a rebuild.

    Attributes:
        item: the item.
        override: what is in force by the log.
        kept: others than reviewers said something later, and that was left as it is.
        problem: why nothing could be written, or None.
    """

    item: Item
    override: OverrideRecord | None = None
    kept: bool = False
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Projection:
    """Writes what follows from the log.

    Attributes:
        client: connected.
        fields: names of the safety fields.
        overrides_index: where overrides are kept; None when documents alone have them.
        log: the truth.
        work: what is open.
        copies: what brings decisions to copies; None when they are not to reach any.
    """

    client: Elasticsearch
    fields: SafetyFields
    overrides_index: str | None
    log: Log
    work: Work
    copies: Copies | None = None

    @classmethod
    def of(cls, client: Elasticsearch, settings: Settings) -> Projection:
        """As the settings say.

        Raises:
            ConfigurationError: decisions are to reach copies, and the extra for it is missing.
        """
        review, copies = settings.review, None
        if settings.known is not None:
            with needing("bringing decisions to copies (SAFERANK_KNOWN)", "indexer"):
                from saferank.indexer.copies import Copies

            copies = Copies.of(client, settings)
        return cls(
            client,
            SafetyFields.of(settings),
            settings.overrides,
            Log(client, review.log_index),
            Work(client, review.work_index, review.lease),
            copies,
        )

    def apply(self, item: Item, *, done_by: str | None = None) -> tuple[Standing, bool]:
        """Make the override of an item what the log says, and note what is open about it.

        Args:
            item: the item.
            done_by: whose lease ends with it.

        Returns:
            What the log says, and whether a later override of others was left as it is.

        Raises:
            MappingError: there is no such document, or it cannot have an override.
        """
        standing, kept = Standing.of(self.log.chain(item)), False
        while True:
            kept = not self._write(item, standing)
            # Another process may have written less than the log says by now; the last one to look
            # sees all of it.
            newer = Standing.of(self.log.chain(item))
            if newer.length == standing.length:
                break
            standing = newer
        self.work.settle(item, standing, done_by=done_by)
        return standing, kept

    def look_closer(self, index: str, item: Item | None = None) -> None:
        """Have blocks reach cropped copies, too, for which their pictures have to be fetched.

        Only of documents with one image; other copies of it are reached by ``apply``, at once.

        Args:
            index: whose documents have the pictures.
            item: whose picture to look at; unless given, all that wait for it.
        """
        if self.copies is not None:
            self.copies.look_closer(index, None if item is None else item.key)

    def have_looked_closer(self, item: Item, settings: Settings) -> None:
        """Leave to the workers what ``look_closer`` does: it waits for where the picture is.

        Where that cannot be asked of them now, their sweep does it, or the review.

        Args:
            item: that was decided about.
            settings: of the broker.
        """
        if self.copies is None or not self.copies.has_to_look(item.key):
            return
        # Celery comes with the extra that copies need.
        from saferank.indexer.queue import queue_look

        try:
            queue_look(item.index, item.key, settings=settings)
        except SaferankError as error:
            log.warning("cropped copies of document %r are found later: %s", item.id, error)

    def settle_unsettled(self) -> int:
        """Finish what processes had in hand when they ended; how many items that were."""
        items = self.work.unsettled()
        for item in items:
            try:
                self.apply(item)
            except MappingError:  # the document is gone, and there is nothing to finish
                self.work.settle(item, Standing())
        return len(items)

    def rebuild(self, index: str | None = None) -> Iterator[Rebuilt]:
        """Make all overrides what the log says, item by item.

        Args:
            index: of items of this index or alias alone.
        """
        for item, _ in groupby(self.log.entries(index=index), key=_item_of):
            try:
                standing, kept = self.apply(item)
                self.look_closer(item.index, item)
            except MappingError as error:
                if self.copies is not None:  # the document is gone, and its copies need not be
                    standing = Standing.of(self.log.chain(item))
                    self.copies.remember(item.key, standing.override)
                yield Rebuilt(item, problem=str(error))
                continue
            yield Rebuilt(item, standing.override, kept)

    def current(self, item: Item) -> OverrideRecord | None:
        """The override that is in force for an item, whoever made it.

        Raises:
            MappingError: there is no such document.
        """
        found = find_documents(self.client, self.fields, item.index, item.id, item.routing)
        if self.overrides_index is not None:
            kept = read_overrides(self.client, self.overrides_index).find([item.index], item.id)
            if kept is not None:
                return kept
        path = self.fields.override_object
        in_documents = (override_in(entry["_source"], path) for entry in found)
        return next((one for one in in_documents if one is not None), None)

    def _write(self, item: Item, standing: Standing) -> bool:
        """Write an override; False when others have said something since reviewers did."""
        if standing.spoken_at is None:
            return True
        now, wanted = self.current(item), standing.override
        if now is not None and now.at > standing.spoken_at:
            return False
        override(
            self.client,
            self.overrides_index,
            self.fields,
            item.index,
            item.id,
            wanted,
            routing=item.routing,
            seen=None if wanted is None else wanted.digests,
        )
        if self.copies is not None:
            self.copies.decide(item.index, item.key, wanted, self._alone(item, wanted))
        return True

    def _alone(self, item: Item, wanted: OverrideRecord | None) -> ImageRecord | None:
        """The image of a document that has no other, if it is what was decided about."""
        found = find_documents(self.client, self.fields, item.index, item.id, item.routing)
        images = {image.sha256: image for one in found for image in images_of(one, self.fields)}
        alone = next(iter(images.values())) if len(images) == 1 else None
        seen = wanted is not None and alone is not None and wanted.digests == (alone.sha256,)
        return alone if seen else None


def _item_of(entry: Entry) -> Item:
    return entry.item
