"""A hidden document answers as one that is not there, whatever it is asked by, to the last byte."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from elasticsearch import ApiError, AsyncElasticsearch, Elasticsearch, helpers

from saferank.errors import ContextError, UnsafeRequest
from saferank.mappings import add_to_index
from saferank.ranker import AsyncSafeSearch, SafeSearch, load_policy

POLICY = load_policy("""\
version: 1
levels:
  off:    {}
  strict: {hide_from: 0.2, unscored: hide}
contexts: [{level: strict}]
""")
HIDDEN, MISSING, SHOWN = "hidden1", "missing", "visible"
SECRET = "zqsecret"
# Of one length, so that nothing but the document can make a difference.
assert len(HIDDEN) == len(MISSING) == len(SHOWN)


@pytest.fixture(scope="module")
def index(elasticsearch_url: str) -> Iterator[str]:
    name = f"test-reads-{uuid.uuid4().hex[:8]}"
    with Elasticsearch(elasticsearch_url) as node:
        node.indices.create(index=name, mappings={"properties": {"words": {"type": "completion"}}})
        add_to_index(node, name)
        for id, probability in ((HIDDEN, 0.9), (SHOWN, 0.0)):
            words = {"title": SECRET if id == HIDDEN else "red", "words": ["red"]}
            safety = {"probability": probability, "status": "scored"}
            node.index(index=name, id=id, document={**words, "safety": safety}, refresh=True)
        yield name
        node.indices.delete(index=name)


@pytest.fixture
def client(elasticsearch_url: str) -> Iterator[SafeSearch]:
    with SafeSearch(Elasticsearch(elasticsearch_url), POLICY) as client:
        yield client


def told(call: Callable[[], Any], id: str) -> str:
    """All that an application sees of an answer or an error, but for the id it asked for."""
    try:
        answer = call()
    except ApiError as error:
        answer = error
    headers = dict(answer.meta.headers)
    body = str(answer) if isinstance(answer, ApiError) else answer.body
    return str((type(answer), answer.meta.status, headers, body)).replace(id, "ID")


READS: dict[str, Callable[[Any, str, str], Any]] = {
    "get": lambda client, index, id: client.get(index=index, id=id),
    "get of a part": lambda client, index, id: client.get(
        index=index, id=id, filter_path="found", source=False
    ),
    "get_source": lambda client, index, id: client.get_source(index=index, id=id),
    "exists": lambda client, index, id: client.exists(index=index, id=id),
    "exists_source": lambda client, index, id: client.exists_source(index=index, id=id),
    "mget": lambda client, index, id: client.mget(index=index, ids=[id]),
    "mget beside one": lambda client, index, id: client.mget(index=index, ids=[SHOWN, id]),
    "termvectors": lambda client, index, id: client.termvectors(index=index, id=id, realtime=False),
    "mtermvectors": lambda client, index, id: client.mtermvectors(index=index, ids=[id]),
    "explain": lambda client, index, id: client.explain(
        index=index, id=id, query={"match_all": {}}
    ),
    "ids": lambda client, index, id: client.count(index=index, query={"ids": {"values": [id]}}),
}


@pytest.mark.parametrize("read", READS)
@pytest.mark.parametrize("ignored", [(), (404,)])
def test_a_read_of_a_hidden_document_says_what_one_of_a_missing_document_says(
    client: SafeSearch, index: str, read: str, ignored: tuple[int, ...]
) -> None:
    asked = client.options(ignore_status=ignored)
    hidden, missing = (
        told(lambda id=id: READS[read](asked, index, id), id)  # type: ignore[misc]
        for id in (HIDDEN, MISSING)
    )
    assert without_times(hidden) == without_times(missing)
    assert not {"content-length", "transfer-encoding"} & set(hidden.replace("'", " ").split())


def without_times(text: str) -> str:
    return "".join(part for part in text.split(", ") if "took" not in part)


@pytest.mark.parametrize("form", [lambda id: [id], lambda id: (id,), str.encode, lambda _: True])
@pytest.mark.parametrize("name", [HIDDEN, MISSING])
def test_an_id_that_is_no_text(
    client: SafeSearch, index: str, name: str, form: Callable[[str], Any]
) -> None:
    calls: list[Callable[[], Any]] = [
        lambda: client.get(index=index, id=form(name)),
        lambda: client.get_source(index=index, id=form(name)),
        lambda: client.exists(index=index, id=form(name)),
        lambda: client.explain(index=index, id=form(name), query={"match_all": {}}),
        lambda: client.termvectors(index=index, id=form(name)),
        lambda: client.mget(index=index, ids=[form(name)]),
        lambda: client.mget(index=index, docs=[{"_id": form(name)}]),
    ]
    for call in calls:
        with pytest.raises(UnsafeRequest, match="an id must be text"):
            call()


async def test_an_id_that_is_no_text_awaited(elasticsearch_url: str, index: str) -> None:
    async with AsyncSafeSearch(AsyncElasticsearch(elasticsearch_url), POLICY) as client:
        with pytest.raises(UnsafeRequest, match="an id must be text"):
            await client.get(index=index, id=[HIDDEN])  # type: ignore[typeddict-item]
        answer = await client.mget(index=index, ids=[HIDDEN])
        assert "content-length" not in answer.meta.headers


# What the engine takes for a wish to have the document back.
WISHES: list[dict[str, Any]] = [
    {"source": []},
    {"source": ()},
    {"source": ""},
    {"source": "title"},
    {"source": True},
    {"source_includes": []},
    {"source_includes": ""},
    {"source_excludes": []},
    {"source_excludes": ""},
    {"source_excludes": False},
]


@pytest.mark.parametrize("wish", WISHES)
def test_no_write_gives_the_document_back(
    client: SafeSearch, index: str, wish: dict[str, Any]
) -> None:
    action = {"_op_type": "update", "_index": index, "_id": HIDDEN, "doc": {"q": 1}}
    lines = [{"update": {"_id": HIDDEN}}, {"doc": {"q": 1}}]
    in_body = {"_source" if key == "source" else f"_{key}": value for key, value in wish.items()}
    calls: list[Callable[[], Any]] = [
        lambda: client.update(index=index, id=HIDDEN, doc={"q": 1}, **wish),
        lambda: client.update(index=index, id=HIDDEN, body={"doc": {"q": 1}, **in_body}),
        lambda: client.bulk(index=index, operations=lines, **wish),
        lambda: list(helpers.streaming_bulk(client, [action], **wish)),
    ]
    for call in calls:
        with pytest.raises(UnsafeRequest, match="returns the document"):
            call()


@pytest.mark.parametrize("no", [False, None])
def test_a_write_that_wants_no_document_back(client: SafeSearch, index: str, no: Any) -> None:
    answer = client.update(index=index, id=HIDDEN, doc={"q": 1}, source=no)
    assert "get" not in answer.body
    assert SECRET not in str(answer.body)


def test_no_level_is_a_level(client: SafeSearch) -> None:
    for level in ("", ["off"]):
        with pytest.raises(ContextError, match="there is no level"):
            client.at_level(level)  # type: ignore[arg-type]


def test_a_point_in_time_that_is_none(client: SafeSearch, index: str) -> None:
    for pit in ("text", {}, {"id": None}, []):
        with pytest.raises(UnsafeRequest, match="open_point_in_time"):
            client.search(pit=pit)  # type: ignore[arg-type]


def test_a_suggestion_may_have_any_name(client: SafeSearch, index: str) -> None:
    suggest = {"a#b": {"prefix": "re", "completion": {"field": "words"}}}
    for typed, name in ((False, "a#b"), (True, "completion#a#b")):
        answer = client.search(index=index, suggest=suggest, typed_keys=typed)
        (part,) = answer["suggest"][name]
        assert [option["_id"] for option in part["options"]] == [SHOWN]


def test_two_retrievers_in_one_place_are_refused(client: SafeSearch, index: str) -> None:
    both = {"standard": {}, "knn": {"field": "v", "query_vector": [1], "k": 1}}
    with pytest.raises(UnsafeRequest, match="an object with one key"):
        client.search(index=index, retriever=both)


def test_a_highlight_of_any_field_marks_nothing_of_ours(client: SafeSearch, index: str) -> None:
    node = client.client
    safety = {"probability": 0.9, "override": "allow"}
    node.index(
        index=index, id="allowed", document={"title": "blue", "safety": safety}, refresh=True
    )
    highlight = {"require_field_match": False, "fields": {"*": {}}}
    answer = client.search(index=index, query={"match": {"title": "blue"}}, highlight=highlight)
    (hit,) = answer["hits"]["hits"]
    assert hit["highlight"].keys() == {"title", "title.keyword"}


@pytest.mark.parametrize("odd", [None, "text", {"_source": "text"}])
def test_a_hit_that_is_none(client: SafeSearch, odd: Any) -> None:
    with pytest.raises(UnsafeRequest, match=r"hits\.1"):
        client.rerank([{"_source": {}}, odd])
