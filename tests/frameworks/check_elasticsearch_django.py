"""elasticsearch-django with a safe client: ``make test-frameworks``."""

from __future__ import annotations

from pathlib import Path

import django
import pytest
from django.conf import settings
from elasticsearch import Elasticsearch

from saferank import SafeSearch, load_policy
from saferank.mappings import add_to_index

POLICY = load_policy(Path(__file__).parents[2] / "examples" / "policy.yaml")
PROBABILITIES = {"1": 0.01, "2": 0.5, "3": 0.9}


@pytest.fixture
def safe(client: Elasticsearch, index_name: str) -> SafeSearch:
    client.indices.create(index=index_name, mappings={"properties": {"title": {"type": "text"}}})
    add_to_index(client, index_name)
    for id, probability in PROBABILITIES.items():
        safety = {"probability": probability, "status": "scored"}
        client.index(index=index_name, id=id, document={"title": "cat", "safety": safety})
    client.indices.refresh(index=index_name)
    settings.configure(
        INSTALLED_APPS=[
            "django.contrib.contenttypes",
            "django.contrib.auth",
            "elasticsearch_django",
        ],
        SEARCH_SETTINGS={
            "connections": {"default": "http://127.0.0.1:1"},
            "indexes": {},
            "settings": {"auto_sync": False, "page_size": 25, "strict_validation": False},
        },
    )
    django.setup()
    return SafeSearch(client, POLICY, require_context=True)


def test_a_search_query_takes_the_client_of_the_request(safe: SafeSearch, index_name: str) -> None:
    from elasticsearch_django.models import SearchQuery

    strict = safe.bind({"requested": "strict"})
    found = SearchQuery.do_search(index_name, {"match": {"title": "cat"}}, client=strict)
    assert (found.total_hits, [hit["id"] for hit in found.hits]) == (1, ["1"])
    moderate = safe.bind({"requested": "moderate"})
    counted = SearchQuery.do_count(index_name, {"match": {"title": "cat"}}, client=moderate)
    assert counted.total_hits == 2
