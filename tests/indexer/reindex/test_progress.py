"""What the record of a reindex keeps."""

from saferank.indexer.jobs.records import Job, Pace
from saferank.indexer.jobs.selection import Selection
from saferank.indexer.reindex.progress import Progress


def job(progress: dict[str, object]) -> Job:
    return Job(
        index="old",
        field="safety",
        model="m",
        selection=Selection(),
        pace=Pace(chunk_size=64, in_flight=64),
        into="new",
        progress=progress,
    )


def test_what_is_stored_is_read_back() -> None:
    progress = Progress(
        aliases=["products"],
        rollback=True,
        definition={"mappings": {"dynamic": False}},
        origin="uuid",
        cursors={"0": 7},
        blocked=True,
        documents=10,
        compared=9,
        rollback_cursors={"0": 3},
        moved_at="2026-01-01T00:00:00+00:00",
        block_seconds=0.5,
        unscored=1,
    )
    assert Progress.of(job(progress.to_record())) == progress


def test_a_young_job_has_made_no_progress() -> None:
    assert Progress.of(job({})) == Progress()


def test_the_summary_says_what_came_out() -> None:
    moved = Progress(aliases=["a", "b"], documents=10, compared=9, block_seconds=0.25)
    assert moved.summary("new") == (
        "a, b now leads to new: 10 documents, 9 compared; writes were refused for 0.25 s"
    )
    left = Progress(unscored=3).summary("new")
    assert "3 documents did not get their score, 'saferank backfill new' says why" in left
    assert Progress().summary("new").startswith("no alias leads to new: 0 documents")
