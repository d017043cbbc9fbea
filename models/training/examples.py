"""What a classifier learns from: labelled pictures, and how they vary from epoch to epoch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from saferank.errors import ConfigurationError, ImageError
from saferank.models.preprocess import PREPROCESSING, Input, varied

if TYPE_CHECKING:
    from PIL import Image

# The scale augmentation of the ResNet paper (arXiv:1512.03385, section 3.4) resizes to 256 to 480.
_LARGEST = 480 / 256


@dataclass(frozen=True)
class Example:
    """One labelled picture.

    Attributes:
        name: where it is.
        label: place of its class.
        read: gives the bytes of its image file; raises ConfigurationError.
    """

    name: str
    label: int
    read: Callable[[], bytes] = field(compare=False, repr=False)


@dataclass(frozen=True)
class Examples:
    """All labelled pictures.

    Attributes:
        classes: their names, in the order of the net's output.
        training: those that the net learns from.
        validation: those that it is judged by.
    """

    classes: tuple[str, ...]
    training: Sequence[Example]
    validation: Sequence[Example]


# From the bytes of an image file to its picture; raises ImageError.
Load = Callable[[bytes], "Image.Image"]


def picture_of(example: Example, load: Load) -> Image.Image:
    """Read and decode an example's picture.

    Raises:
        ConfigurationError: it cannot be read.
    """
    try:
        return load(example.read())
    except ImageError as error:
        raise ConfigurationError(
            f"{example.name}: {error} ({error.code.value}); take it out of the labels"
        ) from error


def split(examples: Sequence[Example], share: float, seed: int) -> tuple[list[Example], ...]:
    """Part the examples into those to learn from and those to judge by, each class alike.

    Args:
        examples: all of them.
        share: of each class that goes into the second part, above 0 and below 1.
        seed: the same one gives the same parts.

    Raises:
        ConfigurationError: a class has too few examples for both parts.
    """
    random = np.random.default_rng([seed, 0])
    training: list[Example] = []
    validation: list[Example] = []
    for label, count in sorted(Counter(example.label for example in examples).items()):
        taken = max(1, round(count * share))
        if taken >= count:
            raise ConfigurationError(
                f"class {label} has {count} example{'s' * (count != 1)}; a part to learn from and "
                "a part to judge by need one each at least"
            )
        alike = [example for example in examples if example.label == label]
        order = random.permutation(count)
        validation += [alike[place] for place in order[:taken]]
        training += [alike[place] for place in order[taken:]]
    return training, validation


class Batches:
    """Batches of varied pictures; each is known by its number alone, whatever was made before.

    Args:
        examples: what they are made of.
        load: from the bytes of a file to its picture.
        wanted: the net's input.
        size: examples a batch.
        seed: of the order and the variations.
        scales: vary the size that pictures have before the crop, as in the ResNet paper.
        pool: decodes pictures side by side.
        part: from the number of examples in a batch to those that this process makes; all of
            them when None.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        load: Load,
        wanted: Input,
        *,
        size: int,
        seed: int,
        scales: bool,
        pool: Executor,
        part: Callable[[int], slice] | None = None,
    ) -> None:
        self._examples = examples
        self._load = load
        self._wanted = wanted
        self._size = min(size, len(examples))
        self._seed = seed
        self._scales = scales
        self._pool = pool
        self._part = slice(None) if part is None else part(self._size)

    @property
    def size(self) -> int:
        """Examples a batch, by all processes."""
        return self._size

    @property
    def an_epoch(self) -> int:
        """Batches in which each example comes once, but for a rest that makes no whole batch."""
        return len(self._examples) // self._size

    def __getitem__(self, number: int) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        """The images (N, 3, H, W) float32 and the labels (N,) of this process's part of a batch."""
        epoch, place = divmod(number, self.an_epoch)
        order = np.random.default_rng([self._seed, 1, epoch]).permutation(len(self._examples))
        chosen = order[place * self._size : (place + 1) * self._size][self._part]
        images = self._pool.map(lambda at: self._varied(epoch, int(at)), chosen)
        labels = np.array([self._examples[at].label for at in chosen], np.int32)
        return np.stack(list(images)), labels

    def _varied(self, epoch: int, at: int) -> NDArray[np.float32]:
        random = np.random.default_rng([self._seed, 2, epoch, at])
        wanted = self._wanted
        factor = random.uniform(1, _LARGEST) if self._scales else 1.0
        resize = round(wanted.resize[0] * factor), round(wanted.resize[1] * factor)
        corner = (
            int(random.integers(resize[0] - wanted.size[0] + 1)),
            int(random.integers(resize[1] - wanted.size[1] + 1)),
        )
        image = picture_of(self._examples[at], self._load)
        mirrored = bool(random.integers(2))
        return varied(image, wanted, resize=resize, corner=corner, mirrored=mirrored)


def in_order(
    examples: Sequence[Example],
    load: Load,
    wanted: Input,
    *,
    size: int,
    pool: Executor,
    part: Callable[[int], slice] | None = None,
    multiple: int = 1,
) -> Iterator[NDArray[np.float32]]:
    """The pictures as they are in scoring, (N, 3, H, W) float32, ``size`` at a time.

    Args:
        examples: what there is.
        load: from the bytes of a file to its picture.
        wanted: the net's input.
        size: examples a batch.
        pool: decodes pictures side by side.
        part: as for ``Batches``.
        multiple: the last batch is filled up to a multiple of this with its last example.
    """
    preprocess = PREPROCESSING[wanted.preprocessing]
    for start in range(0, len(examples), size):
        batch = list(examples[start : start + size])
        batch += batch[-1:] * (-len(batch) % multiple)
        mine = batch if part is None else batch[part(len(batch))]
        yield np.stack(list(pool.map(lambda one: preprocess(picture_of(one, load), wanted), mine)))
