"""Pictures, of a file or of a document, that are made known ones."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

from saferank.errors import ConfigurationError, ImageError
from saferank.indexer.decode import decode
from saferank.indexer.fetch import Fetcher
from saferank.indexer.pdq import pdqs_of_known
from saferank.mappings.known import KnownPicture
from saferank.mappings.record import Override, reference_name
from saferank.settings import DecodeSettings, Settings

log = logging.getLogger(__name__)


def picture_in(
    path: Path,
    limits: DecodeSettings,
    decision: Override,
    origin: str,
    by: str,
    reason: str | None = None,
) -> KnownPicture:
    """Make a picture known by its bytes and, to block its altered copies, by what it looks like.

    Args:
        path: of the file.
        limits: of decoding.
        decision: for copies.
        origin: name of the list.
        by: who says so.
        reason: why, if it is said.

    Raises:
        ConfigurationError: the file cannot be read, or is no picture.
    """
    try:
        data = path.read_bytes()
        hashes = _hashes(data, limits)
    except (OSError, ImageError) as error:
        raise ConfigurationError(f"{path}: {error}; give a picture that can be read") from error
    digest = hashlib.sha256(data).hexdigest()
    looks = hashes if decision is Override.BLOCK else ()
    return KnownPicture(f"{origin}:{digest}", decision, (digest,), looks, origin, by, reason=reason)


def hashes_at(reference: str, sha256: str, settings: Settings) -> tuple[str, ...] | None:
    """The hashes by which altered copies of a document's image are found; see ``pdqs_of_known``.

    Empty for an image with too little in it; None, and a line in the log, for one that cannot be
    had at the moment, or is another one by now.

    Args:
        reference: what names the image in the document.
        sha256: of the image that is meant.
        settings: limits of fetching and decoding.
    """
    try:
        with Fetcher(settings.fetch) as fetcher:
            data = fetcher.fetch(reference).data
        if hashlib.sha256(data).hexdigest() == sha256:
            return _hashes(data, settings.decode)
        problem = "it is another image by now"
    except ImageError as error:
        problem = str(error)
    log.warning("cropped copies of %s are not found: %s", reference_name(reference), problem)
    return None


def _hashes(data: bytes, limits: DecodeSettings) -> tuple[str, ...]:
    looks = (pdqs_of_known(frame) for frame in decode(data, limits).frames)
    # Of a film, one frame is enough to know it by, as long as it has something in it.
    return next(filter(None, looks), ())
