"""The gateway over HTTP, before a real node: what it answers, to whom, and what it refuses."""

from __future__ import annotations

import base64
import gzip
import json
import queue
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from elasticsearch import Elasticsearch
from gateways import POLICY, SAFETY, SHOWN, Served, fill, marker, served

from saferank.gateway.app import Gateway
from saferank.ranker import PolicyFile

LEVELS = tuple(SHOWN)
JSON = {"Content-Type": "application/json"}
NDJSON = {"Content-Type": "application/x-ndjson"}


@pytest.fixture(scope="module")
def index(elasticsearch_url: str) -> Iterator[str]:
    name = "test-gateway"
    with Elasticsearch(elasticsearch_url, request_timeout=60) as client:
        client.indices.delete(index=name, ignore_unavailable=True)
        fill(client, name)
        yield name
        client.indices.delete(index=name, ignore_unavailable=True)


@pytest.fixture(scope="module")
def gateway(
    elasticsearch_url: str, index: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    with served(elasticsearch_url, tmp_path_factory.mktemp("gateway"), index) as made:
        yield made


def ask(
    gateway: Served, caller: str | None, method: str, path: str, body: Any = None, **more: Any
) -> httpx.Response:
    headers = {} if caller is None else gateway.authorization(caller)
    headers |= more.pop("headers", {})
    if isinstance(body, list):
        more["content"] = "".join(json.dumps(line) + "\n" for line in body)
        headers = {**NDJSON, **headers}
    elif body is not None:
        more["content"] = json.dumps(body)
        headers = {**JSON, **headers}
    return httpx.request(method, gateway.url + path, headers=headers, timeout=30, **more)


def ids(answer: Any) -> set[str]:
    return {hit["_id"] for hit in answer["hits"]["hits"]}


def check_no_marker(text: str, level: str) -> None:
    for name in SAFETY.keys() - SHOWN[level]:
        assert marker(name) not in text, name


@pytest.mark.parametrize("level", LEVELS)
def test_each_call_shows_what_the_level_shows(gateway: Served, level: str) -> None:
    shown, index = SHOWN[level], gateway.index
    found = ask(gateway, level, "POST", f"/{index}/_search", {"query": {"match": {"title": "cat"}}})
    assert found.status_code == 200
    assert ids(found.json()) == shown
    assert found.json()["hits"]["total"]["value"] == len(shown)
    assert found.headers["x-elastic-product"] == "Elasticsearch"
    assert found.headers["x-saferank-level"] == level
    check_no_marker(found.text, level)

    several = ask(
        gateway,
        level,
        "POST",
        f"/{index}/_msearch",
        [{}, {"query": {"match_all": {}}}, {"index": index}, {"size": 0, "aggs": AGGS}],
    )
    first, second = several.json()["responses"]
    assert ids(first) == shown
    words = {bucket["key"] for bucket in second["aggregations"]["words"]["buckets"]}
    assert words == {marker(name) for name in shown}

    counted = ask(gateway, level, "GET", f"/{index}/_count", {"query": {"match_all": {}}})
    assert counted.json()["count"] == len(shown)

    for name in SAFETY:
        read = ask(gateway, level, "GET", f"/{index}/_doc/{name}")
        source = ask(gateway, level, "GET", f"/{index}/_source/{name}")
        head = ask(gateway, level, "HEAD", f"/{index}/_doc/{name}")
        status = 200 if name in shown else 404
        assert (read.status_code, source.status_code, head.status_code) == (status,) * 3
        assert (marker(name) in read.text) is (name in shown)

    read = ask(gateway, level, "POST", f"/{index}/_mget", {"ids": list(SAFETY)})
    assert {doc["_id"] for doc in read.json()["docs"] if doc["found"]} == shown


@pytest.mark.parametrize("level", LEVELS)
def test_words_are_suggested_as_far_as_the_level_shows_them(gateway: Served, level: str) -> None:
    term = {"field": "word", "prefix_length": 6, "size": 20}
    suggest = {name: {"text": f"{marker(name)}z", "term": term} for name in SAFETY}
    answer = ask(gateway, level, "POST", f"/{gateway.index}/_search", {"suggest": suggest})
    assert answer.status_code == 200
    found = {
        name: [option["text"] for part in parts for option in part["options"]]
        for name, parts in answer.json()["suggest"].items()
    }
    for name in SAFETY:
        assert (marker(name) in found[name]) is (name in SHOWN[level])
    body = {"suggest": {"a": {"text": "a", "term": {"field": "word", "other": 1}}}}
    refused = ask(gateway, level, "POST", f"/{gateway.index}/_search", body)
    assert refused.status_code == 403


@pytest.mark.parametrize("level", LEVELS)
def test_hybrid_searches_are_made_safe_here_as_in_a_client(gateway: Served, level: str) -> None:
    standard = {"standard": {"query": {"match": {"title": "cat"}}}}
    rescore = {"window_size": 20, "query": {"rescore_query": {"match_all": {}}}}
    rescorer = {"rescorer": {"retriever": standard, "rescore": rescore}}
    path = f"/{gateway.index}/_search"
    found = ask(gateway, level, "POST", path, {"retriever": rescorer, "aggs": AGGS})
    assert ids(found.json()) == SHOWN[level]
    check_no_marker(found.text, level)
    pinned = {"pinned": {"retriever": rescorer, "ids": list(SAFETY)}}
    # The node of the tests does not have it; what is visible was asked before.
    answer = ask(gateway, level, "POST", path, {"retriever": pinned})
    assert answer.status_code == 400
    assert "[pinned]" in answer.text
    rule = {"rule": {"retriever": rescorer, "ruleset_ids": ["a"], "match_criteria": {}}}
    refused = ask(gateway, level, "POST", path, {"retriever": rule})
    assert refused.status_code == 403


AGGS = {"words": {"terms": {"field": "word", "size": 20}}}


def test_a_hidden_document_answers_as_a_missing_one(gateway: Served) -> None:
    hidden = ask(gateway, "strict", "GET", f"/{gateway.index}/_doc/high")
    missing = ask(gateway, "strict", "GET", f"/{gateway.index}/_doc/none")
    assert hidden.status_code == missing.status_code == 404
    assert hidden.json() == {**missing.json(), "_id": "high"}
    assert hidden.headers.keys() == missing.headers.keys()


def test_nobody_gets_the_strictest_level_that_a_rule_gives(gateway: Served) -> None:
    found = ask(gateway, None, "GET", f"/{gateway.index}/_search")
    assert ids(found.json()) == SHOWN["strict"]
    assert found.headers["x-saferank-level"] == "strict"


@pytest.mark.parametrize(
    ("said", "level"),
    [
        ("audience=adult", "moderate"),
        ("audience=adult&requested=off", "off"),
        ("audience=child&requested=off", "strict"),
        ("region=DE&requested=off", "moderate"),
        (None, "strict"),
        ("", "strict"),
    ],
)
def test_a_trusted_caller_says_what_it_knows_of_each_request(
    gateway: Served, said: str | None, level: str
) -> None:
    headers = {} if said is None else {"X-Saferank-Context": said}
    found = ask(gateway, "teller", "GET", f"/{gateway.index}/_search", headers=headers)
    assert ids(found.json()) == SHOWN[level]


@pytest.mark.parametrize("caller", [None, "strict", "moderate"])
def test_others_may_not_say_it(gateway: Served, caller: str | None) -> None:
    headers = {"X-Saferank-Context": "audience=adult&requested=off"}
    found = ask(gateway, caller, "GET", f"/{gateway.index}/_search", headers=headers)
    assert found.status_code == 403
    assert found.json()["error"]["type"] == "security_exception"


@pytest.mark.parametrize(
    "said", ["audience", "audience=adult&audience=child", "colour=red", "audience=%ff"]
)
def test_what_cannot_be_read_as_a_context_is_refused(gateway: Served, said: str) -> None:
    headers = {"X-Saferank-Context": said}
    found = ask(gateway, "teller", "GET", f"/{gateway.index}/_search", headers=headers)
    assert found.status_code in (400, 403)
    assert "hits" not in found.json()


def test_only_who_may_is_told_what_was_done(gateway: Served) -> None:
    path = f"/{gateway.index}/_search"
    plain = ask(gateway, "moderate", "GET", path).json()
    assert "saferank" not in plain
    marks = {hit["_id"]: hit.get("saferank") for hit in plain["hits"]["hits"]}
    # A page must know what to blur; the others have nothing.
    assert marks == {"plain": None, "plain2": None, "unscored": None, "medium": {"blur": True}}
    headers = {"X-Saferank-Context": "audience=adult"}
    told = ask(gateway, "teller", "GET", path, headers=headers).json()
    assert told["saferank"]["level"] == "moderate"
    actions = {hit["_id"]: hit["saferank"]["action"] for hit in told["hits"]["hits"]}
    assert actions["medium"] == "demoted"
    assert actions["plain"] == "shown"


@pytest.mark.parametrize(
    "authorization",
    [
        "ApiKey none",
        "ApiKey " + base64.b64encode(b"off:wrong").decode(),
        "Basic " + base64.b64encode(b"elastic:changeme").decode(),
        "Bearer eyJhbGciOiJub25lIn0.e30.",
        "Negotiate abc",
        "",
    ],
)
def test_a_wrong_proof_is_refused_and_not_taken_for_none(
    gateway: Served, authorization: str
) -> None:
    path = gateway.url + f"/{gateway.index}/_search"
    found = httpx.get(path, headers={"Authorization": authorization})
    assert found.status_code == 401
    assert found.json()["error"]["type"] == "security_exception"
    assert found.headers["www-authenticate"]


def test_a_key_also_works_as_user_and_password(gateway: Served) -> None:
    name, _, secret = base64.b64decode(gateway.keys["off"]).decode().partition(":")
    found = httpx.get(gateway.url + f"/{gateway.index}/_search", auth=(name, secret))
    assert ids(found.json()) == SHOWN["off"]


def test_parameters_of_the_address_hold_over_the_body(gateway: Served) -> None:
    path = f"/{gateway.index}/_search?size=1&from=1&_source=word,title&sort=word:desc&q=word:mark*"
    found = ask(gateway, "off", "POST", path, {"size": 5, "query": {"match_none": {}}}).json()
    (hit,) = found["hits"]["hits"]
    assert set(hit["_source"]) == {"word", "title"}
    assert hit["_id"] == sorted(SHOWN["off"], key=marker)[-2]


def test_a_body_in_the_address_is_taken(gateway: Served) -> None:
    found = ask(
        gateway,
        "strict",
        "GET",
        f"/{gateway.index}/_search",
        params={
            "source": json.dumps({"query": {"match_all": {}}, "size": 1}),
            "source_content_type": "application/json",
        },
    ).json()
    assert len(found["hits"]["hits"]) == 1
    assert found["hits"]["total"]["value"] == len(SHOWN["strict"])


def test_a_packed_body_is_taken_and_a_bomb_is_not(gateway: Served) -> None:
    path = f"{gateway.url}/{gateway.index}/_search"
    headers = {**JSON, "Content-Encoding": "gzip"}
    body = gzip.compress(json.dumps({"size": 1}).encode())
    assert len(httpx.post(path, content=body, headers=headers).json()["hits"]["hits"]) == 1
    bomb = gzip.compress(b" " * 20_000_000)
    assert len(bomb) < 100_000
    answer = httpx.post(path, content=bomb, headers=headers)
    assert answer.status_code == 413
    assert answer.json()["error"]["type"] == "content_too_long_exception"


def test_pages_go_on_by_scroll_cursor_and_point_in_time(gateway: Served) -> None:
    index = gateway.index
    begun = ask(gateway, "moderate", "POST", f"/{index}/_search?scroll=1m&size=3", {}).json()
    again = {"scroll_id": begun["_scroll_id"], "scroll": "1m"}
    rest = ask(gateway, "moderate", "POST", "/_search/scroll", again).json()
    assert ids(begun) | ids(rest) == SHOWN["moderate"]
    assert ask(gateway, "off", "POST", "/_search/scroll", again).status_code == 403
    ended = ask(gateway, "off", "DELETE", "/_search/scroll", {"scroll_id": "_all"})
    assert ended.status_code == 403
    mine = {"scroll_id": [rest["_scroll_id"]]}
    assert ask(gateway, "moderate", "DELETE", "/_search/scroll", mine).json()["succeeded"]

    opened = ask(gateway, "moderate", "POST", f"/{index}/_pit?keep_alive=1m").json()
    seen: set[str] = set()
    after: dict[str, Any] = {}
    for _ in range(3):
        body = {"pit": {"id": opened["id"]}, "size": 2, "sort": [{"word": "asc"}], **after}
        page = ask(gateway, "moderate", "POST", "/_search", body).json()
        seen |= ids(page)
        if page["hits"]["hits"]:
            after = {"search_after": page["hits"]["hits"][-1]["sort"]}
    assert seen == SHOWN["moderate"]
    closed = ask(gateway, "moderate", "DELETE", "/_pit", {"id": opened["id"]}).json()
    assert closed["succeeded"]


def test_a_point_in_time_by_opensearchs_addresses(gateway: Served) -> None:
    address = "/_search/point_in_time"
    opened = ask(gateway, "strict", "POST", f"/{gateway.index}{address}?keep_alive=1m").json()
    pit = {"id": opened["pit_id"], "keep_alive": "1m"}
    page = ask(gateway, "strict", "POST", "/_search", {"pit": pit, "sort": ["word"]})
    assert ids(page.json()) == SHOWN["strict"]
    check_no_marker(page.text, "strict")
    one = {"pit_id": opened["pit_id"], "successful": True}
    mine = {"pit_id": [opened["pit_id"]]}
    assert ask(gateway, "strict", "DELETE", address, mine).json() == {"pits": [one]}
    for others, status in (({}, 400), ({"pit_id": ["a", "b"]}, 400), ({"id": "a"}, 403)):
        assert ask(gateway, "strict", "DELETE", address, others).status_code == status
    assert ask(gateway, "strict", "DELETE", f"{address}/_all").status_code == 403
    assert ask(gateway, "strict", "GET", f"{address}/_all").status_code == 403


@pytest.mark.parametrize("caller", ["off", None])
def test_who_may_not_write_does_not(gateway: Served, caller: str | None) -> None:
    index = gateway.index
    for method, path, body in (
        ("PUT", f"/{index}/_doc/new", {"title": "x"}),
        ("POST", f"/{index}/_doc", {"title": "x"}),
        ("PUT", f"/{index}/_create/new", {"title": "x"}),
        ("POST", f"/{index}/_update/plain", {"doc": {"title": "x"}}),
        ("DELETE", f"/{index}/_doc/plain", None),
        ("POST", "/_bulk", [{"delete": {"_index": index, "_id": "plain"}}]),
        ("POST", f"/{index}/_refresh", None),
        ("POST", f"/{index}/_delete_by_query", {"query": {"match_all": {}}}),
        ("DELETE", f"/{index}", None),
    ):
        answer = ask(gateway, caller, method, path, body)
        assert answer.status_code == 403, path
        assert answer.json()["error"]["type"] == "security_exception"


def test_who_may_write_does(gateway: Served) -> None:
    index = gateway.index
    document = {"title": "new", "safety": {"probability": 0.0}}
    made = ask(gateway, "writer", "PUT", f"/{index}/_doc/a%2Fb?refresh=true", document)
    assert (made.status_code, made.json()["_id"]) == (201, "a/b")
    assert ask(gateway, "writer", "GET", f"/{index}/_doc/a%2Fb").json()["_source"] == document
    changed = ask(gateway, "writer", "POST", f"/{index}/_update/a%2Fb", {"doc": {"title": "newer"}})
    assert changed.json()["result"] == "updated"
    back = ask(
        gateway, "writer", "POST", f"/{index}/_update/high", {"doc": {"a": 1}, "_source": True}
    )
    assert back.status_code == 403
    lines = [
        {"index": {"_index": index, "_id": "c"}},
        document,
        {"delete": {"_index": index, "_id": "c"}},
        {"delete": {"_index": index, "_id": "a/b"}},
    ]
    bulk = ask(gateway, "writer", "POST", "/_bulk?refresh=true", lines).json()
    assert [next(iter(item.values()))["status"] for item in bulk["items"]] == [201, 200, 200]


def test_what_the_engine_refuses_is_told_in_its_words(gateway: Served) -> None:
    path = f"/{gateway.index}/_search"
    wrong = {"query": {"range": {"title": {"gte": 1, "format": 7, "wrong": 1}}}}
    answer = ask(gateway, "strict", "POST", path, wrong)
    assert answer.status_code in (400, 403)
    assert answer.json()["error"]["reason"]
    assert "safety" not in answer.text
    missing = ask(gateway, "strict", "GET", "/test-gateway-none/_search")
    assert missing.status_code == 404
    assert missing.json()["error"]["type"] == "index_not_found_exception"


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("application/vnd.elasticsearch+json; compatible-with=8",
         "application/vnd.elasticsearch+json;compatible-with=8"),
        ("application/json", "application/json"),
        ("text/html, */*;q=0.8", "application/json"),
    ],
)  # fmt: skip
def test_the_content_type_is_the_clients(gateway: Served, accept: str, kind: str) -> None:
    answer = ask(gateway, None, "GET", f"/{gateway.index}/_count", headers={"Accept": accept})
    assert answer.headers["content-type"] == kind


def test_it_says_that_it_lives_and_what_is_behind_it(
    gateway: Served, elasticsearch_url: str
) -> None:
    assert httpx.get(gateway.url + "/_saferank/live").status_code == 200
    assert httpx.get(gateway.url + "/_saferank/ready").status_code == 200
    # The node of the tests lacks this call; what it says is what comes.
    for method in ("GET", "HEAD"):
        through, direct = (httpx.request(method, url) for url in (gateway.url, elasticsearch_url))
        assert through.status_code == direct.status_code
    assert httpx.get(gateway.url + "/_cluster/health").json()["status"] in ("green", "yellow")


def test_an_answer_does_not_wait_for_its_line_in_the_log(
    gateway: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered, written = threading.Event(), queue.Queue[bool]()
    write_down = Gateway._write_down

    def waiting(self: Gateway, *given: Any) -> None:
        written.put(answered.wait(5))
        write_down(self, *given)

    monkeypatch.setattr(Gateway, "_write_down", waiting)
    assert ask(gateway, "strict", "GET", f"/{gateway.index}/_count").status_code == 200
    answered.set()
    assert written.get(timeout=10)


def test_without_elasticsearch_it_says_so(index: str, tmp_path: Path) -> None:
    with served("http://127.0.0.1:9", tmp_path, index) as gateway:
        answer = ask(gateway, None, "GET", f"/{index}/_search")
        assert answer.status_code == 502
        assert answer.json()["error"]["type"] == "connect_transport_exception"
        assert httpx.get(gateway.url + "/_saferank/live").status_code == 200
        assert httpx.get(gateway.url + "/_saferank/ready").status_code == 503


@pytest.fixture
def small(elasticsearch_url: str, index: str, tmp_path: Path) -> Iterator[Served]:
    """A gateway that has little patience."""
    with served(
        elasticsearch_url,
        tmp_path,
        index,
        read_timeout=0.5,
        write_timeout=0.5,
        idle_timeout=1,
        max_body=100_000,
    ) as made:
        yield made


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"POST /x/_search HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n", b"413"),
        (b"POST /x/_search HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", b"413"),
        (b"POST /_sql HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n", b"403"),
    ],
)
def test_a_huge_body_is_cut_off_and_harms_nobody(small: Served, sent: bytes, status: bytes) -> None:
    with socket.create_connection(("127.0.0.1", small.port), timeout=10) as connection:
        connection.sendall(sent)
        part = b"186a0\r\n" + b"a" * 100_000 + b"\r\n" if b"chunked" in sent else b"a" * 100_000
        taken = 0
        with suppress(ConnectionError):
            while taken < 10_000:  # A gigabyte, if nobody stopped it.
                connection.sendall(part)
                taken += 1
        assert taken < 1_000
    with socket.create_connection(("127.0.0.1", small.port), timeout=10) as connection:
        connection.sendall(sent + (part + part if b"chunked" in sent else b""))
        assert connection.recv(65536).startswith(b"HTTP/1.1 " + status)
    assert ask(small, "strict", "GET", f"/{small.index}/_search").status_code == 200


HALF = b"POST /x/_search HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        pytest.param(b"", b"", id="nothing"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: x\r\nX-A: ", b"", id="half a head"),
        pytest.param(HALF + b"Content-Length: 9\r\n\r\n{", b"408", id="half a body"),
        pytest.param(b"GET /_saferank/live HTTP/1.1\r\nHost: x\r\n\r\n", b"200", id="one request"),
    ],
)
def test_who_does_not_go_on_is_hung_up_on(small: Served, sent: bytes, status: bytes) -> None:
    with socket.create_connection(("127.0.0.1", small.port), timeout=10) as connection:
        connection.sendall(sent)
        received = b""
        with suppress(ConnectionError):
            while part := connection.recv(65536):
                received += part
    assert received[9:12] == status


def send_for_ever(connection: socket.socket, one: bytes) -> None:
    for _ in range(100_000):
        connection.sendall(one)


def test_who_reads_nothing_is_hung_up_on(small: Served) -> None:
    body = json.dumps({"size": 20, "query": {"match_all": {}}}).encode()
    one = (
        f"POST /{small.index}/_search HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        connection.settimeout(10)
        connection.connect(("127.0.0.1", small.port))
        with pytest.raises(ConnectionError):
            send_for_ever(connection, one)
    assert ask(small, "strict", "GET", f"/{small.index}/_search").status_code == 200


def test_one_caller_alone_does_not_take_all_places(
    elasticsearch_url: str, index: str, tmp_path: Path
) -> None:
    with (
        served(
            elasticsearch_url, tmp_path, index, concurrency=1, waiting=3, per_caller=2
        ) as gateway,
        ThreadPoolExecutor(12) as pool,
    ):
        path = f"/{index}/_search"
        asked = [pool.submit(ask, gateway, "strict", "GET", path) for _ in range(60)]
        answers = [each.result() for each in asked]
        refused = [answer for answer in answers if answer.status_code == 429]
        assert {answer.status_code for answer in answers} == {200, 429}
        assert {answer.json()["error"]["type"] for answer in refused} == {
            "es_rejected_execution_exception"
        }
        assert ask(gateway, "off", "GET", path).status_code == 200


def test_a_changed_policy_holds_and_a_broken_one_does_not(
    elasticsearch_url: str, index: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("saferank.ranker.policy.file._SETTLED", 0.0)
    path = tmp_path / "policy.yaml"
    path.write_text(POLICY)

    def outdated() -> float:
        return next(iter(made.gateway.figures.outdated.collect())).samples[0].value

    with served(elasticsearch_url, tmp_path, index, policy=PolicyFile(path)) as made:
        assert ids(ask(made, "strict", "GET", f"/{index}/_search").json()) == SHOWN["strict"]
        assert outdated() == 0
        # A child gets what adults get, and the strictest level is another.
        changed = POLICY.replace("level: strict, locked: true", "level: moderate")
        for text, is_broken in ((changed, 0), (changed.replace("0.8", "8"), 1)):
            path.write_text(text)
            for caller in ("strict", None):
                found = ask(made, caller, "GET", f"/{index}/_search")
                assert found.headers["x-saferank-level"] == "moderate"
                assert ids(found.json()) == SHOWN["moderate"]
            assert outdated() == is_broken
