from __future__ import annotations

from typing import Any

import pytest

from saferank.ranker.client.arguments import parse_request
from saferank.ranker.client.flow import Knowledge
from saferank.ranker.client.steps import Step, in_query
from saferank.ranker.level.decision import Decision
from saferank.ranker.rewrite.limits import DEFAULT_LIMITS

Json = dict[str, Any]
KNN = {"field": "v", "query_vector": [1], "k": 2, "num_candidates": 5}
WHOLE: Json = {"timed_out": False, "_shards": {"total": 2, "failed": 0}}
NEIGHBOUR = {"_index": "photos", "_id": "1", "_score": 0.5}


@pytest.mark.parametrize(
    "incomplete", [{"timed_out": True}, {"_shards": {"total": 2, "failed": 1}}], ids=str
)
def test_an_answer_says_that_its_neighbours_are_not_all(
    demoting: Decision, incomplete: Json
) -> None:
    body = {"knn": KNN, "sort": ["price"]}
    plan = in_query(parse_request({"body": body}), body, demoting, Knowledge(), DEFAULT_LIMITS)
    first = next(plan)
    assert first.own
    last = plan.send({**WHOLE, **incomplete, "hits": {"hits": [NEIGHBOUR]}})
    assert isinstance(last, Step)
    assert not last.own
    with pytest.raises(StopIteration) as stopped:
        plan.send({**WHOLE, "hits": {"hits": []}})
    assert stopped.value.value == {**WHOLE, **incomplete, "hits": {"hits": []}}
