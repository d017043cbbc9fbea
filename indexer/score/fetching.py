"""Fetching what references name, some at once, and giving what came as it comes."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Iterable, Iterator

from saferank.errors import ImageError
from saferank.indexer.operate import metrics
from saferank.indexer.score.interfaces import FetchedImage, FetchedOrError, Guard
from saferank.indexer.score.lanes import Lanes
from saferank.mappings.record import ImageRecord, reference_name, to_bytes

# Seconds after which what is complete goes out, where there is nothing else to do.
_TICK = 0.5
# Seconds after which a lane that is behind all others counts as slow.
_SLOW = 1.5


class Fetching:
    """How images are fetched; see ``Pipeline`` for all that it is given."""

    def __init__(
        self,
        fetch: Callable[[str], FetchedImage],
        fetch_again: Callable[[str, ImageRecord], FetchedImage | None] | None,
        lane: Callable[[str], str | None],
        *,
        threads: int,
        lane_width: int,
        time_of_image: float,
    ) -> None:
        self._fetch = fetch
        self._fetch_again = fetch_again
        self._lane = lane
        self._threads = threads
        self._lane_width = lane_width
        self._time_of_image = time_of_image

    def arrivals(
        self,
        references: Iterable[str],
        unchanging: Iterable[ImageRecord],
        count_waiting: Callable[[], int],
        *,
        guard: Guard | None,
        until: float,
    ) -> Iterator[tuple[str, FetchedOrError] | None]:
        """Fetch, and give what came as it comes; None when it is time to see what is complete.

        Args:
            references: each once.
            unchanging: what is known of images; a server is asked whether they have changed.
            count_waiting: the documents that are not complete yet.
            guard: if given, each image is fetched alone inside it.
            until: when to fetch no more, on the monotonic clock. With a time, a slow lane is not
                waited for either, once there is a complete document.

        Raises:
            ServiceUnavailable: the guard cannot take notes.
        """
        versions = _versions(unchanging)

        def fetch(reference: str) -> FetchedOrError:
            return self._fetched(reference, versions.get(reference_name(reference)))

        if guard is not None:
            yield from _one_by_one(fetch, references, guard, until)
            return
        lane_of = {reference: self._lane(reference) for reference in references}
        here = [reference for reference, lane in lane_of.items() if lane is None]
        lanes = Lanes(
            fetch,
            {reference: lane for reference, lane in lane_of.items() if lane is not None},
            threads=self._threads,
            width=self._lane_width,
        )
        began, at_first = time.monotonic(), count_waiting()
        with lanes.running():
            for reference in here:
                if time.monotonic() > until:
                    return
                yield reference, fetch(reference)
            for fetched in lanes.results(_TICK):
                yield fetched
                now = time.monotonic()
                slow = now - began > _SLOW and lanes.lanes_left < lanes.lanes_at_start
                if now > until or (slow and until < math.inf and count_waiting() < at_first):
                    lanes.stop()
                if now > until + self._time_of_image:
                    return  # what came has waited too long to be looked at

    def _fetched(self, reference: str, version: ImageRecord | None) -> FetchedOrError:
        """The bytes, the version that is known if these have not changed, or the error."""
        try:
            with metrics.stage("fetch"):
                if self._fetch_again is None or version is None:
                    return self._fetch(reference)
                changed = self._fetch_again(reference, version)
                return version if changed is None else changed
        except Exception as error:
            return error


def _one_by_one(
    fetch: Callable[[str], FetchedOrError], references: Iterable[str], guard: Guard, until: float
) -> Iterator[tuple[str, FetchedOrError]]:
    """Fetch each inside the guard, under a digest of its reference: it may end the process too."""
    for reference in references:
        if time.monotonic() > until:
            return
        try:
            with guard(hashlib.sha256(to_bytes(reference)).hexdigest()):
                fetched = fetch(reference)
        except ImageError as error:
            fetched = error
        yield reference, fetched


def _versions(images: Iterable[ImageRecord]) -> dict[str, ImageRecord]:
    """By reference, the images that a server can be asked about: have they changed since?"""
    return {
        image.reference: image
        for image in images
        if image.error is None and (image.etag or image.last_modified)
    }
