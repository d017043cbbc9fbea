import pytest
from elastic_transport import ApiResponseMeta, ConnectionTimeout, HttpHeaders, NodeConfig
from elasticsearch import ApiError

from saferank.errors import JobError
from saferank.indexer.bulk.outages import Outages, is_lasting, is_transient


def answer(status: int, kind: str = "some_exception") -> ApiError:
    node = NodeConfig("http", "127.0.0.1", 9200)
    meta = ApiResponseMeta(status, "1.1", HttpHeaders(), 0.1, node)
    return ApiError(kind, meta, {"error": {"type": kind}})


@pytest.mark.parametrize(
    ("error", "passes", "lasts"),
    [
        (answer(429), True, False),
        (answer(503), True, False),
        (ConnectionTimeout("late"), True, False),
        (answer(400), False, True),
        (answer(403), False, True),
        (answer(404, "search_context_missing_exception"), False, False),
        (answer(404, "index_not_found_exception"), False, True),
        (answer(500), False, False),
    ],
)
def test_what_passes_and_what_lasts(error: Exception, passes: bool, lasts: bool) -> None:
    assert (is_transient(error), is_lasting(error)) == (passes, lasts)


def test_a_lasting_error_ends_the_job_at_once() -> None:
    outages = Outages("pictures.missing", 900)
    with pytest.raises(JobError, match=r"'pictures\.missing' cannot go on"):
        outages.wait(answer(403), progressed=True)
    assert outages.since is None


def test_what_a_server_lacks_is_said_in_words() -> None:
    lacking = answer(400, "No mapping found for [_shard_doc] in order to sort on")
    with pytest.raises(JobError, match=r"cannot go on: the server is an OpenSearch .* version 3$"):
        Outages("pictures.missing", 900).wait(lacking, progressed=True)


def test_patience_counts_from_the_last_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("saferank.indexer.bulk.outages._PAUSE", 0.01)
    outages = Outages("pictures.missing", 0)
    outages.wait(answer(503), progressed=False)
    outages.wait(answer(503), progressed=True)
    with pytest.raises(JobError, match="start it again"):
        outages.wait(answer(503), progressed=False)
