"""Scores that were made elsewhere, put into an index as if a worker had made them there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from saferank.errors import ConfigurationError
from saferank.indexer.documents import Document, Scored
from saferank.indexer.keys import DocumentKey
from saferank.mappings.record import ImageRecord, SafetyRecord

_NEEDED = ("id", "safety")


class Imported:
    """Gives the scores of documents in the place of a pipeline.

    A document that refers to other images than were scored gets none.

    Args:
        identity: of the model that made the scores.
        records: by document.
    """

    def __init__(self, identity: str, records: Mapping[DocumentKey, SafetyRecord]) -> None:
        self.identity = identity
        self.other_identities: Mapping[str, str] = {}
        self._records = records

    def stream(self, documents: Sequence[Document], **_: object) -> Iterator[dict[int, Scored]]:
        """See ``Pipeline.stream``; nothing is fetched, and nothing goes through a model."""
        found = {}
        for place, document in enumerate(documents):
            # A document is also found where its routing was not given.
            record = self._records.get(document.key) or self._records[DocumentKey(document.key.id)]
            if [image.reference for image in record.images] == document.reference_names:
                found[place] = Scored(document, record)
        yield found


def read_scores(
    path: Path, model: str, *, size: int = 500
) -> Iterator[dict[DocumentKey, SafetyRecord]]:
    """Read scores as ``saferank.spark.score`` makes them, some documents at a time.

    Args:
        path: Parquet, a file or a folder, with the columns ``id``, ``safety`` and, where documents
            have one, ``routing``.
        model: identity of the model that must have made them.
        size: documents at a time.

    Raises:
        ConfigurationError: it is not such a table, or another model made the scores.
    """
    import pyarrow as pa
    from pyarrow import dataset

    try:
        table = dataset.dataset(path, format="parquet")
        missing = [name for name in _NEEDED if name not in table.schema.names]
        if missing:
            raise ConfigurationError(
                f"{path}: the column {missing[0]!r} is missing; score a frame that has the ids of "
                "the documents, and write it whole"
            )
        columns = [name for name in ("id", "routing", "safety") if name in table.schema.names]
        row = 0
        for batch in table.to_batches(columns=columns, batch_size=size):
            records = {}
            for values in batch.to_pylist():
                row += 1
                key, record = _read(values, f"{path}, row {row}", model)
                records[key] = record
            if records:
                yield records
    except (OSError, pa.ArrowException) as error:
        raise ConfigurationError(f"{path}: the scores cannot be read: {error}") from error


def _read(values: Mapping[str, Any], where: str, model: str) -> tuple[DocumentKey, SafetyRecord]:
    id, safety = values["id"], values["safety"]
    if not isinstance(id, str) or not id or not isinstance(safety, Mapping):
        raise ConfigurationError(f"{where}: 'id' must be text, and 'safety' an object with scores")
    if safety.get("model") != model:
        raise ConfigurationError(
            f"{where}: it is of the model {safety.get('model')}, and the settings say {model}; "
            "scores of two models are never mixed: set SAFERANK_MODEL to the one that scored"
        )
    try:
        record = SafetyRecord(
            model,
            datetime.fromisoformat(safety["scored_at"]),
            tuple(ImageRecord.from_document(image) for image in safety["images"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigurationError(f"{where}: 'safety' is not what scoring gives: {error}") from error
    if any((image.probability is None) == (image.error is None) for image in record.images):
        raise ConfigurationError(f"{where}: an image must have either a probability or an error")
    if record.scored_at.tzinfo is None:
        raise ConfigurationError(f"{where}: 'scored_at' must have a time zone")
    return DocumentKey(id, values.get("routing")), record
