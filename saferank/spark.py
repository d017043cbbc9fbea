"""saferank on Spark: score DataFrames as workers score documents, take features, train.

What runs in Spark's Python processes is what runs in a worker, so the probabilities are equal bit
for bit. saferank must be installed on every executor, and a model that is not built in must be
readable there under the same path.
"""

from __future__ import annotations

import functools
import hashlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast

from saferank.errors import ConfigurationError, ErrorCode, ImageError, JobError, SaferankError
from saferank.indexer.decode import decode
from saferank.indexer.documents import Document
from saferank.indexer.fetch import Fetched, Fetcher
from saferank.indexer.keys import DocumentKey
from saferank.indexer.score.pipeline import Pipeline
from saferank.indexer.worker.resources import make_pipeline
from saferank.models.features import FeatureNet, open_features
from saferank.models.training.place import LOST
from saferank.settings import Settings, get_settings

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import DataFrame, SparkSession

T = TypeVar("T")

SAFETY = "safety"
"""Name of the column that has the scores, as it is in a document."""

# What comes before the sentence in which a command ends.
_NAME = "saferank: "
# The types of a document's scores, as Spark calls them.
_DOCUMENT = {
    "probability": "float",
    "model": "string",
    "status": "string",
    "error": "string",
    "scored_at": "string",
}
_IMAGE = {
    "reference": "string",
    "sha256": "string",
    "probability": "float",
    "error": "string",
    "cause": "string",
    "frames": "int",
    "frame_count": "int",
    "width": "int",
    "height": "int",
    "partial": "boolean",
    "etag": "string",
    "last_modified": "string",
    "pdq": "string",
}

# From the batches of a partition to those with more columns.
_Batches = Callable[[Iterator["pa.RecordBatch"]], Iterator["pa.RecordBatch"]]


def score(
    frame: DataFrame,
    *,
    image: str = "image",
    reference: str | None = None,
    settings: Settings | None = None,
) -> DataFrame:
    """Score the images of each row as those of a document.

    Args:
        frame: what to score.
        image: the column with a reference, an array of references, or the bytes of a file.
        reference: for bytes, the column that has what a document calls the image; the digest of
            the bytes when None.
        settings: model, fetching and decoding; those of the driver's environment when None.

    Returns:
        The frame with a column ``safety``, with all that a worker stores: ``probability``,
        ``model``, ``status``, ``error``, ``scored_at`` and ``images``. ``saferank import`` puts
        rows with an ``id`` into an index.

    Raises:
        ConfigurationError: a column is missing or of another type.
    """
    _check_columns(frame, image, reference)
    scoring = functools.partial(
        _score_batches, settings=_without_secrets(settings), image=image, reference=reference
    )
    image_type = ", ".join(f"{name}: {kind}" for name, kind in _IMAGE.items())
    fields = ", ".join(f"{name}: {kind}" for name, kind in _DOCUMENT.items())
    return _with_columns(
        frame, scoring, f"{SAFETY} struct<{fields}, images: array<struct<{image_type}>>>"
    )


def features(
    frame: DataFrame,
    blobs: Sequence[str],
    *,
    image: str = "image",
    settings: Settings | None = None,
) -> DataFrame:
    """Take blobs of the net as features.

    Args:
        frame: what has the images.
        blobs: names of blobs, such as ``pool``; each has its value at the end of the pass.
        image: the column with a reference, or the bytes of a file. Of an animation the first
            picture counts.
        settings: model, fetching and decoding; those of the driver's environment when None.

    Returns:
        The frame with a column of floats for each blob, flattened in C order, and a column
        ``feature_error`` with a code where an image cannot be read.

    Raises:
        ConfigurationError: a column is missing or of another type.
    """
    _check_columns(frame, image, None)
    if "array" in dict(frame.dtypes)[image]:
        raise ConfigurationError(f"the column {image!r} has several images a row; explode it first")
    taking = functools.partial(
        _feature_batches, settings=_without_secrets(settings), image=image, blobs=tuple(blobs)
    )
    columns = ", ".join(f"`{blob}` array<float>" for blob in blobs)
    return _with_columns(frame, taking, f"{columns}, feature_error string")


def finetune(
    spark: SparkSession, arguments: Sequence[str], *, processes: int, attempts: int = 3
) -> str:
    """Train a model by several processes, each in a task of its own.

    Args:
        spark: with at least as many free slots, without dynamic allocation.
        arguments: of ``saferank finetune``; labels, pictures and ``--out`` are paths that every
            executor reads alike.
        processes: that train together.
        attempts: how often all are started, as long as some are lost; each goes on from the last
            checkpoint.

    Returns:
        What the first process printed.

    Raises:
        ConfigurationError: there are too few slots.
        JobError: processes were lost each time.
        SaferankError: a process ended with an error; this says with which.
    """
    from py4j.protocol import Py4JJavaError

    _check_slots(spark, processes)
    task = functools.partial(_train, arguments=list(arguments))
    reason = ""
    # Spark itself gives up a stage of this kind when one of its tasks fails.
    for _ in range(attempts):
        stage = spark.sparkContext.parallelize(range(processes), processes).barrier()
        try:
            ended: list[tuple[int, str]] = stage.mapPartitions(task).collect()
        except Py4JJavaError as error:
            reason = _sentence(str(error))
            continue
        failed = [printed for code, printed in ended if code]
        if not failed:
            return ended[0][1]
        # One that ends with a reason of its own is a lost one to the others.
        if own := [printed for printed in failed if LOST not in printed]:
            raise SaferankError(f"the training on Spark ended: {_sentence(own[0])}")
        reason = _sentence(failed[0])
    raise JobError(f"the training on Spark was tried {attempts} times: {reason}")


def _check_slots(spark: SparkSession, processes: int, *, patience: float = 30.0) -> None:
    # Spark itself would wait for minutes before it refuses. Executors may still be on their way.
    until = time.monotonic() + patience
    while (slots := spark.sparkContext.defaultParallelism) < processes:
        if time.monotonic() > until:
            raise ConfigurationError(
                f"{processes} processes train together, and Spark has {slots} slots; start with "
                "fewer, or give it more executors or cores"
            )
        time.sleep(0.5)


def _sentence(printed: str) -> str:
    said = [line for line in printed.splitlines() if _NAME in line]
    return said[-1].partition(_NAME)[2] if said else printed.strip()[-300:]


def _train(_: Iterator[int], *, arguments: Sequence[str]) -> Iterator[tuple[int, str]]:
    """Run the command in a process of its own: JAX can meet others only once in each."""
    from pyspark import BarrierTaskContext

    context = BarrierTaskContext.get()
    hosts = [info.address.partition(":")[0] for info in context.getTaskInfos()]
    # Spark's own ports are taken, so the first one looks for another.
    ports = context.allGather(str(_free_port()))
    rank = context.partitionId()
    run = subprocess.run(  # noqa: S603  (our own command)
        [sys.executable, "-m", "saferank.cli", "finetune", *arguments],
        env={
            **os.environ,
            "RANK": str(rank),
            "WORLD_SIZE": str(len(hosts)),
            "MASTER_ADDR": hosts[0],
            "MASTER_PORT": ports[0],
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    yield run.returncode, run.stdout


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("", 0))
        port: int = found.getsockname()[1]
        return port


def _check_columns(frame: DataFrame, image: str, reference: str | None) -> None:
    types = dict(frame.dtypes)
    for column in filter(None, (image, reference)):
        if column not in types:
            raise ConfigurationError(
                f"there is no column {column!r}; the frame has {', '.join(types)}"
            )
    if types[image] not in ("string", "binary", "array<string>"):
        raise ConfigurationError(
            f"the column {image!r} is {types[image]}; it must be string or array<string> "
            "(references), or binary (files)"
        )
    if reference is not None and types[image] != "binary":
        raise ConfigurationError(
            f"the column {image!r} has references itself; leave out 'reference'"
        )


def _without_secrets(settings: Settings | None) -> Settings:
    """What an executor needs of the settings: it talks to no index and to no broker."""
    given = settings or get_settings()
    return Settings.model_construct(
        **{
            **{name: field.default for name, field in Settings.model_fields.items()},
            **{name: getattr(given, name) for name in ("model", "fetch", "decode", "indexer")},
        }
    )


def _with_columns(frame: DataFrame, function: _Batches, columns: str) -> DataFrame:
    from pyspark.sql.types import StructType

    added = cast("StructType", StructType.fromDDL(columns))
    for name in added.names:
        if name in frame.columns:
            raise ConfigurationError(f"the frame has a column {name!r} already; rename it")
    return frame.mapInArrow(function, StructType([*frame.schema.fields, *added.fields]))


class _Given:
    """Images that came as bytes, in the place of a fetcher."""

    def __init__(self) -> None:
        self.images: dict[str, bytes] = {}

    def __call__(self, reference: str) -> Fetched:
        return Fetched(self.images[reference])

    def references_of(
        self, images: Sequence[bytes | None], names: Sequence[str | None]
    ) -> list[tuple[str, ...]]:
        """Take the images of some rows; gives what each row refers to."""
        self.images = {}
        found: list[tuple[str, ...]] = []
        for data, name in zip(images, names, strict=True):
            if data is None:
                found.append(())
                continue
            reference = hashlib.sha256(data).hexdigest() if name is None else name
            if self.images.setdefault(reference, data) != data:
                raise ConfigurationError(
                    f"two rows call different images {reference!r}; give another column as "
                    "'reference'"
                )
            found.append((reference,))
        return found


# What this process has made, by the settings: a model is loaded once, not once a task.
_made: dict[str, Any] = {}


def _once(settings: Settings, what: str, make: Callable[[], T]) -> T:
    needed = settings.model_dump_json(include={"model", "fetch", "decode", "indexer"})
    key = f"{os.getpid()} {what} {needed}"
    if key not in _made:
        _made[key] = make()
    found: T = _made[key]
    return found


def _make_scoring(settings: Settings, *, given: bool) -> tuple[Pipeline, _Given]:
    images = _Given()
    return make_pipeline(settings, fetch=images if given else None), images


def _score_batches(
    batches: Iterator[pa.RecordBatch], *, settings: Settings, image: str, reference: str | None
) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa

    types = {
        "string": pa.string(),
        "float": pa.float32(),
        "int": pa.int32(),
        "boolean": pa.bool_(),
    }
    each = pa.struct([(name, types[kind]) for name, kind in _IMAGE.items()])
    fields = [(name, types[kind]) for name, kind in _DOCUMENT.items()]
    record = pa.struct([*fields, ("images", pa.list_(each))])
    size = settings.indexer.chunk_size
    for batch in batches:
        given = pa.types.is_binary(batch.schema.field(image).type)
        pipeline, images = _once(
            settings,
            f"scoring {given}",
            functools.partial(_make_scoring, settings, given=given),
        )
        scores: list[dict[str, Any]] = []
        for start in range(0, batch.num_rows, size):
            part = batch.slice(start, size)
            values = part.column(image).to_pylist()
            if given:
                names = (
                    [None] * len(values)
                    if reference is None
                    else part.column(reference).to_pylist()
                )
                references = images.references_of(values, names)
            else:
                references = [_as_references(value) for value in values]
            documents = [
                Document(DocumentKey(str(row)), each) for row, each in enumerate(references)
            ]
            scores += [one.record.to_document() for one in pipeline.score(documents)]
        yield _with(batch, SAFETY, pa.array(scores, record))


def _as_references(value: Any) -> tuple[str, ...]:
    """As a document's field is read: nulls and blank strings are no values."""
    every = value if isinstance(value, list) else [value]
    return tuple(one for one in every if one is not None and one.strip())


def _feature_batches(
    batches: Iterator[pa.RecordBatch], *, settings: Settings, image: str, blobs: Sequence[str]
) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa

    net = _once(
        settings, f"features {blobs}", functools.partial(open_features, settings.model, blobs)
    )
    fetcher = _once(settings, "fetcher", functools.partial(Fetcher, settings.fetch))
    for batch in batches:
        columns: dict[str, list[Any]] = {blob: [] for blob in blobs}
        errors: list[str | None] = []
        for value in batch.column(image):
            found, error = _features_of(value.as_py(), net, fetcher, settings)
            errors.append(error)
            for blob in blobs:
                columns[blob].append(None if error else found[blob].ravel())
        for blob, values in columns.items():
            batch = _with(batch, blob, pa.array(values, pa.list_(pa.float32())))
        yield _with(batch, "feature_error", pa.array(errors, pa.string()))


def _features_of(
    value: str | bytes | None, net: FeatureNet, fetcher: Fetcher, settings: Settings
) -> tuple[dict[str, Any], str | None]:
    if value is None:
        return {}, ErrorCode.NOT_FOUND.value
    try:
        data = value if isinstance(value, bytes) else fetcher.fetch(value).data
        return net.of(decode(data, settings.decode).pictures[0]), None
    except ImageError as error:
        return {}, error.code.value


def _with(batch: pa.RecordBatch, name: str, values: pa.Array) -> pa.RecordBatch:
    import pyarrow as pa

    return pa.RecordBatch.from_arrays([*batch.columns, values], [*batch.schema.names, name])
