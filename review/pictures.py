"""Pictures as reviewers see them: fetched and decoded as workers do, and encoded anew.

So the browser asks nobody but this server, and is sent no byte that somebody else wrote.
"""

from __future__ import annotations

import io
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass

from PIL import Image

from saferank.errors import ErrorCode, ImageError
from saferank.indexer.decode import Decoded, decode
from saferank.indexer.fetch import Fetcher
from saferank.models.explained import evidence_of, explained
from saferank.models.model import Model, load_model
from saferank.review.subject import Subject
from saferank.settings import Settings

MEDIA_TYPE = "image/webp"

_LARGEST = (1280, 1280)  # pixels, width and height
_SMALL = (320, 320)
_KEPT, _SECONDS = 4, 30.0  # decoded images: the frames of one are asked for one by one


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which picture is asked for.

    Attributes:
        place: of the image among the document's, from 0.
        frame: of the image, from 0.
        small: for a page with many.
        with_map: with what speaks for its probability drawn over it, in colour.
        grey: the picture itself without colour.
    """

    place: int = 0
    frame: int = 0
    small: bool = False
    with_map: bool = False
    grey: bool = False


class Pictures:
    """Fetches, decodes and encodes; may be shared between threads.

    Args:
        settings: limits, and the model whose maps are drawn.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._fetcher = Fetcher(settings.fetch)
        self._lock = threading.Lock()
        self._decoded: OrderedDict[str, tuple[float, Decoded]] = OrderedDict()
        self._model_lock = threading.Lock()
        self._model: Model | None = None

    def close(self) -> None:
        """Close the connections that were kept."""
        self._fetcher.close()

    def picture(self, subject: Subject, wanted: Wanted) -> bytes:
        """A picture of a document, as ``MEDIA_TYPE``.

        Raises:
            ImageError: there is no such image or frame, or it cannot be fetched or decoded.
            ModelError: the map cannot be made.
        """
        if not 0 <= wanted.place < len(subject.pictures):
            raise ImageError(ErrorCode.NOT_FOUND, "the document has no such image")
        reference = subject.pictures[wanted.place].reference
        if not isinstance(reference, str):
            raise ImageError(
                ErrorCode.UNSUPPORTED_REFERENCE, "the document does not name the image by a text"
            )
        decoded = self._decode(reference)
        if not 0 <= wanted.frame < len(decoded.frames):
            raise ImageError(ErrorCode.NOT_FOUND, "the image has no such frame")
        shown = decoded.frames[wanted.frame].convert("RGB")
        if wanted.with_map:
            shown = self._with_map(shown, grey=wanted.grey)
        shown.thumbnail(_SMALL if wanted.small else _LARGEST, Image.Resampling.LANCZOS)
        encoded = io.BytesIO()
        shown.save(encoded, "WEBP", quality=85)
        return encoded.getvalue()

    def _decode(self, reference: str) -> Decoded:
        now = time.monotonic()
        with self._lock:
            at, kept = self._decoded.get(reference, (0.0, None))
            if kept is not None and now - at < _SECONDS:
                return kept
        decoded = decode(self._fetcher.fetch(reference).data, self._settings.decode)
        with self._lock:
            self._decoded[reference] = now, decoded
            while len(self._decoded) > _KEPT:
                self._decoded.popitem(last=False)
        return decoded

    def _with_map(self, picture: Image.Image, *, grey: bool) -> Image.Image:
        with self._model_lock:
            if self._model is None:
                self._model = load_model(self._settings.model)
            model = self._model
            evidence = evidence_of(model.preprocess(picture), model)
            below = picture.convert("L") if grey else picture
            return explained(below, evidence, model.description.input)
