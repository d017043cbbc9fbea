"""An index to review: harmless pictures, with probabilities written as field values."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from brightness import data_uri, png
from elasticsearch import Elasticsearch, helpers

from saferank.mappings import add_to_index
from saferank.mappings.override_index import install_overrides
from saferank.ranker import load_policy
from saferank.ranker.policy.policy import Policy
from saferank.review.desk import Desk
from saferank.settings import ReviewSettings, Settings

POLICY = """version: 1
levels:
  off: {}
  moderate: {demote_from: 0.2, hide_from: 0.8, unscored: demote}
contexts:
  - {level: moderate}
"""


def policy_of(settings: Settings) -> Policy:
    kept = "" if settings.overrides is None else f"\noverrides: {settings.overrides}"
    return load_policy(POLICY.replace("version: 1", f"version: 1{kept}"))


@contextmanager
def review_settings(
    url: str, *, kept: bool = False, **review: object
) -> Iterator[tuple[Settings, Elasticsearch]]:
    """Settings with indices of their own, which are deleted in the end."""
    unique = uuid.uuid4().hex[:10]
    settings = Settings(
        elasticsearch_url=url,
        overrides=f"test-overrides-{unique}" if kept else None,
        review=ReviewSettings.model_validate(
            {
                "log_index": f"test-review-log-{unique}",
                "work_index": f"test-review-work-{unique}",
                "show_fields": ("title",),
                **review,
            }
        ),
    )
    names = [settings.review.log_index, settings.review.work_index]
    with Elasticsearch(url, request_timeout=60) as client:
        if settings.overrides is not None:
            install_overrides(client, settings.overrides)
            names.append(settings.overrides)
        try:
            yield settings, client
        finally:
            client.indices.delete(index=names, ignore_unavailable=True)


def make_desk(client: Elasticsearch, index: str, settings: Settings) -> Desk:
    desk = Desk(client, index, settings, policy_of(settings))
    desk.install()
    return desk


def fill(
    client: Elasticsearch, index: str, probabilities: Sequence[float | None], *, size: int = 8
) -> None:
    """Documents ``0``, ``1`` and so on; of None, one whose image failed."""
    if not client.indices.exists(index=index):
        client.indices.create(index=index)
        add_to_index(client, index)
    helpers.bulk(
        client,
        (
            {"_index": index, "_id": str(place), **document(place, value, size)}
            for place, value in enumerate(probabilities)
        ),
        refresh=True,
    )


def document(place: int, probability: float | None, size: int = 8) -> dict[str, object]:
    reference = data_uri(png(place % 256, (size, size)))
    known = {"reference": reference[:64], "sha256": f"{place:064x}", "probability": probability}
    if len(reference) <= 512:
        known["reference"] = reference
    failed = probability is None
    if failed:
        known = {"reference": known["reference"], "error": "not_an_image"}
    return {
        "title": f"picture {place}",
        "image": reference,
        "safety": {
            "probability": probability,
            "model": "test-1",
            "status": "failed" if failed else "scored",
            "error": "not_an_image" if failed else None,
            "scored_at": "2026-01-02T03:04:05Z",
            "images": [known],
        },
    }
