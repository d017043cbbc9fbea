"""What a process needs to score: made once per process, after any fork.

A model's threads do not survive a fork, so nothing here may be made before it.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from dataclasses import dataclass

import platformdirs
from elasticsearch import Elasticsearch

from saferank.connection import connect
from saferank.indexer.decode import Decoded, decode, decode_scaled
from saferank.indexer.fetch import Fetched, Fetcher
from saferank.indexer.installation import installation_of
from saferank.indexer.score.digests import Digests
from saferank.indexer.score.memory import Memory
from saferank.indexer.score.overrides import KeptOverrides
from saferank.indexer.score.pipeline import FirstPass, Pipeline
from saferank.indexer.score.store import DocumentStore
from saferank.mappings.fields import SafetyFields
from saferank.mappings.record import ImageRecord
from saferank.models import Model, load_model
from saferank.models.description import identity, load_description, locate
from saferank.settings import DecodeSettings, IndexerSettings, Settings, get_settings


@dataclass(slots=True)
class Resources:
    """Connections and the model of one process.

    Attributes:
        settings: as the process was started with.
        client: connected to Elasticsearch.
        store: reads documents and writes scores.
        pipeline: scores them.
        memory: what is known of images beside the documents, if that is kept.
    """

    settings: Settings
    client: Elasticsearch
    store: DocumentStore
    pipeline: Pipeline
    memory: Memory | None = None
    _installation: str | None = None

    def is_ours(self, installation: str | None) -> bool:
        """Whether a task is for this installation, as far as that is known."""
        if installation in (None, self._installation):
            return True
        # Asked again each time: another cluster may have taken the place of the one we knew.
        self._installation = installation_of(self.client, self.settings.indexer.jobs_index)
        return self._installation in (None, installation)


def model_identity(name_or_path: str) -> str:
    """The identity of a model, without loading it.

    Raises:
        ModelError: its files are not there, or are not the right ones.
    """
    description, folder = load_description(name_or_path)
    return identity(description, locate(description, folder))


def make_pipeline(settings: Settings, *, fetch: Callable[[str], Fetched] | None = None) -> Pipeline:
    """Load the model and put the parts together that score.

    Args:
        settings: of the model, of fetching and decoding.
        fetch: gives bytes that are at hand, in the place of what the settings say.

    Raises:
        ModelError: the model cannot be loaded.
    """
    model = load_model(settings.model)
    fetcher = Fetcher(settings.fetch)

    def decode_with_limits(data: bytes) -> Decoded:
        return decode(data, settings.decode)

    def fetch_again(reference: str, version: ImageRecord) -> Fetched | None:
        return fetcher.fetch_if_changed(
            reference, etag=version.etag, last_modified=version.last_modified
        )

    return Pipeline(
        model,
        fetch or fetcher.fetch,
        decode_with_limits,
        fetch_again=fetch_again if fetch is None else None,
        batch_size=settings.indexer.batch_size,
        fetch_threads=settings.indexer.fetch_threads,
        lane=fetcher.host_of if fetch is None else lambda reference: None,
        lane_width=settings.fetch.per_host,
        max_images=settings.indexer.max_images,
        time_of_image=settings.fetch.timeout,
        first=first_pass(model, settings.decode),
        digests=_digests(settings.indexer),
    )


def make_store(client: Elasticsearch, settings: Settings) -> DocumentStore:
    """What reads and writes documents as the settings say."""
    kept = None if settings.overrides is None else KeptOverrides(client, settings.overrides)
    return DocumentStore(
        client,
        SafetyFields.of(settings),
        settings.image_field,
        patience=settings.indexer.store_patience,
        overrides=kept,
    )


def make_resources(settings: Settings) -> Resources:
    """Load the model and make the connections.

    Raises:
        ModelError: the model cannot be loaded.
    """
    client = connect(settings)
    return Resources(
        settings,
        client,
        make_store(client, settings),
        make_pipeline(settings),
        None
        if settings.indexer.images_index is None
        else Memory(client, settings.indexer.images_index),
    )


def first_pass(model: Model, settings: DecodeSettings) -> FirstPass | None:
    """The model's cheap first pass, if it has one that can run here."""
    margin, scaled_to = model.margin, model.scaled_to
    if margin is None or scaled_to is None:
        return None

    def decode_smaller(data: bytes) -> Decoded | None:
        return decode_scaled(data, settings, scaled_to)

    return FirstPass(margin, model.estimates, decode_smaller)


def _digests(settings: IndexerSettings) -> Digests | None:
    if settings.digests == 0:
        return None
    folder = platformdirs.user_cache_path("saferank")
    return Digests(settings.digests_file or folder / "digests.sqlite", settings.digests)


def process_resources() -> Resources:
    """This process's resources, made at the first call."""
    return _resources_of(os.getpid())


@functools.lru_cache(maxsize=1)
def _resources_of(pid: int) -> Resources:  # the key tells a child from its parent
    return make_resources(get_settings())
