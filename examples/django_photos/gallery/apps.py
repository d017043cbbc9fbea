"""The application: all that it does with its index goes through a safe client."""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.conf import settings
from elasticsearch import Elasticsearch
from elasticsearch.dsl import connections

from saferank import SafeSearch, load_policy


class GalleryConfig(AppConfig):
    """Has the application's safe client, ``client``, which the middleware binds to requests."""

    name = "gallery"

    def ready(self) -> None:
        policy = load_policy(settings.SAFERANK_POLICY)
        plain = Elasticsearch(**settings.ELASTICSEARCH_DSL["default"])
        self.client = SafeSearch(plain, policy, require_context=True)
        # What django-elasticsearch-dsl writes with, and what reads where a view forgets its own.
        strictest: Any = self.client.at_level(list(policy.levels)[-1])
        connections.add_connection("default", strictest)
