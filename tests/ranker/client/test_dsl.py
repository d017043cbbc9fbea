"""What ``protect`` takes."""

from __future__ import annotations

from typing import Any

import pytest
from elasticsearch import Elasticsearch
from elasticsearch.dsl import FacetedSearch, Search

from saferank.errors import ConfigurationError
from saferank.ranker import SafeSearch, load_policy, protect

SAFE = SafeSearch(
    Elasticsearch("http://localhost:1"),
    load_policy("version: 1\nlevels: {off: {}}\ncontexts: [{level: off}]\n"),
)


@pytest.mark.parametrize("search", [None, {"query": {"match_all": {}}}, FacetedSearch])
def test_what_is_no_search_is_told(search: Any) -> None:
    with pytest.raises(ConfigurationError, match="which is not a search"):
        protect(search, SAFE)


def test_a_plain_client_is_told() -> None:
    client: Any = Elasticsearch("http://localhost:1")
    with pytest.raises(ConfigurationError, match="which is not a safe client"):
        protect(Search(), client)
