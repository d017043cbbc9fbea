"""The safe clients on a real node, in every form in which an application may use them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from elasticsearch import AsyncElasticsearch, BadRequestError, Elasticsearch, NotFoundError
from elasticsearch.dsl import AsyncSearch, MultiSearch, Search
from elasticsearch.helpers import async_bulk, bulk, parallel_bulk, scan

from saferank.errors import ConfigurationError, ContextError, MappingError, UnsafeRequest
from saferank.mappings import template
from saferank.ranker import AsyncSafeSearch, Policy, SafeSearch, load_policy, protect
from saferank.ranker.alias import alias_filter

INDEX = "test-safe-client"
BARE = "test-safe-client-bare"
POLICY = """\
version: 1
levels:
  off:      {}
  moderate: {demote_from: 0.2, hide_from: 0.8, unscored: demote}
  strict:   {hide_from: 0.2, unscored: hide}
contexts:
  - {when: {audience: child}, level: strict, locked: true}
  - {level: moderate}
"""
LEVELS = ("off", "moderate", "strict")
DOCUMENTS: dict[str, dict[str, Any]] = {
    "plain": {"probability": 0.01, "status": "scored"},
    "edge": {"probability": 0.2, "status": "scored"},
    "medium": {"probability": 0.5, "status": "scored"},
    "high": {"probability": 0.9, "status": "scored"},
    "unscored": {},
    "failed": {"probability": 0.0, "status": "failed"},
    "allowed": {"probability": 0.99, "status": "scored", "override": "allow"},
    "blocked": {"probability": 0.0, "status": "scored", "override": "block"},
}
HIDDEN = {
    "off": {"blocked"},
    "moderate": {"blocked", "high"},
    "strict": {"blocked", "high", "edge", "medium", "unscored", "failed"},
}
DEMOTED = {
    "off": set[str](),
    "moderate": {"edge", "medium", "unscored", "failed"},
    "strict": set[str](),
}
QUERY = {"match": {"title": "cat"}}
NEIGHBOURS = {"field": "v", "query_vector": [0, 1], "k": 20, "num_candidates": 20}
Json = dict[str, Any]
Search_ = Callable[[Json, Json], Json]


@pytest.fixture(scope="module")
def node(elasticsearch_url: str) -> Iterator[Elasticsearch]:
    with Elasticsearch(elasticsearch_url, request_timeout=60) as client:
        client.indices.delete(index=f"{INDEX},{BARE}", ignore_unavailable=True)
        properties = template.component_template()["template"]["mappings"]["properties"]
        client.indices.create(
            index=INDEX,
            settings={"number_of_shards": 1},
            mappings={
                "properties": {
                    **properties,
                    "title": {"type": "text"},
                    "n": {"type": "integer"},
                    "v": {"type": "dense_vector", "dims": 2, "similarity": "l2_norm"},
                }
            },
        )
        for number, (name, safety) in enumerate(DOCUMENTS.items()):
            title = f"cat marker{name}x" + " word" * number
            document = {"title": title, "n": number, "v": [number, 1], "safety": safety}
            client.index(index=INDEX, id=name, document=document)
        client.index(index=BARE, id="1", document={"title": "cat"})
        client.indices.refresh(index=f"{INDEX},{BARE}")
        yield client
        client.indices.delete(index=f"{INDEX},{BARE}", ignore_unavailable=True)


@pytest.fixture(scope="module")
def policy() -> Policy:
    return load_policy(POLICY)


@pytest.fixture(scope="module")
def safe(node: Elasticsearch, policy: Policy) -> SafeSearch:
    return SafeSearch(node, policy)


@pytest.fixture(params=["plain", "async", "msearch", "dsl", "dsl_async", "dsl_msearch"])
def search(
    request: pytest.FixtureRequest, safe: SafeSearch, elasticsearch_url: str, policy: Policy
) -> Search_:
    """One way of sending a search: (body, context) -> the response's body."""

    def awaited(run: Callable[[AsyncSafeSearch], Any]) -> Any:
        async def main() -> Any:
            async with AsyncSafeSearch(AsyncElasticsearch(elasticsearch_url), policy) as client:
                return await run(client)

        return asyncio.run(main())

    def plain(body: Json, context: Json) -> Json:
        return dict(safe.search(index=INDEX, context=context, **keywords(body)))

    def asynchronous(body: Json, context: Json) -> Json:
        return dict(awaited(lambda client: client.search(index=INDEX, body=body, context=context)))

    def msearch(body: Json, context: Json) -> Json:
        # The second search keeps the first from being all there is.
        searches = [{}, body, {"index": INDEX}, {"query": QUERY, "size": 1}]
        response = safe.msearch(index=INDEX, searches=searches, context=context)
        return dict(response["responses"][0])

    def dsl(body: Json, context: Json) -> Json:
        found = protect(Search.from_dict(body).index(INDEX), safe, context).execute()
        return dict(found.to_dict())

    def dsl_async(body: Json, context: Json) -> Json:
        query = AsyncSearch.from_dict(body).index(INDEX)
        found = awaited(lambda client: protect(query, client, context).execute())
        return dict(found.to_dict())

    def dsl_msearch(body: Json, context: Json) -> Json:
        many = MultiSearch().add(Search.from_dict(body).index(INDEX))
        return dict(protect(many, safe, context).execute()[0].to_dict())

    forms = {
        "plain": plain,
        "async": asynchronous,
        "msearch": msearch,
        "dsl": dsl,
        "dsl_async": dsl_async,
        "dsl_msearch": dsl_msearch,
    }
    return forms[request.param]


def keywords(body: Json) -> Json:
    names = {"from": "from_", "_source": "source"}
    return {names.get(key, key): value for key, value in body.items()}


def names(response: Json) -> list[str]:
    return [hit["_id"] for hit in response["hits"]["hits"]]


BODIES: dict[str, Json] = {
    "relevance": {"query": QUERY, "size": 20},
    "everything": {"size": 20},
    "by_field": {"query": QUERY, "size": 20, "sort": [{"n": "asc"}]},
    "aggregated": {
        "query": QUERY,
        "size": 20,
        "aggs": {"all": {"global": {}, "aggs": {"top": {"top_hits": {"size": 50}}}}},
    },
    "no_source": {"query": QUERY, "size": 20, "_source": False},
    "rescored": {
        "query": QUERY,
        "size": 20,
        "rescore": {"window_size": 50, "query": {"rescore_query": {"match": {"title": "word"}}}},
    },
}


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
def test_hidden_documents_are_nowhere_in_a_response(
    search: Search_, node: Elasticsearch, body: Json, level: str
) -> None:
    response = search(body, {"requested": level})
    assert set(names(response)) == DOCUMENTS.keys() - HIDDEN[level]
    assert response["hits"]["total"]["value"] == len(DOCUMENTS) - len(HIDDEN[level])
    text = json.dumps(response, default=str)
    assert not [name for name in HIDDEN[level] if f"marker{name}x" in text]


@pytest.mark.parametrize("level", LEVELS)
def test_each_hit_says_what_was_done(search: Search_, level: str) -> None:
    response = search({"query": QUERY, "size": 20}, {"requested": level})
    actions = {hit["_id"]: hit["saferank"]["action"] for hit in response["hits"]["hits"]}
    assert {name for name, action in actions.items() if action == "demoted"} == DEMOTED[level]
    assert set(actions.values()) <= {"shown", "demoted"}
    assert response["saferank"]["level"] == level
    assert response["saferank"]["demoted"] == len(DEMOTED[level])


def test_what_was_done_is_told_by_numbers_too(search: Search_) -> None:
    response = search({"query": QUERY, "size": 20}, {})
    told = {hit["_id"]: hit["saferank"] for hit in response["hits"]["hits"]}
    assert told["medium"] == {
        "action": "demoted",
        "blur": False,
        "rule": "demote_from",
        "factor": pytest.approx(0.1**0.5),
        "probability": 0.5,
        "blur_from": None,
        "demote_from": 0.2,
        "hide_from": 0.8,
        "level": "moderate",
    }
    assert told["allowed"]["rule"] == "override_allow"
    assert told["failed"]["rule"] == "failed"
    assert told["unscored"]["probability"] is None


def test_blurred_hits_stay_where_they_are_and_are_marked(node: Elasticsearch) -> None:
    blurring = load_policy("""\
version: 1
levels:
  off:      {}
  blurred:  {blur_from: 0.5, unscored: blur, failed: show}
  moderate: {blur_from: 0.3, demote_from: 0.2, hide_from: 0.8, unscored: hide}
contexts: [{level: moderate}]
""")
    body = {"query": QUERY, "size": 20}
    answers = {
        level: SafeSearch(node, blurring).at_level(level).search(index=INDEX, body=body)
        for level in blurring.levels
    }
    kept = [(hit["_id"], hit["_score"]) for hit in answers["off"]["hits"]["hits"]]
    assert [(hit["_id"], hit["_score"]) for hit in answers["blurred"]["hits"]["hits"]] == kept
    actions = {
        level: {hit["_id"]: hit["saferank"]["action"] for hit in answer["hits"]["hits"]}
        for level, answer in answers.items()
    }
    blurred = {name for name, action in actions["blurred"].items() if action == "blurred"}
    assert blurred == {"medium", "high", "unscored"}
    assert actions["moderate"]["medium"] == actions["moderate"]["edge"] == "demoted"
    blur = {hit["_id"] for hit in answers["moderate"]["hits"]["hits"] if hit["saferank"]["blur"]}
    assert blur == {"medium"}
    counts = {level: answer["saferank"]["blurred"] for level, answer in answers.items()}
    assert counts == {"off": 0, "blurred": 3, "moderate": 1}
    read = SafeSearch(node, blurring).at_level("blurred").get(index=INDEX, id="high")
    assert read["saferank"]["blur"] is True
    alias = alias_filter(blurring.decision_for("blurred"))
    assert alias == alias_filter(blurring.decision_for("off"))


def test_demoted_documents_come_after_equals(search: Search_) -> None:
    response = search({"size": 20, "query": {"match_all": {}}}, {})
    # At the very threshold the factor is still 1.
    assert names(response) == ["plain", "edge", "allowed", "medium", "unscored", "failed"]
    scores = [hit["_score"] for hit in response["hits"]["hits"]]
    assert scores == pytest.approx([1, 1, 1, 0.1**0.5, 0.1, 0.1])


def test_the_source_is_as_the_application_wants_it(search: Search_) -> None:
    for wanted in (False, ["title"], {"excludes": ["safety"]}):
        response = search({"query": QUERY, "size": 20, "_source": wanted}, {})
        for hit in response["hits"]["hits"]:
            assert "safety" not in hit.get("_source", {})
            assert "fields" not in hit
        actions = {hit["_id"]: hit["saferank"]["action"] for hit in response["hits"]["hits"]}
        assert actions["medium"] == "demoted"
        assert actions["plain"] == "shown"


def test_a_locked_context_ignores_what_the_user_asks_for(search: Search_) -> None:
    response = search({"size": 20}, {"audience": "child", "requested": "off"})
    assert set(names(response)) == {"plain", "allowed"}


def test_pages_together_are_the_whole_ranking(search: Search_) -> None:
    whole = names(search({"query": QUERY, "size": 20}, {}))
    pages = [names(search({"query": QUERY, "from": n, "size": 2}, {})) for n in (0, 2, 4, 6)]
    assert [name for page in pages for name in page] == whole


def test_a_bad_query_is_the_applications_to_handle(safe: SafeSearch) -> None:
    body = {"query": {"match": {"n": "cat"}}}
    with pytest.raises(BadRequestError) as caught:
        safe.search(index=INDEX, body=body)
    assert "number_format_exception" in str(caught.value.body)
    many = safe.msearch(index=INDEX, searches=[{}, body, {}, {"query": QUERY}])["responses"]
    assert (many[0]["status"], many[1]["status"]) == (400, 200)
    assert names(many[1])[0] == "plain"


@pytest.mark.parametrize("level", LEVELS)
def test_count_agrees_with_the_hits(safe: SafeSearch, level: str) -> None:
    context = {"requested": level}
    assert safe.count(index=INDEX, query=QUERY, context=context)["count"] == len(DOCUMENTS) - len(
        HIDDEN[level]
    )
    assert safe.count(index=INDEX, q="title:cat", context=context)["count"] == len(DOCUMENTS) - len(
        HIDDEN[level]
    )


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(
    "body",
    [
        {},
        {"_source": False},
        {"query": QUERY},
        {"sort": ["n"]},
        {"knn": NEIGHBOURS},
        {"knn": NEIGHBOURS, "query": QUERY},
        {"retriever": {"standard": {"query": QUERY}}},
    ],
    ids=["all", "no_source", "query", "sort", "knn", "knn_query", "retriever"],
)
def test_a_scroll_shows_everything_once(safe: SafeSearch, level: str, body: Json) -> None:
    context = {"requested": level}
    response = safe.search(index=INDEX, size=3, scroll="1m", body=body, context=context)
    found: list[str] = []
    while response["hits"]["hits"]:
        assert all(hit["saferank"]["level"] == level for hit in response["hits"]["hits"])
        assert all("fields" not in hit for hit in response["hits"]["hits"])
        found += names(response)
        response = safe.scroll(scroll_id=response["_scroll_id"], scroll="1m", context=context)
    safe.clear_scroll(scroll_id=response["_scroll_id"])
    assert sorted(found) == sorted(DOCUMENTS.keys() - HIDDEN[level])


def test_a_scroll_cannot_be_read_on_at_another_level(safe: SafeSearch) -> None:
    begun = safe.search(index=INDEX, size=1, scroll="1m", context={"requested": "off"})
    with pytest.raises(UnsafeRequest, match="another level"):
        safe.scroll(scroll_id=begun["_scroll_id"], context={"audience": "child"})
    raw = safe.client.search(index=INDEX, size=1, scroll="1m")["_scroll_id"]
    with pytest.raises(UnsafeRequest, match="not begun through a safe client"):
        safe.scroll(scroll_id=raw, context={"requested": "off"})
    safe.clear_scroll(scroll_id=[begun["_scroll_id"]])
    safe.client.clear_scroll(scroll_id=raw)


@pytest.mark.parametrize("secret", ["a long random text", b"a long random text"])
def test_a_scroll_goes_on_in_another_process_by_a_shared_secret(
    node: Elasticsearch, policy: Policy, secret: str | bytes
) -> None:
    here, there, alone = (SafeSearch(node, policy, secret=own) for own in (secret, secret, None))
    begun = here.search(index=INDEX, size=1, scroll="1m")["_scroll_id"]
    with pytest.raises(UnsafeRequest, match="the same 'secret='"):
        alone.scroll(scroll_id=begun)
    with pytest.raises(UnsafeRequest, match="the same 'secret='"):
        alone.clear_scroll(scroll_id=begun)
    page = there.bind({}).scroll(scroll_id=begun, scroll="1m")
    assert len(page["hits"]["hits"]) == 1
    assert there.clear_scroll(scroll_id=page["_scroll_id"])["succeeded"]
    with pytest.raises(ConfigurationError, match="secret"):
        SafeSearch(node, policy, secret=secret[:0])


def test_a_scroll_id_cannot_be_put_together_by_its_holder(safe: SafeSearch) -> None:
    child = {"audience": "child"}
    strict = safe.search(index=INDEX, size=1, scroll="1m", context=child)["_scroll_id"]
    loose = safe.search(index=INDEX, size=1, scroll="1m", context={"requested": "off"})
    raw = loose["_scroll_id"].rpartition("/")[2]
    forged = f"{strict.rpartition('/')[0]}/{raw}"
    with pytest.raises(UnsafeRequest, match="not signed"):
        safe.scroll(scroll_id=forged, context=child)
    safe.clear_scroll(scroll_id=[strict, loose["_scroll_id"]])


def test_all_scrolls_are_ended_as_by_the_client(safe: SafeSearch) -> None:
    for everything in ("_all", ["_all"]):
        begun = safe.search(index=INDEX, size=1, scroll="1m")["_scroll_id"]
        assert safe.clear_scroll(scroll_id=everything)["num_freed"] >= 1
        with pytest.raises(NotFoundError):
            safe.scroll(scroll_id=begun)
    with pytest.raises(BadRequestError):
        safe.client.clear_scroll()
    with pytest.raises(BadRequestError):
        safe.clear_scroll()


def test_the_clients_own_bulk_helpers_work(safe: SafeSearch, elasticsearch_url: str) -> None:
    index = f"{INDEX}-bulk"
    actions = [{"_index": index, "_id": str(number), "title": "_source"} for number in range(5)]
    try:
        assert bulk(safe, actions[:2], refresh=True) == (2, [])
        assert [ok for ok, _ in parallel_bulk(safe, actions[2:3])] == [True]

        async def write() -> tuple[int, Any]:
            async with AsyncElasticsearch(elasticsearch_url) as client:
                return await async_bulk(
                    AsyncSafeSearch(client, safe.policy), actions[3:], refresh=True
                )

        assert asyncio.run(write()) == (2, [])
        assert safe.client.count(index=index)["count"] == 5
        with pytest.raises(AttributeError):
            safe.transport.perform_request("GET", "/")
    finally:
        safe.client.indices.delete(index=index, ignore_unavailable=True)


def test_the_clients_own_scan_helper_works(safe: SafeSearch) -> None:
    found = [hit["_id"] for hit in scan(safe.bind({"audience": "child"}), index=INDEX, size=2)]
    assert sorted(found) == ["allowed", "plain"]


@pytest.mark.parametrize("level", LEVELS)
def test_paging_in_a_point_in_time_shows_everything_once(safe: SafeSearch, level: str) -> None:
    context = {"requested": level}
    pit = safe.open_point_in_time(index=INDEX, keep_alive="1m", context=context)["id"]
    found: list[str] = []
    after: Json = {}
    while True:
        response = safe.search(
            pit={"id": pit}, size=2, query=QUERY, sort=["_score"], context=context, **after
        )
        if not response["hits"]["hits"]:
            break
        found += names(dict(response))
        after = {"search_after": response["hits"]["hits"][-1]["sort"]}
    safe.close_point_in_time(id=pit)
    assert sorted(found) == sorted(DOCUMENTS.keys() - HIDDEN[level])


def test_dsl_iteration_and_count_obey_too(safe: SafeSearch) -> None:
    search = protect(Search().index(INDEX).query("match", title="cat"), safe, {"audience": "child"})
    assert search.count() == 2
    assert sorted(hit.meta.id for hit in search.iterate()) == ["allowed", "plain"]
    assert {hit.meta.saferank.action for hit in search} == {"shown"}


READS: dict[str, Callable[[SafeSearch | Elasticsearch, str], Any]] = {
    "get": lambda client, name: client.get(index=INDEX, id=name),
    "get_source": lambda client, name: client.get_source(index=INDEX, id=name),
    "get_part": lambda client, name: client.get(index=INDEX, id=name, source_includes=["title"]),
    "exists": lambda client, name: client.exists(index=INDEX, id=name),
    "exists_source": lambda client, name: client.exists_source(index=INDEX, id=name),
    "mget": lambda client, name: client.mget(index=INDEX, ids=[name, "nothing"]),
    "mget_docs": lambda client, name: client.mget(docs=[{"_index": INDEX, "_id": name}]),
    "explain": lambda client, name: client.explain(index=INDEX, id=name, query=QUERY),
    "termvectors": lambda client, name: client.termvectors(index=INDEX, id=name, fields=["title"]),
    "mtermvectors": lambda client, name: client.mtermvectors(
        index=INDEX, ids=[name], fields=["title"]
    ),
}


def outcome(read: Callable[[Any, str], Any], client: Any, name: str) -> Any:
    """What a read gives or raises, with the document's own name taken out."""
    try:
        result = read(client, name)
        value = getattr(result, "body", result)
        if not isinstance(value, dict):
            return bool(value)
    except NotFoundError as error:
        value = {"status": error.status_code, "message": error.message, "body": error.body}
    text = json.dumps(value, sort_keys=True).replace(name, "NAME")
    told = json.loads(text)
    told.pop("took", None)
    for part in told.get("docs", ()):
        part.pop("took", None)
    return told


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("kind", READS)
def test_a_hidden_document_reads_like_one_that_is_not_there(
    safe: SafeSearch, node: Elasticsearch, kind: str, level: str
) -> None:
    read = READS[kind]
    client = safe.bind({"requested": level})
    missing = outcome(read, node, "absent")
    for name in DOCUMENTS:
        answer = outcome(read, client, name)
        if name in HIDDEN[level]:
            assert answer == missing, name
        else:
            assert answer != missing, name


def test_a_read_of_a_missing_index_fails_as_ever(safe: SafeSearch) -> None:
    with pytest.raises(NotFoundError, match="index_not_found_exception"):
        safe.get(index="test-safe-client-nowhere", id="1")
    with pytest.raises(NotFoundError, match="index_not_found_exception"):
        safe.search(index="test-safe-client-nowhere")


def test_an_index_without_the_fields_is_refused(safe: SafeSearch) -> None:
    for call in (safe.search, safe.count, safe.open_point_in_time):
        arguments = {"keep_alive": "1m"} if call == safe.open_point_in_time else {}
        with pytest.raises(MappingError, match=f"mapping install {BARE}"):
            call(index=f"{INDEX},{BARE}", **arguments)
    with pytest.raises(MappingError, match=BARE):
        safe.get(index=BARE, id="1")


def test_a_context_can_be_required(node: Elasticsearch, policy: Policy) -> None:
    client = SafeSearch(node, policy, require_context=True)
    with pytest.raises(ContextError, match="a context is required"):
        client.search(index=INDEX)
    assert client.search(index=INDEX, context={})["saferank"]["level"] == "moderate"
    assert client.bind({"audience": "child"}).search(index=INDEX)["saferank"]["level"] == "strict"
    with pytest.raises(ContextError, match="knows no context attribute 'age'"):
        client.search(index=INDEX, context={"age": "7"})


def test_a_write_needs_no_context(node: Elasticsearch, policy: Policy) -> None:
    client = SafeSearch(node, policy, require_context=True)
    client.index(index=INDEX, id="new", document={"title": "newcomer"})
    client.update(index=INDEX, id="new", doc={"safety": {"probability": 0.1}}, refresh=True)
    found = client.bind({}).search(index=INDEX, query={"match": {"title": "newcomer"}})
    assert found["hits"]["total"]["value"] == 1
    page = client.search(index=INDEX, scroll="1m", size=1, context={})
    assert client.clear_scroll(scroll_id=page["_scroll_id"])["succeeded"]
    assert not client.bulk(index=INDEX, operations=[{"delete": {"_id": "new"}}])["errors"]
    assert not node.exists(index=INDEX, id="new")
    for read in (client.get, client.exists, client.get_source):
        with pytest.raises(ContextError, match="a context is required"):
            read(index=INDEX, id="high")


def test_calls_that_are_not_known_to_be_safe_are_refused(safe: SafeSearch) -> None:
    for name in ("rank_eval", "knn_search", "terms_enum", "search_mvt", "field_caps"):
        if hasattr(safe.client, name):
            with pytest.raises(UnsafeRequest, match=name):
                getattr(safe, name)
    with pytest.raises(AttributeError):
        safe.no_such_call  # noqa: B018
    with pytest.raises(UnsafeRequest, match="suggest_text"):
        safe.search(index=INDEX, suggest_text="cat")
    with pytest.raises(UnsafeRequest, match="returns the document"):
        safe.update(index=INDEX, id="high", doc={"n": 3}, source=True)


@pytest.mark.parametrize(
    "arguments",
    [
        {"operations": [{"update": {"_id": "high"}}, {"doc": {"n": 3}, "_source": True}]},
        {"operations": [{"update": {"_id": "high", "_source": True}}, {"doc": {"n": 3}}]},
        {"operations": [b'{"update":{"_id":"high"}}', b'{"doc":{"n":3},"_source":true}']},
        {"body": '{"update":{"_id":"high"}}\n{"doc":{"n":3},"_source":true}\n'},
        {"body": '{"update":{"_id":"high"}}\n{"doc":{"n":3},"_sourc\\u0065":true}\n'},
        {"body": '{"update":{"_id":"high","_source":'},
        {"operations": [{"update": {"_id": "high"}}, {"doc": {"n": 3}}], "source": True},
    ],
)
def test_a_bulk_does_not_return_documents(safe: SafeSearch, arguments: dict[str, Any]) -> None:
    with pytest.raises(UnsafeRequest, match="returns the document"):
        safe.bulk(index=INDEX, **arguments)


def test_writes_and_administration_are_passed_on(safe: SafeSearch) -> None:
    safe.index(index=INDEX, id="new", document={"title": "dog"}, refresh=True)
    assert safe.get(index=INDEX, id="new")["saferank"]["rule"] == "unscored"
    safe.update(index=INDEX, id="new", doc={"safety": {"probability": 0.9}}, refresh=True)
    assert not safe.exists(index=INDEX, id="new")
    assert not safe.bulk(index=INDEX, operations=[{"delete": {"_id": "new"}}])["errors"]
    safe.index(index=INDEX, id="new", document={"title": "dog"})
    safe.delete(index=INDEX, id="new", refresh=True)
    assert safe.indices.exists(index=INDEX)
