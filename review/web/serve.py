"""Running the application."""

from __future__ import annotations

import uvicorn
from elasticsearch import Elasticsearch
from starlette.applications import Starlette

from saferank.errors import ConfigurationError
from saferank.mappings.fields import SafetyFields
from saferank.mappings.template import check_index
from saferank.ranker.policy.policy import Policy
from saferank.review.desk import Desk
from saferank.review.operator import check_overrides
from saferank.review.people import People, read_people
from saferank.review.pictures import Pictures
from saferank.review.sample import find_items
from saferank.review.web.app import ReviewApp
from saferank.settings import Settings


def make_app(
    client: Elasticsearch,
    index: str,
    settings: Settings,
    policy: Policy,
    sample: list[tuple[str, str]] | None = None,
) -> Starlette:
    """The application of one index's review, with everything that it needs checked.

    Args:
        client: connected.
        index: index or alias.
        settings: an operator's.
        policy: its thresholds make the queues; of several categories those of the one that the
            settings name are reviewed.
        sample: index and id of documents that were drawn to be labelled.

    Raises:
        ConfigurationError: settings and policy do not fit, or nobody may review.
        MappingError: the index has no safety fields.
    """
    check_overrides(policy, settings)
    about = policy.about(SafetyFields.of(settings))
    read_people(settings.review.reviewers)
    check_index(client, index, about.fields)
    items = None if sample is None else find_items(client, index, sample)
    if items == ():
        raise ConfigurationError(
            f"index {index!r} has none of the sample's documents; was it drawn from another one?"
        )
    desk = Desk(client, index, settings, about, items)
    desk.install()
    people = People(settings.review.reviewers)
    return ReviewApp(desk, Pictures(settings), people, settings).asgi()


def serve(app: Starlette, host: str, port: int) -> None:
    """Answer until the process is asked to end."""
    uvicorn.run(
        app,
        host=host,
        port=port,
        # With httptools what comes behind a chunked body would be a header, with a user's name.
        http="h11",
        # Proxy headers are read by the guard, which believes them only from named proxies.
        proxy_headers=False,
        server_header=False,
        log_level="warning",
    )
