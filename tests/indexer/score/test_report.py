from saferank.indexer.score.report import Outcome
from saferank.mappings import Status


def test_every_status_that_is_stored_is_an_outcome() -> None:
    assert {status.value for status in Status} <= {outcome.value for outcome in Outcome}


def test_what_another_task_counts_is_not_settled_here() -> None:
    assert [outcome for outcome in Outcome if not outcome.is_settled] == ["skipped", "waiting"]
