"""What a process needs to score: made once per process, after any fork.

A model's threads do not survive a fork, so nothing here may be made before it.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import platformdirs
from elasticsearch import Elasticsearch

from saferank.connection import connect
from saferank.indexer.decode import Decoded, decode, decode_scaled
from saferank.indexer.fetch import Fetched, Fetcher
from saferank.indexer.installation import installation_of
from saferank.indexer.jobs.records import Job, Pace
from saferank.indexer.jobs.selection import Selection
from saferank.indexer.pdq import pdq_of
from saferank.indexer.score.digests import Digests
from saferank.indexer.score.interfaces import CategoryModel, FirstPass
from saferank.indexer.score.memory import Memory
from saferank.indexer.score.pipeline import Pipeline
from saferank.indexer.storage.store import DocumentStore
from saferank.indexer.worker.allocation import keep_for_pictures
from saferank.indexer.worker.cores import threads
from saferank.mappings.record import ImageRecord
from saferank.models import Model, load_model
from saferank.models.description import identity, load_description, locate
from saferank.settings import DecodeSettings, IndexerSettings, Settings, get_settings


@dataclass(slots=True)
class Resources:
    """Connections and the models of one process.

    Attributes:
        settings: as the process was started with.
        client: connected to Elasticsearch.
        store: reads documents and writes scores.
        pipeline: scores them.
        scoring: makes pipelines for some categories alone.
        memory: what is known of images beside the documents, if that is kept.
    """

    settings: Settings
    client: Elasticsearch
    store: DocumentStore
    pipeline: Pipeline
    scoring: Scoring
    memory: Memory | None = None
    _installation: str | None = None
    _limited: dict[tuple[str, ...], tuple[Pipeline, DocumentStore]] = field(default_factory=dict)

    @property
    def models(self) -> Mapping[str, str]:
        """The identity of the model of each object field that scores go into."""
        return {name: category.model.identity for name, category in self.scoring.categories.items()}

    def limited_to(self, fields: Iterable[str]) -> tuple[Pipeline, DocumentStore]:
        """What scores and stores some categories alone, named by their object fields.

        The first field named is the first category there.
        """
        names = tuple(fields)
        if names == tuple(self.scoring.categories):
            return self.pipeline, self.store
        if names not in self._limited:
            store = DocumentStore.of(self.client, self.settings, names)
            self._limited[names] = self.scoring.pipeline(names), store
        return self._limited[names]

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


def model_identities(settings: Settings) -> dict[str, str]:
    """The identity of the model of each object field that scores go into, without loading any.

    Raises:
        ModelError: a model's files are not there, or are not the right ones.
    """
    return {name: model_identity(model) for name, model in settings.model_by_field.items()}


def job_of(
    settings: Settings,
    index: str,
    selection: Selection,
    pace: Pace,
    *,
    without: tuple[str, ...] = (),
    into: str | None = None,
) -> Job:
    """A job on an index for all categories of the settings.

    Raises:
        ModelError: a model's files are not there, or are not the right ones.
    """
    (name, model), *others = model_identities(settings).items()
    return Job(index, name, model, selection, pace, without=without, into=into, others=dict(others))


def _load_each(models: Mapping[str, str], passes: int) -> dict[str, Model]:
    """Load the models by field; categories of one net share what runs it."""
    loaded: dict[str, Model] = {}
    by_field = {}
    for name, model in models.items():
        path, _, category = model.partition("#")
        one = loaded[path].of_category(category) if category and path in loaded else None
        by_field[name] = loaded[path] = one or load_model(model, passes=passes)
    return by_field


class Scoring:
    """The models of all categories, and what brings images to them.

    Args:
        settings: of the models, of fetching and decoding.
        fetch: gives bytes that are at hand, in the place of what the settings say.

    Attributes:
        categories: the model of each, by its object field.

    Raises:
        ModelError: a model cannot be loaded.
    """

    def __init__(self, settings: Settings, fetch: Callable[[str], Fetched] | None = None) -> None:
        self._threads = threads(settings.indexer)
        models = _load_each(settings.model_by_field, self._threads)
        self.categories = {
            name: CategoryModel(model, first_pass(model, settings.decode), model.frame_rule)
            for name, model in models.items()
        }
        self._settings = settings
        self._fetch = fetch
        self._fetcher = Fetcher(settings.fetch)
        self._digests = _digests(settings.indexer)

    def pipeline(self, fields: Iterable[str]) -> Pipeline:
        """What scores documents for some categories, named by their object fields."""
        names = tuple(fields)
        category = self.categories[names[0]]
        settings, fetcher = self._settings, self._fetcher

        def decode_with_limits(data: bytes) -> Decoded:
            return decode(data, settings.decode)

        def fetch_again(reference: str, version: ImageRecord) -> Fetched | None:
            return fetcher.fetch_if_changed(
                reference, etag=version.etag, last_modified=version.last_modified
            )

        return Pipeline(
            category.model,
            self._fetch or fetcher.fetch,
            decode_with_limits,
            fetch_again=fetch_again if self._fetch is None else None,
            batch_size=settings.indexer.batch_size,
            fetch_threads=settings.indexer.fetch_threads,
            lane=fetcher.host_of if self._fetch is None else lambda reference: None,
            lane_width=settings.fetch.per_host,
            max_images=settings.indexer.max_images,
            time_of_image=settings.fetch.timeout,
            first=category.first,
            frames=category.frames,
            digests=self._digests,
            others={name: self.categories[name] for name in names[1:]},
            pdq_of=None if settings.known is None else pdq_of,
            threads=self._threads,
        )


def make_pipeline(settings: Settings, *, fetch: Callable[[str], Fetched] | None = None) -> Pipeline:
    """Load the models and put the parts together that score.

    Args:
        settings: of the models, of fetching and decoding.
        fetch: gives bytes that are at hand, in the place of what the settings say.

    Raises:
        ModelError: a model cannot be loaded.
    """
    return Scoring(settings, fetch).pipeline(settings.model_by_field)


def make_resources(settings: Settings) -> Resources:
    """Load the models and make the connections.

    Raises:
        ModelError: a model cannot be loaded.
    """
    client = connect(settings)
    keep_for_pictures(threads(settings.indexer))
    scoring = Scoring(settings)
    return Resources(
        settings,
        client,
        DocumentStore.of(client, settings),
        scoring.pipeline(scoring.categories),
        scoring,
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

    return FirstPass(margin, model.estimated_classes, decode_smaller)


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
