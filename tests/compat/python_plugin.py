"""A pytest plugin that gives elasticsearch-py's tests a safe client where they take a plain one.

``python_suites`` runs it, in a checkout of elasticsearch-py, with the level in the environment. If
that names a gateway, tests get a plain client that asks through it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from elasticsearch import AsyncElasticsearch, AuthorizationException, Elasticsearch
from elasticsearch.dsl import async_connections, connections
from node import PLAIN, POLICY
from test_elasticsearch import utils
from test_elasticsearch.test_dsl.test_integration import test_data
from through_gateway import asynchronous_through_gateway, through_gateway
from twins import World, Writer, asynchronous_twins, twins

from saferank.errors import MappingError, UnsafeRequest
from saferank.local.elasticsearch import VERSION
from saferank.ranker import AsyncSafeSearch, SafeSearch, load_policy

_URL = os.environ["ELASTICSEARCH_URL"]
_LEVEL = os.environ["SAFERANK_COMPAT_LEVEL"]
_RESULTS = Path(os.environ["SAFERANK_COMPAT_RESULTS"])
_GATEWAY = os.environ.get("SAFERANK_COMPAT_GATEWAY")
_KEY = os.environ.get("SAFERANK_COMPAT_KEY", "")
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
    given: Any
    if isinstance(value, AsyncElasticsearch):
        given = _asynchronous()
        async_connections.add_connection("default", given)
    elif isinstance(value, Elasticsearch):
        given = _plain()
        connections.add_connection("default", given)
    else:
        return value
    assert fixturedef.cached_result is not None
    fixturedef.cached_result = (given, *fixturedef.cached_result[1:])
    return given


def _plain() -> Elasticsearch | SafeSearch:
    writer = Writer(_WORLD)
    if _GATEWAY is not None:
        return Elasticsearch(_URL, transport_class=twins(writer, through_gateway(_GATEWAY, _KEY)))
    return SafeSearch(Elasticsearch(_URL, transport_class=twins(writer)), _policy, level=_LEVEL)


def _asynchronous() -> AsyncElasticsearch | AsyncSafeSearch:
    writer = Writer(_WORLD)
    if _GATEWAY is not None:
        transport = asynchronous_twins(writer, asynchronous_through_gateway(_GATEWAY, _KEY))
    else:
        transport = asynchronous_twins(writer)
    plain = AsyncElasticsearch(_URL, transport_class=transport)
    _unclosed.append(plain)
    return plain if _GATEWAY is not None else AsyncSafeSearch(plain, _policy, level=_LEVEL)


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
        if isinstance(cause, UnsafeRequest | MappingError | AuthorizationException):
            return {"end": "refused", "reason": str(cause)}
        cause = cause.__cause__ or cause.__context__
    return {"reason": f"{type(error).__name__}: {error}".split("\n")[0][:200]}


def pytest_sessionfinish() -> None:
    """Write what was noted where it is waited for."""
    _RESULTS.write_text(json.dumps(_outcomes))
