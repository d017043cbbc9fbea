"""The Python of the pages does what they say, on a real node."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from elasticsearch import Elasticsearch
from elasticsearch.dsl import Search
from pages import ROOT, blocks

from saferank import SafeSearch, load_policy
from saferank.mappings import template
from saferank.mappings.override_index import install_overrides, read_overrides
from saferank.settings import get_settings

PROBABILITIES = {"plain": 0.0, "medium": 0.5, "high": 0.9}
INDICES = ("images", "photos")


@pytest.fixture(scope="module")
def url(elasticsearch_url: str) -> Iterator[str]:
    with Elasticsearch(elasticsearch_url, request_timeout=60) as client:
        client.indices.delete(index=list(INDICES), ignore_unavailable=True)
        for index in INDICES:
            client.indices.create(index=index, mappings={"properties": {"title": {"type": "text"}}})
            template.add_to_index(client, index)
            for name, probability in PROBABILITIES.items():
                safety = {"probability": probability, "status": "scored"}
                document = {"title": f"beach {name}", "safety": safety}
                client.index(index=index, id=name, document=document)
            client.indices.refresh(index=index)
        yield elasticsearch_url
        client.indices.delete(index=list(INDICES))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the reader saved the policy of the README, as it says."""
    monkeypatch.chdir(tmp_path)
    (policy,) = blocks("yaml", page=ROOT / "README.md")
    (tmp_path / "policy.yaml").write_text(policy.text)
    return tmp_path


def run(page: str, url: str, *wanted: str, known: dict[str, Any] | None = None) -> dict[str, Any]:
    """Run those samples of a page that have one of the texts in them, one after the other.

    Args:
        page: its path.
        url: of the node, in the place of a sample's.
        wanted: the texts, one a sample.
        known: names that the page speaks of and does not define.

    Returns:
        All names that there are in the end.
    """
    known = {} if known is None else known
    samples = [block.text for block in blocks("python", page=ROOT / page)]
    chosen = [text for text in samples if any(each in text for each in wanted)]
    assert len(chosen) == len(wanted)
    for text in chosen:
        exec(compile(text.replace("http://localhost:9200", url), page, "exec"), known)
    return known


def test_the_readme(url: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("README.md", url, "SafeSearch(")
    lines = [line.split(" ", 1) for line in capsys.readouterr().out.splitlines()]
    assert [rest for _, rest in lines] == ["beach plain shown", "beach medium demoted"]
    assert float(lines[1][0]) == pytest.approx(float(lines[0][0]) * 0.1**0.5, rel=1e-5)


def test_the_policy_in_python(url: str, folder: Path) -> None:
    (policy, *_) = blocks("yaml", page=ROOT / "docs/reference/policy.md")
    (folder / "policy.yaml").write_text(policy.text)
    made = run("docs/reference/policy.md", url, "resolve(", "PolicyFile(")
    assert (made["decision"].level_name, made["decision"].context_rule) == ("strict", 1)
    hits = made["search"].search(index="images", context={"audience": "child"})["hits"]["hits"]
    assert [hit["_id"] for hit in hits] == ["plain"]


def test_moderators_of_an_application(
    elasticsearch_url: str, client: Elasticsearch, index_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = {name: f"{index_name}-{name}" for name in ("overrides", "log", "work")}
    client.indices.create(index=index_name, aliases={"products": {}})
    template.add_to_index(client, index_name)
    for id in ("4711", "4712"):
        client.index(index=index_name, id=id, document={"image": "a"}, refresh=True)
    install_overrides(client, own["overrides"])
    monkeypatch.setenv("SAFERANK_ELASTICSEARCH_URL", elasticsearch_url)
    monkeypatch.setenv("SAFERANK_OVERRIDES", own["overrides"])
    monkeypatch.setenv("SAFERANK_REVIEW__LOG_INDEX", own["log"])
    monkeypatch.setenv("SAFERANK_REVIEW__WORK_INDEX", own["work"])
    get_settings.cache_clear()
    try:
        run("docs/how-to/overrides.md", elasticsearch_url, "override_document(")
        kept = read_overrides(client, own["overrides"]).of
        assert {id: one.override.value for id, one in kept["products"].items()} == {"4712": "allow"}
    finally:
        get_settings.cache_clear()
        client.indices.delete(index=list(own.values()), ignore_unavailable=True)


def test_a_policy_that_changes(url: str, folder: Path) -> None:
    async def shown(audience: str) -> list[str]:
        async with made["application"]:
            found = await made["client_for"]("off", audience).search(index="images")
            return sorted(hit["_id"] for hit in found["hits"]["hits"])

    made = run("docs/how-to/web.md", url, "PolicyFile(")
    assert asyncio.run(shown("child")) == ["plain"]


def test_a_choice_counts_where_the_policy_lets_it() -> None:
    (policy,) = blocks("yaml", page=ROOT / "docs/how-to/web.md")
    loaded = load_policy(policy.text)
    context_for = run("docs/how-to/web.md", "", "def context_for")["context_for"]

    def level(choice: str | None, address: str, *, adult: bool) -> str:
        return loaded.resolve(context_for(loaded, choice, address, adult)).level_name

    home, school = "192.0.2.7", "10.77.3.4"
    assert level("off", home, adult=True) == "off"
    assert level(None, home, adult=True) == "moderate"
    assert level("off", home, adult=False) == "moderate"
    assert level("strict", home, adult=False) == "strict"
    assert level("off", school, adult=True) == "strict"


def test_a_picture_that_is_replaced_is_not_judged_by_the_old_one(
    url: str, folder: Path, broker_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def treated(audience: str) -> list[tuple[str, str]]:
        found = client.search(index="photos", query=it, context={"audience": audience})["hits"]
        return [(hit["saferank"]["action"], hit["saferank"]["rule"]) for hit in found["hits"]]

    monkeypatch.setenv("SAFERANK_BROKER_URL", broker_url)
    monkeypatch.setenv("SAFERANK_INDEXER__FRESH_QUEUE", f"fresh-{uuid.uuid4().hex[:8]}")
    get_settings.cache_clear()
    it = {"ids": {"values": ["swapped"]}}
    with Elasticsearch(url, request_timeout=60) as plain:
        client = SafeSearch(plain, load_policy("policy.yaml"))
        safety = {"probability": 0.0, "status": "scored", "override_by": "ann"}
        client.index(index="photos", id="swapped", document={"safety": safety}, refresh=True)
        try:
            assert treated("child") == [("shown", "below_thresholds")]
            made = run("docs/how-to/web.md", url, "def replace_picture")
            made["replace_picture"](client, "swapped", "https://example.com/new.jpg")
            plain.indices.refresh(index="photos")
            assert treated("child") == []
            assert treated("adult") == [("demoted", "unscored")]
            kept = plain.get(index="photos", id="swapped")["_source"]["safety"]
            assert kept["override_by"] == "ann"
        finally:
            plain.delete(index="photos", id="swapped", refresh=True)
            get_settings.cache_clear()


def test_putting_it_into_an_application(
    url: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known = {
        "url": url,
        "query": {"match": {"title": "beach"}},
        "words": "beach",
        "context": {"audience": "adult"},
        "request": None,
        "context_of": lambda request: {"audience": "child"},
        "Search": Search,
    }
    page = "docs/how-to/integrate.md"
    made = run(
        page,
        url,
        "\nclient = ",
        'context={"audience": "child", "requested',
        "bind(",
        "protect(",
        known=known,
    )
    assert type(made["client"]) is type(made["safe"])
    made = run(page, url, "def test_a_child", known=made)
    made["test_a_child_sees_what_is_safe"]()
    assert capsys.readouterr().out == "beach plain shown\nbeach medium demoted\n"
