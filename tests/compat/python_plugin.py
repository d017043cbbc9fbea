"""A pytest plugin that gives elasticsearch-py's tests a safe client where they take a plain one.

``python_suites`` runs it, in a checkout of elasticsearch-py, with the level in the environment.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from elasticsearch import AsyncElasticsearch, Elasticsearch
from elasticsearch.dsl import async_connections, connections
from node import PLAIN, POLICY
from test_elasticsearch import utils
from test_elasticsearch.test_dsl.test_integration import test_data
from twins import World, Writer, asynchronous_twins, twins

from saferank.errors import MappingError, UnsafeRequest
from saferank.local.elasticsearch import VERSION
from saferank.ranker import AsyncSafeSearch, SafeSearch, load_policy

_URL = os.environ["ELASTICSEARCH_URL"]
_LEVEL = os.environ["SAFERANK_COMPAT_LEVEL"]
_RESULTS = Path(os.environ["SAFERANK_COMPAT_RESULTS"])
_FIXTURES = {
    f"{prefix}{name}"
    for prefix in ("", "async_", "sync_")
    for name in ("client", "data_client", "write_client")
}

# Off nothing is hidden, so there twins would be found, and rightly.
_WORLD = World.ALONE if _LEVEL in (PLAIN, "off") else World.TWIN_HIDDEN
_policy = load_policy(POLICY)
_outcomes: dict[str, dict[str, str]] = {}
# One that is collected unclosed says so in the logs, which tests look at.
_unclosed: list[AsyncElasticsearch] = []


def _do_without_modules() -> None:
    """Patch what a node without modules lacks, before the tests import it by name."""
    plain = Elasticsearch(_URL)

    def wipe(_client: Any) -> None:
        plain.indices.delete(index="*", expand_wildcards="all")
        plain.indices.delete_index_template(name="*")

    def info(_client: Any) -> Any:
        return {"version": {"number": VERSION}}

    async def async_info(client: Any) -> Any:
        return info(client)

    Elasticsearch.info, AsyncElasticsearch.info = info, async_info
    utils.es_url = lambda: _URL
    utils.es_version = lambda _client: tuple(map(int, VERSION.split(".")))
    utils.wipe_cluster = wipe
    for index in (test_data.GIT_INDEX, test_data.FLAT_GIT_INDEX):
        properties = index["mappings"]["properties"]
        del index["settings"]
        properties["description"]["analyzer"] = properties["files"]["analyzer"] = "standard"
    test_data.GIT_INDEX["mappings"]["properties"]["commit_repo"] = {"enabled": False}


_do_without_modules()


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(
    fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
) -> Iterator[None]:
    """Put a safe client in the place of a plain one."""
    value = yield
    if _LEVEL == PLAIN or fixturedef.argname not in _FIXTURES:
        return value
    safe: SafeSearch | AsyncSafeSearch
    if isinstance(value, AsyncElasticsearch):
        transport = asynchronous_twins(Writer(_WORLD))
        plain = AsyncElasticsearch(_URL, transport_class=transport)
        _unclosed.append(plain)
        safe = AsyncSafeSearch(plain, _policy, level=_LEVEL)
        async_connections.add_connection("default", safe)
    elif isinstance(value, Elasticsearch):
        plain = Elasticsearch(_URL, transport_class=twins(Writer(_WORLD)))
        safe = SafeSearch(plain, _policy, level=_LEVEL)
        connections.add_connection("default", safe)
    else:
        return value
    assert fixturedef.cached_result is not None
    fixturedef.cached_result = (safe, *fixturedef.cached_result[1:])
    return safe


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Note how each test that takes such a client ended, in its first bad phase, and why."""
    report = yield
    if _FIXTURES.isdisjoint(getattr(item, "fixturenames", ())):
        return report
    noted = _outcomes.setdefault(item.nodeid, {"end": "passed", "reason": ""})
    if report.outcome != "passed" and noted["end"] == "passed":
        noted["end"] = report.outcome
        if report.failed and call.excinfo is not None:
            noted.update(_why(call.excinfo.value))
    return report


def _why(error: BaseException) -> dict[str, str]:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, UnsafeRequest | MappingError):
            return {"end": "refused", "reason": str(cause)}
        cause = cause.__cause__ or cause.__context__
    return {"reason": f"{type(error).__name__}: {error}".split("\n")[0][:200]}


def pytest_sessionfinish() -> None:
    """Write what was noted where it is waited for."""
    _RESULTS.write_text(json.dumps(_outcomes))
