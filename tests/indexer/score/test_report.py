from saferank.indexer.keys import DocumentKey
from saferank.indexer.score.report import Outcome, Report
from saferank.mappings import Status


def test_every_status_that_is_stored_is_an_outcome() -> None:
    assert {status.value for status in Status} <= {outcome.value for outcome in Outcome}


def test_what_another_task_counts_is_not_settled_here() -> None:
    assert [outcome for outcome in Outcome if not outcome.is_settled] == ["skipped", "waiting"]


def test_the_longest_wait_that_was_asked_for_counts() -> None:
    total, other = Report(), Report()
    total.add_waiting([DocumentKey("1")])
    assert total.wait is None
    total.add_waiting([DocumentKey("2")], 7.0)
    other.add_waiting([DocumentKey("3")], 5.0)
    total.add(other)
    assert (total.wait, total.counts[Outcome.WAITING], len(total.waiting)) == (7.0, 3, 3)
