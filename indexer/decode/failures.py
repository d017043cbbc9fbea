"""What Pillow's many exceptions mean: the one place that turns them into error codes."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image, UnidentifiedImageError

from saferank.errors import ErrorCode, ImageError
from saferank.indexer.decode import formats
from saferank.indexer.decode.completeness import ends_early

# Pillow's plug-ins let almost anything escape on damaged input.
_DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    EOFError,
    ArithmeticError,
    RuntimeError,
    NotImplementedError,
    AssertionError,
    struct.error,
    zlib.error,
)

_CUT_OFF = ("truncated", "not enough image data")


@contextmanager
def coded(data: bytes) -> Iterator[None]:
    """Turn every exception of a decoder inside the block into an ``ImageError``.

    Args:
        data: the whole file, to tell a file that was cut off from one that is damaged.

    Raises:
        ImageError: always in place of what the decoder raised.
    """
    try:
        yield
    except ImageError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(
            ErrorCode.TOO_LARGE,
            f"the image declares {_pixels(error)}, more than are allowed; raise "
            "decode.max_pixels to score it",
        ) from error
    except MemoryError as error:
        raise ImageError(
            ErrorCode.TOO_LARGE, "the image needs more memory than there is"
        ) from error
    except _DAMAGE as error:
        raise _explain(error, data) from error


def _pixels(error: Exception) -> str:
    """How many; Pillow's own sentence names a limit that is not ours."""
    found = re.search(r"\((\d+) pixels\)", str(error))
    return "too many pixels" if found is None else f"{int(found[1]):,} pixels"


def _explain(error: Exception, data: bytes) -> ImageError:
    text = str(error) or type(error).__name__
    if isinstance(error, UnidentifiedImageError):
        text = "its header cannot be read"
    name = formats.recognise(data)
    if not data:
        return ImageError(ErrorCode.NOT_AN_IMAGE, "there are no bytes")
    if "too large" in text:  # PNG text and profiles that unpack to more than Pillow allows
        return ImageError(ErrorCode.TOO_LARGE, f"{name}: {text}")
    if any(sign in text.lower() for sign in _CUT_OFF) or (
        name is not None and ends_early(data, name)
    ):
        return ImageError(ErrorCode.TRUNCATED, f"the {name} file ends early: {text}")
    if name is None or name not in formats.readable():
        return ImageError(
            ErrorCode.NOT_AN_IMAGE,
            f"the bytes are not an image that is read (they begin with {data[:12]!r})",
        )
    return ImageError(ErrorCode.UNREADABLE, f"the {name} file is damaged or unsupported: {text}")
