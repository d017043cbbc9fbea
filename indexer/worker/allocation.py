"""What memory a worker's process keeps for itself between pictures, and what it gives back."""

from __future__ import annotations

import contextlib
import ctypes
import os

from PIL import Image

# Of Pillow's, 16 MB each: what one picture of twelve megapixels takes.
_BLOCKS = 4
# Of glibc's malloc: each thread that fetches would have its own, and keep what lies in it.
_ARENAS = 2
_M_ARENA_MAX = -8


def keep_for_pictures(threads: int) -> None:
    """Keep the memory of one large picture a thread, instead of asking for it again each time.

    The system clears each page that it gives out, which takes a quarter of the time of decoding and
    resizing a photograph of twelve megapixels. What the operator says in ``PILLOW_BLOCKS_MAX``
    holds.

    Args:
        threads: that decode.
    """
    if "PILLOW_BLOCKS_MAX" not in os.environ:
        Image.core.set_blocks_max(_BLOCKS * threads)  # type: ignore[attr-defined]


def share_arenas() -> None:
    """Have all threads of this process allocate from few arenas."""
    with contextlib.suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, _ARENAS)
