from collections.abc import Iterator
from typing import Any

import pytest
from PIL import Image

from saferank.indexer.worker.allocation import keep_for_pictures

core: Any = vars(Image)["core"]
PHOTOGRAPH = (4000, 3000)


@pytest.fixture(autouse=True)
def _as_it_was(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("PILLOW_BLOCKS_MAX", raising=False)
    before = core.get_blocks_max()
    yield
    core.set_blocks_max(before)
    core.clear_cache(0)


def reused() -> int:
    """Blocks of memory that a second photograph had from the first."""
    Image.new("RGB", PHOTOGRAPH)
    core.reset_stats()
    Image.new("RGB", PHOTOGRAPH)
    return int(core.get_stats()["reused_blocks"])


def test_a_large_picture_has_the_memory_of_the_one_before() -> None:
    keep_for_pictures(1)
    assert reused() == core.get_stats()["new_count"] * 3 == 3


def test_what_the_operator_says_of_pillow_s_memory_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    core.set_blocks_max(0)
    monkeypatch.setenv("PILLOW_BLOCKS_MAX", "0")
    keep_for_pictures(8)
    assert reused() == 0
