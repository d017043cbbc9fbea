"""An operator's or an application's word about a document: in the log like a reviewer's."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from saferank.connection import clear_errors, connect
from saferank.errors import ConfigurationError, SaferankError
from saferank.mappings.override_index import find_documents, override
from saferank.mappings.record import Override
from saferank.ranker.policy.policy import Policy
from saferank.review.entries import DECIDING, Act, Entry, Item, live
from saferank.review.log import Overtaken
from saferank.review.projection import Projection
from saferank.review.subject import Subject
from saferank.settings import Settings, get_settings

QUEUE = "command line"
"""Stands in the log in the place of a review queue."""
APPLICATION = "application"
"""Likewise, of what an application's moderators decide."""
_ATTEMPTS = 20


def override_document(
    index: str,
    id: str,
    override: Literal["allow", "block"] | None,
    *,
    by: str,
    reason: str | None = None,
    routing: str | None = None,
    settings: Settings | None = None,
) -> None:
    """Store a person's decision about a document; for an application's own moderators.

    It does what ``saferank override`` does, the entry in the review log included, and returns as
    soon as the engine has it: searches obey it a second later. Where decisions reach copies
    (``known`` of the settings), workers are asked to fetch the picture for cropped ones. From
    asynchronous code call it in a thread.

    Args:
        index: the document's index, or the alias that the application uses.
        id: of the document.
        override: ``block`` hides it whatever its probability; ``allow`` shows it as long as it has
            the images that it has now; None takes back all that was decided.
        by: who decided.
        reason: why, if it is said.
        routing: the document's, if it has one.
        settings: those of the environment unless given; ``overrides`` names where it is kept.

    Raises:
        DocumentNotFound: there is no such document.
        MappingError: there is no such index, or no index of overrides.
        ConfigurationError: the settings name no index of overrides, the decision is none, or
            decisions are to reach copies and the extra ``indexer`` is not installed.
        ServiceUnavailable: Elasticsearch cannot be reached.
    """
    if override not in ("allow", "block", None):
        raise ConfigurationError(f"an override is 'allow', 'block' or None, and not {override!r}")
    settings = settings or get_settings()
    decision = None if override is None else Override(override)
    item = Item(index, id, routing)
    with _deciding(settings, item, decision, by, APPLICATION, reason) as projection:
        projection.have_looked_closer(item, settings)


def decide(
    item: Item, decision: Override | None, by: str, *, reason: str | None, settings: Settings
) -> None:
    """Do what an operator's command is for, to the end: needs no worker, and takes its time.

    Raises:
        SaferankError: as ``override_document``.
    """
    with _deciding(settings, item, decision, by, QUEUE, reason) as projection:
        projection.look_closer(item.index, item)


@contextmanager
def _deciding(
    settings: Settings,
    item: Item,
    decision: Override | None,
    by: str,
    queue: str,
    reason: str | None,
) -> Iterator[Projection]:
    """Connect, note a decision, and have it reach copies where the settings want that."""
    with clear_errors(settings.elasticsearch_url), connect(settings) as client:
        overrides_index_of(settings)  # There has to be one.
        projection = Projection.of(client, settings)
        say(
            projection,
            item,
            decision,
            by,
            image_field=settings.image_field,
            queue=queue,
            reason=reason,
        )
        yield projection


def overrides_index_of(settings: Settings) -> str:
    """The index that keeps overrides.

    Raises:
        ConfigurationError: none is named.
    """
    if settings.overrides is None:
        raise ConfigurationError(
            "no index of overrides is named; set SAFERANK_OVERRIDES, for example to "
            "saferank-overrides, and 'overrides' in the policy"
        )
    return settings.overrides


def check_overrides(policy: Policy, settings: Settings) -> None:
    """See that searches look where decisions are written.

    Raises:
        ConfigurationError: they do not.
    """
    if policy.overrides != settings.overrides:
        raise ConfigurationError(
            f"the policy keeps overrides in {policy.overrides!r} and the settings in "
            f"{settings.overrides!r}; name the same index as 'overrides' in both"
        )


def say(
    projection: Projection,
    item: Item,
    decision: Override | None,
    by: str,
    *,
    image_field: str,
    queue: str = QUEUE,
    reason: str | None = None,
) -> None:
    """Decide about a document, alone and at once; None takes back all that was decided.

    Args:
        projection: writes what follows.
        item: the document.
        decision: what is to hold.
        by: who says so.
        image_field: source field with the image references.
        queue: stands in the log in the place of a review queue.
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
                queue=queue,
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
