"""Which queues a policy makes."""

from saferank.ranker import load_policy
from saferank.review.queues import policy_version, review_queues

POLICY = """version: 1
levels:
  off: {}
  moderate: {demote_from: 0.2, hide_from: 0.8, unscored: demote}
  strict: {hide_from: 0.2, unscored: hide}
contexts:
  - {level: moderate}
"""


def test_each_threshold_has_one_queue_however_many_levels_have_it() -> None:
    names = list(review_queues(load_policy(POLICY)))
    assert names == ["reported", "near-0.2", "near-0.8", "audit", "failed"]
    assert "second" in review_queues(load_policy(POLICY), opinions=2)


def test_what_a_second_person_sees_is_blind() -> None:
    queues = review_queues(load_policy(POLICY), opinions=2)
    assert [name for name, queue in queues.items() if queue.blind] == ["second"]


def test_nearness_is_the_distance_on_either_side() -> None:
    near = review_queues(load_policy(POLICY))["near-0.2"]
    assert [search.sort[0]["safety.probability"]["order"] for search in near.searches] == [
        "asc",
        "desc",
    ]
    assert abs(near.searches[0].distance(0.25) - 0.05) < 1e-6
    assert abs(near.searches[1].distance(0.1) - 0.1) < 1e-6


def test_a_threshold_of_nothing_has_nothing_below() -> None:
    policy = load_policy(POLICY.replace("hide_from: 0.2", "hide_from: 0.0"))
    assert len(review_queues(policy)["near-0"].searches) == 1


def test_another_policy_has_another_version() -> None:
    one, other = load_policy(POLICY), load_policy(POLICY.replace("0.8", "0.7"))
    assert policy_version(one) == policy_version(load_policy(POLICY + "\n# a remark\n"))
    assert policy_version(one) != policy_version(other)
