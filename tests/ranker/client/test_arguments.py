from __future__ import annotations

from typing import Any

import pytest

from saferank.errors import UnsafeRequest
from saferank.ranker.client import keywords
from saferank.ranker.client.arguments import parse_request, with_body
from saferank.ranker.client.indices import Target

CASES: list[tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = [
    ({"index": "a", "size": 3, "from_": 6}, {"size": 3, "from": 6}, {"index": "a"}),
    ({"body": {"size": 3, "from": 0}}, {"size": 3, "from": 0}, {}),
    ({"body": {"query": {}}, "size": 3}, {"query": {}, "size": 3}, {}),
    ({"source": ["a"], "routing": "x"}, {"_source": ["a"]}, {"routing": "x"}),
    ({"source": False, "query": None}, {"_source": False}, {}),
    (
        {"q": "cat", "df": "title", "default_operator": "AND"},
        {
            "query": {
                "query_string": {
                    "query": "cat",
                    "default_field": "title",
                    "default_operator": "AND",
                }
            }
        },
        {},
    ),
    ({"source_includes": "a,b"}, {"_source": {"includes": ["a", "b"]}}, {}),
    ({"_source_excludes": ["a"]}, {"_source": {"excludes": ["a"]}}, {}),
    ({"sort": "price:desc,name"}, {"sort": [{"price": "desc"}, "name"]}, {}),
    ({"sort": ["a:asc", {"b": "desc"}]}, {"sort": [{"a": "asc"}, {"b": "desc"}]}, {}),
    ({"sort": {"a": "asc"}}, {"sort": {"a": "asc"}}, {}),
    ({"scroll": "1m", "track_total_hits": False}, {"track_total_hits": False}, {"scroll": "1m"}),
]


@pytest.mark.parametrize(("arguments", "body", "parameters"), CASES)
def test_what_decides_about_documents_is_in_the_body(
    arguments: dict[str, Any], body: dict[str, Any], parameters: dict[str, Any]
) -> None:
    request = parse_request(arguments)
    assert (request.body, request.parameters) == (body, parameters)


@pytest.mark.parametrize("key", ["suggest_text", "suggest_field", "project_routing", "new_option"])
def test_an_unknown_parameter_is_refused(key: str) -> None:
    with pytest.raises(UnsafeRequest, match=key):
        parse_request({key: "x"})


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("contxt", "context"),
        ("qery", "query"),
        ("pre_filter_shardsize", "pre_filter_shard_size"),
    ],
)
def test_a_misspelt_parameter_is_told_what_it_may_be(key: str, meant: str) -> None:
    with pytest.raises(UnsafeRequest) as caught:
        parse_request({key: "x"})
    assert str(caught.value).endswith(f"; perhaps {meant!r} was meant")
    with pytest.raises(UnsafeRequest, match=r"is not known to be safe$"):
        parse_request({key * 1_000: "x"})


def test_a_body_as_text_is_refused() -> None:
    with pytest.raises(UnsafeRequest, match="body"):
        parse_request({"body": '{"query": {}}'})


def test_nothing_is_given_twice() -> None:
    with pytest.raises(TypeError, match="'size' is given twice"):
        parse_request({"body": {"size": 3}, "size": 4})


@pytest.mark.parametrize(("index", "text"), [("a,b", "a,b"), (["a", "b"], "a,b"), (None, None)])
def test_an_index_expression_is_one_text(index: Any, text: str | None) -> None:
    assert parse_request({"index": index}).index == text


@pytest.mark.parametrize(
    ("arguments", "target"),
    [
        ({"index": ["a", "b"]}, Target("a,b")),
        ({"index": "a*", "expand_wildcards": ["open", "hidden"]}, Target("a*", "open,hidden")),
        ({"index": ""}, Target()),
        ({}, Target()),
        ({"pit": {"id": "p", "keep_alive": "1m"}}, Target(point_in_time="p")),
        ({"body": {"pit": {"id": "p"}}}, Target(point_in_time="p")),
    ],
)
def test_what_a_request_reads(arguments: dict[str, Any], target: Target) -> None:
    assert parse_request(arguments).target == target


def test_the_arguments_stay_as_they_are() -> None:
    arguments = {"body": {"query": {"match_all": {}}}, "size": 3}
    parse_request(arguments)
    assert arguments == {"body": {"query": {"match_all": {}}}, "size": 3}


@pytest.mark.parametrize(
    ("call", "key", "known"),
    [
        (keywords.Mget, "id", {"ids": ["1"], "docs": [{"_id": "2"}]}),
        (keywords.Mtermvectors, "id", {"ids": ["1"]}),
        (keywords.Termvectors, "field", {"fields": ["title"], "filter": {}, "offsets": False}),
        (keywords.ClearScroll, "scroll_ids", {"scroll_id": ["a"]}),
        (keywords.Scroll, "size", {"scroll": "1m", "scroll_id": "a"}),
        (keywords.SearchTemplate, "query", {"source": {}, "params": {}, "explain": True}),
    ],
)
def test_a_key_of_a_body_that_a_call_does_not_know_is_refused(
    call: Any, key: str, known: dict[str, Any]
) -> None:
    assert with_body({"index": "a", "body": known}, call) == {"index": "a", **known}
    with pytest.raises(UnsafeRequest, match=f"'{key}' was refused"):
        with_body({"index": "a", "body": {**known, key: 1}}, call)


@pytest.mark.parametrize("key", ["filter_path", "error_trace", "human", "pretty"])
def test_how_an_answer_is_written_is_no_part_of_a_body(key: str) -> None:
    with pytest.raises(UnsafeRequest, match=key):
        with_body({"index": "a", "body": {"ids": ["1"], key: "docs._source"}})
    assert with_body({"body": {"ids": ["1"]}, key: True}) == {"ids": ["1"], key: True}
