"""An operator's word about a document, said on the command line: in the log like a reviewer's."""

from __future__ import annotations

import uuid

from saferank.errors import SaferankError
from saferank.mappings.override_index import find_documents, override
from saferank.mappings.record import Override
from saferank.review.entries import DECIDING, Act, Entry, Item, live
from saferank.review.log import Overtaken
from saferank.review.projection import Projection
from saferank.review.subject import Subject

QUEUE = "command line"
"""Stands in the log in the place of a review queue."""
_ATTEMPTS = 20


def say(
    projection: Projection,
    item: Item,
    decision: Override | None,
    by: str,
    *,
    image_field: str,
    reason: str | None = None,
) -> None:
    """Decide about a document, alone and at once; None takes back all that was decided.

    Args:
        projection: writes what follows.
        item: the document.
        decision: what is to hold.
        by: who says so.
        image_field: source field with the image references.
        reason: why, if it is said.

    Raises:
        MappingError: there is no such document, or it cannot have an override.
        SaferankError: others say something about it all the time.
    """
    projection.log.install()
    projection.work.install()
    found = find_documents(projection.client, projection.fields, item.index, item.id, item.routing)
    subject = Subject.of(item, found[0]["_source"], projection.fields, image_field)
    for _ in range(_ATTEMPTS):
        chain = projection.log.chain(item)
        said = [one for one in live(chain) if one.act in DECIDING]
        new = [
            Entry(
                item=item,
                act=Act.UNDO if decision is None else Act(decision.value),
                by=by,
                token=uuid.uuid4().hex,
                queue=QUEUE,
                reason=reason,
                undoes=undone,
                probability=subject.probability,
                model=subject.model,
                digests=subject.digests,
            )
            for undone in ([one.number for one in said] if decision is None else [None])
        ]
        projection.work.mark(item)
        try:
            for place, entry in enumerate(new):
                projection.log.append(entry, len(chain) + place)
        except Overtaken:
            continue
        projection.apply(item)
        break
    else:
        raise SaferankError("too much is being said about this document at once; try again")
    if decision is None:
        # What others than reviewers had put there before is taken back as well.
        override(
            projection.client,
            projection.overrides_index,
            projection.fields,
            item.index,
            item.id,
            None,
            routing=item.routing,
        )
