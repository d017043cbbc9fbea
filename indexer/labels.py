"""People's decisions about documents, written as labelled pictures to train by."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from saferank.errors import ConfigurationError, ImageError
from saferank.mappings.decisions import DecidedDocument
from saferank.mappings.record import Override

LABELS = "labels.csv"


@dataclass
class Written:
    """What became of the decided documents.

    Attributes:
        pictures: written, by label.
        unclear: blocked documents with several images, of which any may be why.
        changed: images whose bytes are others than those that were scored.
        unreadable: images that cannot be fetched.
    """

    pictures: dict[str, int]
    unclear: int = 0
    changed: int = 0
    unreadable: int = 0


def write_labels(
    folder: Path,
    documents: Iterable[DecidedDocument],
    fetch: Callable[[str], bytes],
    *,
    allowed: str,
    blocked: str,
) -> Written:
    """Write pictures, each under the digest of its bytes, and ``labels.csv`` beside them.

    Args:
        folder: to write to.
        documents: about which people decided.
        fetch: from a reference to bytes; raises ImageError.
        allowed: label of what was allowed.
        blocked: label of what was blocked.

    Raises:
        ConfigurationError: one picture was allowed here and blocked there, or nothing is left.
    """
    folder.mkdir(parents=True, exist_ok=True)
    labels: dict[str, str] = {}
    written = Written({allowed: 0, blocked: 0})
    for document in documents:
        if document.override is Override.BLOCK and len(document.references) > 1:
            written.unclear += 1
            continue
        label = blocked if document.override is Override.BLOCK else allowed
        seen = {image.sha256 for image in document.record.images if image.sha256}
        for reference in document.references:
            try:
                data = fetch(str(reference))
            except ImageError:
                written.unreadable += 1
                continue
            digest = hashlib.sha256(data).hexdigest()
            if seen and digest not in seen:
                written.changed += 1
                continue
            if labels.setdefault(digest, label) != label:
                raise ConfigurationError(
                    f"the picture of document {document.id!r} was allowed in one document and "
                    "blocked in another; take one of the decisions back"
                )
            (folder / digest).write_bytes(data)
    for label in labels.values():
        written.pictures[label] += 1
    if not labels:
        raise ConfigurationError(
            "no document has an override from which a label follows; decide about some with "
            "'saferank override', or in the index"
        )
    writing = folder / f"{LABELS}.writing"
    with writing.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(("image", "label"))
        table.writerows(sorted(labels.items()))
    writing.replace(folder / LABELS)
    return written
