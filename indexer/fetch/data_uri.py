"""Images inside their own reference (RFC 2397)."""

from __future__ import annotations

import base64
import binascii
from urllib.parse import unquote_to_bytes

from saferank.errors import ErrorCode, ImageError


def is_data_uri(reference: str) -> bool:
    """Whether a reference, without space around it, has the bytes in itself."""
    return reference[:5].lower() == "data:"


def read_data_uri(reference: str, max_bytes: int) -> bytes:
    """Decode a ``data:`` URI; the media type it claims is ignored.

    Raises:
        ImageError: ``unsupported_reference`` or ``too_large``.
    """
    head, comma, payload = reference.partition(",")
    if not comma:
        raise ImageError(ErrorCode.UNSUPPORTED_REFERENCE, "the data URI has no comma")
    if len(payload) > 3 * max_bytes:  # percent-encoding takes three characters a byte
        raise _too_large(max_bytes)
    data = unquote_to_bytes(payload.encode("utf-8", "surrogatepass"))
    if head.rstrip().lower().endswith(";base64"):
        data = _from_base64(data)
    if len(data) > max_bytes:
        raise _too_large(max_bytes)
    return data


def _from_base64(text: bytes) -> bytes:
    text = b"".join(text.split()).rstrip(b"=")
    try:
        return base64.b64decode(text + b"=" * (-len(text) % 4), validate=True)
    except binascii.Error as error:
        raise ImageError(
            ErrorCode.UNSUPPORTED_REFERENCE, f"the data URI is not base64: {error}"
        ) from error


def _too_large(max_bytes: int) -> ImageError:
    return ImageError(
        ErrorCode.TOO_LARGE,
        f"the data URI has more than {max_bytes:,} bytes; raise fetch.max_bytes to score it",
    )
