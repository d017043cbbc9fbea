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


def test_outside_a_worker_it_is_one_thread_unless_the_settings_say_otherwise() -> None:
    assert cores.threads(IndexerSettings()) == 1
    assert cores.threads(IndexerSettings(threads=5)) == 5
