"""Pictures on their way through nets, in batches; a cheap first pass goes before the exact one.

Categories whose models have the same net share its forward passes.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np

from saferank.indexer.operate import metrics
from saferank.indexer.score.category_results import CategoryResults
from saferank.indexer.score.crew import Crew
from saferank.indexer.score.interfaces import Array, CategoryModel, DecodedImage, FirstPass

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Wanted:
    """An image that some categories of one net want to know about.

    Attributes:
        digest: of its bytes.
        categories: those.
        blobs: of its pictures, each with its place.
        data: its bytes, when the blobs are of smaller pictures; None when they are the exact ones.
    """

    digest: str
    categories: Sequence[CategoryResults]
    blobs: Sequence[tuple[int, Array]]
    data: bytes | None


_Frame = tuple[Wanted, int, Array]


class Batches:
    """Pictures on their way through one net, for all categories that it tells.

    Args:
        category: any of those that the net tells.
        categories: what becomes of the images in each of them.
        size: pictures in one call of the net, of the cheap one where there is one.
        crew: runs the net.
        decode: bytes → pictures, where a first look was at smaller ones; raises ImageError.

    Attributes:
        first: a cheap look before it, if there is one.
        categories: see above.
    """

    def __init__(
        self,
        category: CategoryModel,
        categories: Sequence[CategoryResults],
        size: int,
        crew: Crew,
        decode: Callable[[bytes], DecodedImage],
    ) -> None:
        self.first = category.first
        self.categories = categories
        self._model = category.model
        self._size = size
        # Behind a first pass few are left, and the exact net is as fast on one as on several: each
        # goes alone, which takes less memory.
        self._exact_size = size if category.first is None else 1
        self._crew = crew
        self._decode = decode
        self._frames: list[_Frame] = []
        self._glimpses: list[Wanted] = []

    def blobs(self, decoded: DecodedImage) -> list[tuple[int, Array]]:
        """What the net takes of an image's pictures, each with its place; in any thread."""
        blobs = []
        for place, picture in zip(decoded.places, decoded.pictures, strict=True):
            with metrics.stage("preprocess"):
                blobs.append((place, self._model.preprocess(picture)))
        return blobs

    def add(self, image: Wanted) -> None:
        """Send an image on its way."""
        for each in image.categories:
            each.digests.add(image.digest)
        if self.first is None:
            self._add_frames(image)
            return
        self._glimpses.append(image)
        if sum(len(one.blobs) for one in self._glimpses) >= self._size:
            self._send_glimpses(self.first)

    def flush(self) -> bool:
        """Send what is not enough for a batch; whether there was anything."""
        there = bool(self._glimpses or self._frames)
        if self.first is not None and self._glimpses:
            self._send_glimpses(self.first)
        if self._frames:
            self._send_frames()
        return there

    def _add_frames(self, image: Wanted) -> None:
        for place, blob in image.blobs:
            self._frames.append((image, place, blob))
            if len(self._frames) >= self._exact_size:
                self._send_frames()

    def _send_frames(self) -> None:
        frames, self._frames = self._frames, []
        metrics.IMAGES.inc(len({image.digest for image, _, _ in frames}))
        self._crew.do(lambda: self._rows(frames), lambda rows: _learn(frames, rows))

    def _rows(self, frames: Sequence[_Frame]) -> list[Array | None]:
        """What the net says of each frame; None where it fails."""
        try:
            return list(self._classes([blob for _, _, blob in frames]))
        except Exception:
            log.warning("the model failed on %d frames; now one by one", len(frames))
        rows: list[Array | None] = []
        for image, _, blob in frames:
            try:
                rows.extend(self._classes([blob]))
            except Exception:
                log.exception("the model failed on image %s", image.digest)
                rows.append(None)
        return rows

    def _classes(self, blobs: Sequence[Array]) -> Array:
        with metrics.stage("infer"):
            return self._model.classes(np.stack(blobs))

    def _send_glimpses(self, first: FirstPass) -> None:
        glimpses, self._glimpses = self._glimpses, []

        def look_on(rows: Iterable[Array] | None) -> None:
            each = iter(rows or ())
            for image in glimpses:
                if rows is None:
                    self._look_exactly(image)
                else:
                    self._keep_low(image, list(islice(each, len(image.blobs))), first.margin)

        self._crew.do(lambda: self._estimates(first, glimpses), look_on)

    def _estimates(self, first: FirstPass, glimpses: Sequence[Wanted]) -> list[Array] | None:
        """What the cheap net says of each picture; None when it fails."""
        blobs = [blob for image in glimpses for _, blob in image.blobs]
        rows: list[Array] = []
        try:
            with metrics.stage("estimate"):
                for start in range(0, len(blobs), self._size):
                    rows.extend(first.estimate(np.stack(blobs[start : start + self._size])))
        except Exception:
            log.exception("the first pass failed; %d images are looked at exactly", len(glimpses))
            return None
        return rows

    def _keep_low(self, image: Wanted, rows: Sequence[Array], margin: float) -> None:
        """Keep the estimates that are below the margin, and look exactly for the others."""
        others = []
        for each in image.categories:
            try:
                estimate = each.estimate(rows)
            except Exception:
                log.exception("the first pass gave no probability for image %s", image.digest)
                others.append(each)
                continue
            if estimate < margin:
                each.settle(image.digest, estimate)
            else:
                others.append(each)
        if others:
            self._look_exactly(replace(image, categories=others))
        else:
            metrics.ESTIMATED.inc()

    def _look_exactly(self, image: Wanted) -> None:
        data = image.data
        if data is None:
            self._add_frames(image)
            return

        def blobs() -> list[tuple[int, Array]] | Exception:
            try:
                return self.blobs(self._decode(data))
            except Exception as error:
                return error

        def add(found: list[tuple[int, Array]] | Exception) -> None:
            if isinstance(found, Exception):
                for each in image.categories:
                    each.fail(image.digest, found)
            else:
                self._add_frames(replace(image, blobs=found, data=None))

        self._crew.do(blobs, add)


def _learn(frames: Sequence[_Frame], rows: Sequence[Array | None]) -> None:
    for (image, place, _), row in zip(frames, rows, strict=True):
        for each in image.categories:
            each.learn(image.digest, place, row)


def by_net(categories: Sequence[CategoryModel]) -> Iterator[list[int]]:
    """The places of the categories whose models have the same net, net by net."""
    groups: Mapping[int, list[int]] = defaultdict(list)
    for place, category in enumerate(categories):
        groups[id(category.model.net)].append(place)
    yield from groups.values()
