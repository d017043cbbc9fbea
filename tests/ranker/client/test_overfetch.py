"""The proofs, held against a simulated engine that ranks everything."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from saferank.ranker.bodies import Page
from saferank.ranker.client.overfetch import (
    fetch_ranking,
    fetch_request,
    window_proves,
    window_request,
)
from saferank.ranker.client.ways import Attempt, Way, depth_for
from saferank.ranker.rewrite.relevance import LEAST

Corpus = tuple[NDArray[np.float32], NDArray[np.float64]]


@st.composite
def corpora(draw: st.DrawFn) -> Corpus:
    """Plain scores and factors of more documents than are looked at.

    Few different values, so that ties and near ties are common; zero is a score, too.
    """
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    values = draw(st.sampled_from([[1.0, 2.0], [0.0, 1.0], [0.5, 1.0, 1.0000001, 2.0]]))
    shares = draw(st.sampled_from([[1.0, 0.5], [1.0, 1.0, 0.99999994, 0.5], [0.9, 0.5, 0.25]]))
    size = draw(st.integers(0, 120))
    return random.choice(values, size).astype(np.float32), random.choice(shares, size)


pages = st.builds(
    lambda start, size: Page(start, start + size), st.integers(0, 12), st.integers(1, 8)
)


def demoted_scores(plain: NDArray[np.float64], factor: NDArray[np.float64]) -> NDArray[np.float32]:
    """As the engine makes them: no relevance is below ``LEAST``."""
    return (np.maximum(plain, LEAST) * factor).astype(np.float32)


def ranking(values: NDArray[np.float32]) -> list[int]:
    """Documents best first; of equal ones the first, as the engine has it."""
    return np.argsort(-values, kind="stable").tolist()


@settings(max_examples=500)
@given(corpora(), pages, st.integers(0, 4))
def test_a_proved_window_is_the_page(corpus: Corpus, page: Page, spare: int) -> None:
    plain, factor = corpus
    demoted = demoted_scores(plain.astype(np.float64), factor)
    request = window_request(
        {}, {"match_all": {}}, page, Attempt(Way.WINDOW, depth_for(page), spare)
    )
    window = sorted(ranking(plain)[: request["rescore"][0]["window_size"]])
    order = sorted(window, key=lambda number: (-demoted[number], number))
    returned = order[page.start : page.start + request["size"]]
    proved = window_proves(demoted[returned].tolist(), factor[returned].tolist(), page, spare)
    if proved:
        assert returned[: page.size] == ranking(demoted)[page.start : page.end]


@settings(max_examples=500)
@given(corpora(), pages, st.integers(0, 30))
def test_a_proved_fetch_is_the_page(corpus: Corpus, page: Page, more: int) -> None:
    plain, factor = corpus
    demoted = demoted_scores(plain.astype(np.float64), factor)
    depth = page.end + more
    request = fetch_request({"from": page.start}, depth)
    fetched = ranking(plain)[request["from"] : request["size"]]
    found = fetch_ranking(plain[fetched].tolist(), factor[fetched].tolist(), page, depth)
    if found is not None:
        chosen = [fetched[position] for position in found.order]
        assert chosen[page.start :] == ranking(demoted)[page.start : page.end]
        reported = np.where(plain == 0, np.float32(0), demoted)
        assert np.array(found.scores, dtype=np.float32).tolist() == reported[chosen].tolist()


def test_a_usual_page_is_proved_both_ways() -> None:
    page = Page(0, 20)
    depth = depth_for(page)
    random = np.random.default_rng(3)
    plain = np.sort(random.random(1000).astype(np.float32))[::-1] + np.float32(1)
    factor = np.where(random.random(1000) < 0.2, 0.3, 1.0)
    demoted = plain * factor
    order = ranking(demoted[:depth])[: page.size + 2]
    assert window_proves(demoted[order].tolist(), factor[order].tolist(), page, 2)
    assert fetch_ranking(plain[:depth].tolist(), factor[:depth].tolist(), page, depth)


def test_where_all_are_demoted_nothing_is_proved() -> None:
    page = Page(0, 20)
    plain = np.linspace(2, 1, 1000).tolist()
    assert not window_proves([score * 0.5 for score in plain[:22]], [0.5] * 22, page, 2)
    assert fetch_ranking(plain[:40], [0.5] * 40, page, 40) is None


def test_a_hit_demoted_to_the_lowest_score_fetched_could_have_others_before_it() -> None:
    page = Page(0, 2)
    assert fetch_ranking([4.0, 2.0, 2.0], [0.5, 1.0, 1.0], page, 3) is None
    assert fetch_ranking([4.0, 2.0, 1.5], [0.75, 1.0, 1.0], page, 3) is not None
    assert fetch_ranking([3.0, 2.0, 2.0], [1.0, 1.0, 0.5], page, 3) is not None


def test_documents_without_relevance_are_in_the_order_of_their_factors() -> None:
    shown, demoted = 1.0, 0.5
    page = Page(0, 2)
    factors = [demoted, shown, shown, shown]
    found = fetch_ranking([0.0] * 4, factors, page, 4)
    assert found is not None
    assert (found.order, found.scores) == ([1, 2], [0.0, 0.0])
    # Others without relevance, further down, may be shown.
    assert fetch_ranking([0.0] * 3, [demoted, shown, demoted], page, 3) is None
    assert window_proves([LEAST, LEAST, LEAST], [shown] * 3, page, 1)
    assert not window_proves([LEAST, LEAST / 2, LEAST / 2], [shown, demoted, demoted], page, 1)


def test_all_that_was_found_needs_no_proof() -> None:
    page = Page(0, 20)
    assert window_proves([0.5, 0.4], [0.5, 0.4], page, 2)
    found = fetch_ranking([3.0, 2.0], [0.5, 1.0], page, 40)
    assert found is not None
    assert (found.order, found.scores) == ([1, 0], [2.0, 1.5])


def test_scores_are_as_short_as_the_engine_writes_them() -> None:
    found = fetch_ranking([0.7, 0.3], [0.1, 1.0], Page(0, 2), 4)
    assert found is not None
    assert found.scores == [0.3, 0.07]
