"""Bodies of searches as JSON text, written by orjson where it writes what the client would write.

A level's filters make a body longer by one to four kilobytes. Python's own ``json``, by which the
Elasticsearch client writes unless it is given another serializer, takes 15 µs for each.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

_AS_THE_CLIENT = (
    orjson.OPT_PASSTHROUGH_DATACLASS
    | orjson.OPT_PASSTHROUGH_DATETIME
    | orjson.OPT_PASSTHROUGH_SUBCLASS
)
"""What the client's serializer writes in its own way, or refuses, is left to its ``default``."""


def json_text(body: Any, default: Callable[[Any], Any]) -> bytes | None:
    """A body as text; None where only the client's serializer knows how it is to be written.

    Args:
        body: of a request; None for none.
        default: what that serializer makes of values that JSON has no form for.
    """
    try:
        text = orjson.dumps(body, default, _AS_THE_CLIENT)
    except TypeError:  # A number beyond 64 bits, a key that is no text, half of a character.
        return None
    # It would make null of a number that is none, which the engine is to refuse.
    return None if b"null" in text else text
