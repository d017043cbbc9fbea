from __future__ import annotations

from typing import Any

import pytest

from saferank.errors import UnsafeRequest
from saferank.ranker.level.decision import Decision
from saferank.ranker.rewrite.query import without_hidden
from saferank.ranker.rewrite.ranking import (
    Order,
    demoting,
    multiplying,
    order_of,
    paged,
    paged_demoted,
    ranked,
    safe_collapse,
    safe_rescore,
)
from saferank.ranker.rewrite.relevance import LEAST, LEAST_RESCORED, NEXT_TO_NOTHING, floored

MATCH = {"match": {"title": "cat"}}
LOOKUP = {"terms": {"tag": {"index": "x", "id": "1", "path": "tags"}}}
BAND = {"_score": "desc"}


@pytest.fixture(scope="module")
def demoted(demoting: Decision) -> Decision:
    return demoting


@pytest.mark.parametrize(
    ("sort", "order"),
    [
        ([], Order.RELEVANCE),
        ("_score", Order.RELEVANCE),
        (["_score", "price"], Order.RELEVANCE),
        ([{"_score": {"order": "desc"}}], Order.RELEVANCE),
        ({"_score": "DESC"}, Order.RELEVANCE),
        ({"_score": {}}, Order.RELEVANCE),
        ({"_score": "asc"}, Order.FIELD),
        ({"_score": {"order": "asc"}}, Order.FIELD),
        ("price", Order.FIELD),
        ([{"price": "desc"}, "_score"], Order.FIELD),
        ("_doc", Order.NOTHING),
        ([{"_doc": "asc"}], Order.NOTHING),
        (["_shard_doc"], Order.NOTHING),
        ([{"_geo_distance": {"place": [0, 0]}}], Order.FIELD),
    ],
)
def test_what_a_sort_orders_by(hiding: Decision, sort: Any, order: Order) -> None:
    assert order_of(sort, "sort", hiding) is order


@pytest.mark.parametrize(
    ("sort", "key"),
    [
        (3, "sort"),
        ([["price"]], "sort"),
        ({"n": {"nested": {"path": "p", "filter": LOOKUP}}}, "sort.n.nested.filter.terms.tag"),
        (
            {"n": {"nested": {"path": "p", "nested": {"filter": LOOKUP}}}},
            "sort.n.nested.nested.filter.terms.tag",
        ),
    ],
)
def test_sorts_that_are_refused(hiding: Decision, sort: Any, key: str) -> None:
    with pytest.raises(UnsafeRequest) as caught:
        order_of(sort, "sort", hiding)
    assert caught.value.key == key


def test_relevance_is_multiplied(demoted: Decision) -> None:
    body = {"size": 3, "sort": ["_score", "price"]}
    assert ranked(body, MATCH, demoted) == {
        "size": 3,
        "sort": ["_score", "price"],
        "query": {
            "function_score": {
                "query": without_hidden(MATCH, demoted),
                "functions": demoted.functions,
                "score_mode": "min",
            }
        },
    }


def test_a_bound_on_the_relevance_goes_inside(demoted: Decision) -> None:
    bounded = {"function_score": {"query": without_hidden(MATCH, demoted), "min_score": 0}}
    found = ranked({"min_score": 0}, MATCH, demoted)
    assert found == {"query": {"function_score": {"query": bounded, **demoted.scoring}}}
    found = ranked({"min_score": 0, "sort": ["price"]}, MATCH, demoted)
    assert "min_score" not in found
    assert found["query"]["function_score"]["query"] == {"constant_score": {"filter": bounded}}


def test_a_relevance_of_zero_counts_as_the_least(demoted: Decision) -> None:
    filtered = {"bool": {"filter": MATCH}}
    for body, query in (({}, filtered), ({"indices_boost": [{"x": 0}]}, MATCH)):
        visible = without_hidden(floored(query), demoted)
        found = ranked(body, query, demoted)
        assert found["query"] == {"function_score": {"query": visible, **demoted.scoring}}
    assert "weight" not in str(ranked({"sort": "_doc"}, filtered, demoted))


def test_a_boost_of_zero_leaves_the_factor_its_say(demoted: Decision) -> None:
    found = ranked({"indices_boost": [{"x": 0, "y": 2}, "odd"]}, MATCH, demoted)
    assert found["indices_boost"] == [{"x": NEXT_TO_NOTHING, "y": 2}, "odd"]
    assert NEXT_TO_NOTHING * 1e6 < LEAST


def test_a_bound_on_boosted_relevance_cannot_be_kept(demoted: Decision) -> None:
    body = {"min_score": 1, "indices_boost": [{"x": 2}]}
    for sort in ({}, {"sort": ["price"]}):
        with pytest.raises(UnsafeRequest) as caught:
            ranked({**body, **sort}, MATCH, demoted)
        assert caught.value.key == "min_score"


def test_reading_everything_is_not_demoted(demoted: Decision) -> None:
    body = {"sort": "_doc", "min_score": 1}
    assert ranked(body, MATCH, demoted) == {**body, "query": without_hidden(MATCH, demoted)}


@pytest.mark.parametrize("sort", ["price", ["price"], {"price": "desc"}])
def test_a_sort_by_fields_gets_the_band_first(demoted: Decision, sort: Any) -> None:
    found = ranked({"sort": sort, "indices_boost": [{"x": 2}]}, MATCH, demoted)
    keys = sort if isinstance(sort, list) else [sort]
    assert found == {
        "sort": [BAND, *keys],
        "query": {
            "function_score": {
                "query": {"constant_score": {"filter": without_hidden(MATCH, demoted)}},
                "functions": [{"filter": demoted.demoted, "weight": 0.5}],
            }
        },
    }


@pytest.mark.parametrize("sort", [["price", "_score"], {"_score": "asc"}, [{"a": "asc", **BAND}]])
def test_the_score_cannot_be_band_and_sort_key_at_once(demoted: Decision, sort: Any) -> None:
    with pytest.raises(UnsafeRequest) as caught:
        ranked({"sort": sort}, MATCH, demoted, "retriever.standard.")
    assert caught.value.key == "retriever.standard.sort"


@pytest.mark.parametrize(
    ("values", "pit", "fits"),
    [
        ([1, 5], False, True),
        ([5], False, False),
        ([1, 5, 7], False, False),
        ([5], True, False),
        ([1, 5], True, True),
        ([1, 5, 7], True, True),
        ([1, 5, 7, 8], True, False),
    ],
)
def test_a_cursor_must_come_from_the_same_kind_of_page(
    demoted: Decision, values: list[int], pit: bool, fits: bool
) -> None:
    body = {"sort": ["price"], "search_after": values, **({"pit": {"id": "x"}} if pit else {})}
    if fits:
        assert ranked(body, MATCH, demoted)["search_after"] == values
        return
    with pytest.raises(UnsafeRequest, match="2 values are expected") as caught:
        ranked(body, MATCH, demoted)
    assert caught.value.key == "search_after"


def test_a_cursor_into_relevance_is_the_applications_own(demoted: Decision) -> None:
    body = {"sort": ["_score", "price"], "search_after": [1, 2]}
    assert ranked(body, MATCH, demoted)["search_after"] == [1, 2]


def test_a_score_of_zero_is_no_cursor(demoted: Decision) -> None:
    for cursor in ([0, 2], [0.0, 2], 0):
        with pytest.raises(UnsafeRequest, match="'sort' unchanged") as caught:
            ranked({"sort": ["_score", "price"], "search_after": cursor}, MATCH, demoted)
        assert caught.value.key == "search_after"


def test_groups_under_a_sort_by_fields(demoted: Decision) -> None:
    inner = {"name": "a", "sort": ["price"]}
    for given, expected in (
        ({"field": "g"}, {"field": "g"}),
        (
            {"field": "g", "inner_hits": inner},
            {"field": "g", "inner_hits": {"name": "a", "sort": [BAND, "price"]}},
        ),
        (
            {"field": "g", "inner_hits": [inner]},
            {"field": "g", "inner_hits": [{"name": "a", "sort": [BAND, "price"]}]},
        ),
    ):
        found = ranked({"sort": ["price"], "collapse": given}, MATCH, demoted)
        assert found["collapse"] == expected
        assert ranked({"collapse": given}, MATCH, demoted)["collapse"] == given
    for sort in ({}, {"sort": "_score"}):
        collapse = {"field": "g", "inner_hits": {"name": "a", **sort}}
        with pytest.raises(UnsafeRequest) as caught:
            ranked({"sort": ["price"], "collapse": collapse}, MATCH, demoted)
        assert caught.value.key == "collapse.inner_hits.sort"


@pytest.mark.parametrize(
    ("collapse", "key"),
    [
        ("g", "collapse"),
        ({"inner_hits": ["x"]}, "collapse.inner_hits"),
        ({"inner_hits": {"sort": 3}}, "collapse.inner_hits.sort"),
        (
            {"inner_hits": {"highlight": {"highlight_query": LOOKUP}}},
            "collapse.inner_hits.highlight.highlight_query.terms.tag",
        ),
    ],
)
def test_groups_that_are_refused(hiding: Decision, collapse: Any, key: str) -> None:
    with pytest.raises(UnsafeRequest) as caught:
        safe_collapse(collapse, "collapse", hiding)
    assert caught.value.key == key


def rescorer(**spec: Any) -> dict[str, Any]:
    return {"window_size": 20, "query": {"rescore_query": MATCH, **spec}}


@pytest.mark.parametrize("mode", [None, "total", "avg", "max", "min", "MIN"])
def test_a_rescore_query_is_demoted_like_the_query(demoted: Decision, mode: str | None) -> None:
    spec = {} if mode is None else {"score_mode": mode}
    found = safe_rescore(rescorer(**spec), "rescore", demoted, demote=True)
    assert found == [
        {"window_size": 20, "query": {**spec, "rescore_query": demoting(MATCH, demoted)}}
    ]


def test_a_product_needs_one_demoted_side_only(demoted: Decision) -> None:
    given = rescorer(score_mode="Multiply")
    assert safe_rescore([given], "rescore", demoted, demote=True) == [given]


def test_rescorers_stay_as_they_are_where_nothing_is_demoted(demoted: Decision) -> None:
    given = [rescorer(), rescorer(score_mode="avg")]
    assert safe_rescore(given, "rescore", demoted, demote=False) == given


@pytest.mark.parametrize(
    ("rescore", "key"),
    [
        ({"learning_to_rank": {"model_id": "x"}}, "rescore"),
        ([rescorer(), {"script": {}}], "rescore.1"),
        ({"query": "x"}, "rescore"),
        ("x", "rescore"),
        ({**rescorer(), "other": 1}, "rescore.other"),
        ({"query": {"rescore_query": LOOKUP}}, "rescore.query.rescore_query.terms.tag"),
        ({"query": {}}, "rescore.query.rescore_query"),
    ],
)
def test_rescorers_that_are_refused(hiding: Decision, rescore: Any, key: str) -> None:
    with pytest.raises(UnsafeRequest) as caught:
        safe_rescore(rescore, "rescore", hiding, demote=True)
    assert caught.value.key == key


LOOK_AT_ALL = {"window_size": 10_000, "query": {"rescore_query": {"match_none": {}}}}
LEAST_OF_ALL = {"match_all": {"boost": LEAST}}
LEAST_OF_RESCORED = {"match_all": {"boost": LEAST_RESCORED}}


@pytest.mark.parametrize(
    ("spec", "raises"),
    [
        ({}, True),
        ({"score_mode": "max", "query_weight": 0, "rescore_query_weight": 0.5}, True),
        ({"query_weight": "1"}, True),
        ({"score_mode": "avg"}, False),
        ({"score_mode": "min"}, False),
        ({"score_mode": "multiply"}, False),
        ({"query_weight": -1}, False),
        ({"rescore_query_weight": -0.1}, False),
        ({"query_weight": "x"}, False),
        ({"query_weight": None}, False),
    ],
)
def test_rescorers_that_lower_scores_look_at_everything(spec: dict[str, Any], raises: bool) -> None:
    one = [rescorer(**spec)]
    assert paged(one, 10_000) == (one if raises else [*one, LOOK_AT_ALL])
    both = [rescorer(), *one]
    assert paged(both, 10_000) == (both if raises else [*both, LOOK_AT_ALL])


@pytest.mark.parametrize(
    ("spec", "window"),
    [
        ({}, None),
        ({"score_mode": "max"}, None),
        ({"query_weight": 0}, 20),
        ({"score_mode": "min"}, 10_000),
        ({"score_mode": "multiply"}, 10_000),
        ({"score_mode": "avg"}, 10_000),
    ],
)
def test_after_rescorers_of_demoted_scores_none_is_zero(
    demoted: Decision, spec: dict[str, Any], window: int | None
) -> None:
    given = [rescorer(**spec)]
    lowest = {"function_score": {"query": LEAST_OF_RESCORED, **demoted.scoring}}
    query = {"rescore_query": lowest, "score_mode": "max"}
    last = [] if window is None else [{"window_size": window, "query": query}]
    assert paged_demoted(given, demoted, 10, 10_000, "rescore") == [*given, *last]


@pytest.mark.parametrize(("page_end", "window"), [(10, 20), (500, 500), (20_000, 10_000)])
def test_a_page_behind_the_window_has_no_scores_of_zero_either(
    demoted: Decision, page_end: int, window: int
) -> None:
    given = [rescorer(query_weight=0)]
    assert paged_demoted(given, demoted, page_end, 10_000, "rescore")[-1]["window_size"] == window


@pytest.mark.parametrize("name", ["query_weight", "rescore_query_weight"])
@pytest.mark.parametrize("value", [-0.5, "x", None])
def test_scores_below_zero_cannot_be_demoted(demoted: Decision, name: str, value: Any) -> None:
    given = [rescorer(), rescorer(**{name: value})]
    for demote in (
        lambda: paged_demoted(given, demoted, 10, 10_000, "rescore"),
        lambda: multiplying(given, demoted, 10, "rescore"),
    ):
        with pytest.raises(UnsafeRequest, match="weight of 0 or more") as caught:
            demote()
        assert caught.value.key == f"rescore.query.{name}"


def test_a_last_rescorer_multiplies(demoted: Decision, hiding: Decision) -> None:
    given = [rescorer()]
    query = {"rescore_query": demoting({"match_all": {}}, demoted), "score_mode": "multiply"}
    assert multiplying(given, demoted, 50, "rescore") == [
        *given,
        {"window_size": 50, "query": {"rescore_query": LEAST_OF_ALL, "score_mode": "max"}},
        {"window_size": 50, "query": query},
    ]
    assert demoting(MATCH, hiding) is MATCH
