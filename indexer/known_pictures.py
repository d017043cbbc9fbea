"""A picture in a file, made a known one."""

from __future__ import annotations

import hashlib
from pathlib import Path

from saferank.errors import ConfigurationError, ImageError
from saferank.indexer.decode import decode
from saferank.indexer.pdq import pdqs_of_known
from saferank.mappings.known import KnownPicture
from saferank.mappings.record import Override
from saferank.settings import DecodeSettings


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
        frames = decode(data, limits).frames
    except (OSError, ImageError) as error:
        raise ConfigurationError(f"{path}: {error}; give a picture that can be read") from error
    looks = (pdqs_of_known(frame) for frame in frames) if decision is Override.BLOCK else ()
    digest = hashlib.sha256(data).hexdigest()
    # Of a film, one frame is enough to know it by, as long as it has something in it.
    hashes = next(filter(None, looks), ())
    return KnownPicture(
        f"{origin}:{digest}", decision, (digest,), hashes, origin, by, reason=reason
    )
