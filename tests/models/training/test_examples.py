"""Batches: the same whenever they are made, and each example once an epoch."""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest
from PIL import Image

from saferank.models.preprocess import PREPROCESSING, STRETCHED, Input, varied
from saferank.models.training.examples import Batches, Example, in_order, split

INPUT = Input(size=(8, 8), preprocessing="resize-crop", resize=(12, 12), mean=(0, 0, 0))
EXAMPLES = [Example(str(at), at % 2, partial(bytes, [at])) for at in range(10)]


def load(data: bytes) -> Image.Image:
    """A picture of one grey, which tells which example it is."""
    return Image.new("RGB", (20, 16), (data[0] * 20,) * 3)


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as made:
        yield made


def batches(pool: ThreadPoolExecutor, seed: int = 1, size: int = 3) -> Batches:
    return Batches(EXAMPLES, load, INPUT, size=size, seed=seed, scales=True, pool=pool)


def test_each_example_comes_once_an_epoch_with_its_label(pool: ThreadPoolExecutor) -> None:
    made = batches(pool, size=5)
    assert made.an_epoch == 2
    orders = []
    for epoch in range(3):
        parts = [made[2 * epoch], made[2 * epoch + 1]]
        greys = np.concatenate([images[:, 0, 0, 0] for images, _ in parts]) / 20
        labels = np.concatenate([labels for _, labels in parts])
        assert sorted(greys) == list(range(10))
        np.testing.assert_array_equal(greys % 2, labels)
        orders.append(tuple(greys))
    assert len(set(orders)) == 3


def test_a_batch_does_not_depend_on_those_before_it(pool: ThreadPoolExecutor) -> None:
    one, other = batches(pool), batches(pool)
    for number in (0, 1, 2):
        one[number]
    for mine, same in zip(one[7], other[7], strict=True):
        np.testing.assert_array_equal(mine, same)
    assert not np.array_equal(batches(pool, seed=2)[7][0], other[7][0])


def test_a_variation_is_a_part_of_the_picture_seen_from_the_front_or_mirrored() -> None:
    random = np.random.default_rng(0)
    image = Image.fromarray(random.integers(0, 256, (12, 12, 3), np.uint8))
    whole = np.asarray(image, np.float32)[:, :, ::-1].transpose(2, 0, 1)
    part = varied(image, INPUT, resize=(12, 12), corner=(1, 3), mirrored=False)
    np.testing.assert_array_equal(part, whole[:, 1:9, 3:11])
    mirrored = varied(image, INPUT, resize=(12, 12), corner=(1, 3), mirrored=True)
    np.testing.assert_array_equal(mirrored, part[:, :, ::-1])


@pytest.mark.parametrize("name", STRETCHED)
def test_the_middle_at_the_size_of_scoring_is_what_scoring_sees(name: str) -> None:
    random = np.random.default_rng(1)
    image = Image.fromarray(random.integers(0, 256, (40, 30, 3), np.uint8))
    wanted = INPUT.model_copy(update={"preprocessing": name})
    same = varied(image, wanted, resize=wanted.resize, corner=(2, 2), mirrored=False)
    np.testing.assert_array_equal(same, PREPROCESSING[name](image, wanted))


def test_parts_to_judge_by_are_as_given_to_scoring(pool: ThreadPoolExecutor) -> None:
    parts = list(in_order(EXAMPLES, load, INPUT, size=4, pool=pool))
    assert [part.shape for part in parts] == [(4, 3, 8, 8), (4, 3, 8, 8), (2, 3, 8, 8)]
    assert np.concatenate(parts)[:, 0, 0, 0].tolist() == [20 * at for at in range(10)]


def test_a_split_takes_the_same_share_of_each_class() -> None:
    uneven = [Example(str(at), int(at >= 90), bytes) for at in range(100)]
    learn, judge = split(uneven, 0.2, seed=3)
    assert Counter(one.label for one in judge) == {0: 18, 1: 2}
    assert {one.name for one in learn} | {one.name for one in judge} == {one.name for one in uneven}
    assert len(learn) + len(judge) == 100
    assert split(uneven, 0.2, seed=3) == (learn, judge)
    assert split(uneven, 0.2, seed=4) != (learn, judge)
