"""Lists of hashes from outside, read as known pictures."""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path

from saferank.errors import ConfigurationError
from saferank.mappings.known import LOWEST_QUALITY, KnownPicture, mirrored_of
from saferank.mappings.record import Override

_HASH = re.compile(r"[0-9a-f]{64}")


class HashKind(StrEnum):
    """What a list has of each picture."""

    PDQ = "pdq"
    """The hash of what it looks like, 256 bits."""
    SHA256 = "sha256"
    """The digest of its bytes."""


def read_list(
    path: Path,
    kind: HashKind,
    *,
    decision: Override = Override.BLOCK,
    origin: str,
    by: str,
    reason: str | None = None,
    mirrored: bool = False,
) -> Iterator[KnownPicture]:
    """Read a text with a hash at the beginning of each line, and anything behind a comma.

    The number behind the first comma of a PDQ list, if there is one, is the quality, 0..100. Lines
    of a lower quality than ``LOWEST_QUALITY``, empty ones, and those that begin with ``#`` are
    passed over, as is a first line that names the columns.

    Args:
        path: of the text, UTF-8.
        kind: of the hashes.
        decision: for copies.
        origin: name of the list.
        by: who says so.
        reason: why, if it is said.
        mirrored: also find mirrored copies, by PDQ.

    Raises:
        ConfigurationError: the text cannot be read, a line has no hash, or an ``allow`` is to go by
            PDQ hashes, which nearly equal pictures share.
    """
    if kind is HashKind.PDQ and decision is Override.ALLOW:
        raise ConfigurationError(
            "what is near to an allowed picture may differ in what matters; allow by --kind sha256"
        )
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                hash, _, rest = line.strip().lower().partition(",")
                hash = hash.strip()
                if not hash or hash.startswith("#") or (number == 1 and hash == "hash"):
                    continue
                if not _HASH.fullmatch(hash):
                    raise ConfigurationError(
                        f"{path}, line {number}: a line begins with 64 hexadecimal digits; correct "
                        "it, or begin it with '#'"
                    )
                quality = rest.partition(",")[0].strip()
                pdq = kind is HashKind.PDQ
                if pdq and quality.isdecimal() and int(quality) < LOWEST_QUALITY:
                    continue
                hashes = (hash, *([mirrored_of(hash)] if mirrored else ())) if pdq else ()
                yield KnownPicture(
                    f"{origin}:{hash}",
                    decision,
                    digests=() if pdq else (hash,),
                    hashes=hashes,
                    origin=origin,
                    by=by,
                    reason=reason,
                )
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: the list cannot be read: {error}") from error
