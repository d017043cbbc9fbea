"""The examples do what they say, on a real node."""

from __future__ import annotations

import asyncio
import difflib
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from elasticsearch import AsyncElasticsearch, Elasticsearch, NotFoundError

from saferank.mappings import template
from saferank.ranker import AsyncSafeSearch, load_policy

EXAMPLES = Path(__file__).parents[2] / "examples"
PROBABILITIES = {"plain": 0.0, "medium": 0.5, "high": 0.9}


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def url(elasticsearch_url: str) -> Iterator[str]:
    with Elasticsearch(elasticsearch_url, request_timeout=60) as client:
        client.indices.delete(index="photos", ignore_unavailable=True)
        properties = {"title": {"type": "text"}, "tag": {"type": "keyword"}}
        client.indices.create(index="photos", mappings={"properties": properties})
        template.add_to_index(client, "photos")
        for name, probability in PROBABILITIES.items():
            document = {
                "title": f"cat {name}",
                "tag": name,
                "safety": {"probability": probability, "status": "scored"},
            }
            client.index(index="photos", id=name, document=document)
        client.indices.refresh(index="photos")
        yield elasticsearch_url
        client.indices.delete(index="photos")


def test_an_application_is_made_safe_where_it_makes_its_client(url: str) -> None:
    before, after = example("before"), example("after")
    page = before.search_page(before.connect(url), "cat")
    assert (page["total"], set(page["tags"])) == (3, {"plain", "medium", "high"})
    page = after.search_page(after.connect(url), "cat")
    assert page == {
        "total": 2,
        "titles": ["cat plain", "cat medium"],
        "tags": {"plain": 1, "medium": 1},
    }
    assert before.detail_page(before.connect(url), "high")["tag"] == "high"
    with pytest.raises(NotFoundError):
        after.detail_page(after.connect(url), "high")


def test_one_line_of_the_code_changes() -> None:
    texts = [(EXAMPLES / f"{name}.py").read_text().splitlines() for name in ("before", "after")]
    changed = [line for line in difflib.ndiff(*texts) if line.startswith("- ")]
    code = [line for line in changed if "def " not in line and '"""' not in line]
    assert code == ["-     return Elasticsearch(url)"]


def test_each_request_has_its_context(url: str) -> None:
    web = example("web_requests")
    client = example("after").connect(url)
    adult, child = web.context_of({}, child=False), web.context_of({}, child=True)
    curious = web.context_of({"x-safe-search": "off"}, child=True)
    assert web.search(client, "cat", adult) == [
        {"title": "cat plain", "blurred": False},
        {"title": "cat medium", "blurred": True},
    ]
    for context in (child, curious):
        assert web.search_dsl(client, "cat", context) == ["cat plain"]
    assert web.page_key(client, "cat", child) != web.page_key(client, "cat", adult)

    async def search() -> list[str]:
        policy = load_policy(EXAMPLES / "policy.yaml")
        async with AsyncSafeSearch(AsyncElasticsearch(url), policy) as asynchronous:
            return list(await web.search_async(asynchronous, "cat", child))

    assert asyncio.run(search()) == ["cat plain"]
