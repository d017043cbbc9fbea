import os
from types import SimpleNamespace

import pytest
from celery.concurrency.prefork import TaskPool
from celery.concurrency.solo import TaskPool as SoloPool
from hypothesis import given
from hypothesis import strategies as st

from saferank.indexer.worker import cores
from saferank.settings import IndexerSettings


@given(st.integers(1, 64), st.integers(1, 200))
def test_all_children_together_take_no_core_twice(usable: int, children: int) -> None:
    each = cores.share(usable, children)
    assert each >= 1
    assert each * children <= usable or each == 1
    # And leave none for nobody.
    assert (each + 1) * children > usable


@pytest.mark.parametrize(
    ("worker", "expected"),
    [
        ({"pool_cls": TaskPool, "concurrency": 3}, 3),
        ({"pool_cls": TaskPool, "concurrency": 2, "max_concurrency": 6}, 6),
        # It works on one task at a time, however many cores Celery counts for it.
        ({"pool_cls": SoloPool, "concurrency": 8}, 1),
    ],
)
def test_a_worker_has_so_many_tasks_at_once(worker: dict[str, object], expected: int) -> None:
    assert cores.children(SimpleNamespace(**worker)) == expected


def test_a_process_has_no_more_threads_than_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    many = IndexerSettings(threads=1000)
    assert (cores.threads(IndexerSettings()), cores.threads(many)) == (1, 1000)
    usable = len(os.sched_getaffinity(0))
    for children, expected in ((1, usable), (usable, 1), (3 * usable, 1)):
        worker = SimpleNamespace(pool_cls=TaskPool, concurrency=children)
        monkeypatch.setattr(cores, "_worker", worker)
        assert cores.threads(many) <= expected
        assert cores.threads(IndexerSettings()) == 1
