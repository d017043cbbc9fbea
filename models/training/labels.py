"""Labelled pictures from where people keep them: tables as CSV or Parquet, Caffe's databases."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError

from saferank.errors import ConfigurationError
from saferank.models.caffe import caffe_pb2 as pb
from saferank.models.training.examples import Example

_COLUMNS = ("image", "label")

# Where a label stands, the picture's name, its label, and what reads it.
_Labelled = tuple[str, str, str, Callable[[], bytes]]


def read_labels(path: Path, known: Sequence[str]) -> tuple[tuple[str, ...], Sequence[Example]]:
    """Read labels.

    Args:
        path: one of

            - CSV in UTF-8 with the columns ``image`` (a file, relative to the table's folder) and
              ``label`` (the name of a class, or its number);
            - Parquet, a file or a folder, with the same columns, where ``image`` may also be the
              bytes of an image file;
            - the folder of an LMDB of Caffe's Datums, encoded or raw.
        known: names of the classes in the net's order, which also give the numbers their meaning;
            labels that are none of them make classes of their own, in alphabetical order.

    Returns:
        The names of the classes, and the examples.

    Raises:
        ConfigurationError: there are no labels in it, or one image has two.
    """
    if (path / "data.mdb").exists() or path.suffix == ".mdb":
        found = _in_lmdb(path if path.is_dir() else path.parent)
    elif path.suffix == ".parquet" or (path.is_dir() and any(path.glob("*.parquet"))):
        found = _in_parquet(path)
    else:
        found = _in_csv(path)
    labels: dict[str, tuple[str, Callable[[], bytes]]] = {}
    for where, image, label, read in found:
        if not image or not label:
            raise ConfigurationError(f"{where}: image or label is empty")
        first, _ = labels.setdefault(image, (label, read))
        if first != label:
            raise ConfigurationError(
                f"{where}: {image} is labelled {first!r} and {label!r}; keep one"
            )
    return _numbered(path, labels, known)


def _numbered(
    path: Path, labels: dict[str, tuple[str, Callable[[], bytes]]], known: Sequence[str]
) -> tuple[tuple[str, ...], Sequence[Example]]:
    numbers = {str(place): name for place, name in enumerate(known)}
    named = {image: numbers.get(label, label) for image, (label, _) in labels.items()}
    found = set(named.values())
    classes = tuple(known) if found <= set(known) else tuple(sorted(found))
    if len(found) < 2:
        raise ConfigurationError(
            f"{path}: all labels are of one class; there must be examples of two at least"
        )
    examples = [
        Example(image, classes.index(named[image]), read) for image, (_, read) in labels.items()
    ]
    return classes, examples


def _read_file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from error


def _check_columns(path: Path, found: Sequence[str]) -> None:
    for column in _COLUMNS:
        if column not in found:
            raise ConfigurationError(
                f"{path}: the column {column!r} is missing; there must be image and label"
            )


def _in_csv(path: Path) -> Iterator[_Labelled]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: the labels cannot be read: {error}") from error
    lines = csv.DictReader(StringIO(text))
    _check_columns(path, lines.fieldnames or ())
    for line in lines:
        image = path.parent / line["image"] if line["image"] else None
        read = partial(_read_file, image or path)
        where, label = f"{path}:{lines.line_num}", (line["label"] or "").strip()
        yield where, str(image or ""), label, read


def _in_parquet(path: Path) -> Iterator[_Labelled]:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        table = parquet.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise ConfigurationError(f"{path}: the labels cannot be read: {error}") from error
    _check_columns(path, table.column_names)
    kind = table.schema.field("image").type
    in_table = pa.types.is_binary(kind) or pa.types.is_large_binary(kind)
    if not in_table and not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        raise ConfigurationError(
            f"{path}: the column 'image' is {kind}; it must be text (a file) or bytes"
        )
    for number, (image, label) in enumerate(
        zip(table["image"], table["label"], strict=True), start=1
    ):
        where = f"{path}, row {number}"
        value, said = image.as_py(), "" if label.as_py() is None else str(label.as_py()).strip()
        if in_table and value:
            yield where, where, said, partial(_bytes_of, image)
        else:
            file = path.parent / value if value else None
            yield where, str(file or ""), said, partial(_read_file, file or path)


def _bytes_of(value: Any) -> bytes:
    """A value of a table, which stays there until it is wanted."""
    data: bytes = value.as_py()
    return data


def _in_lmdb(folder: Path) -> Iterator[_Labelled]:
    import lmdb

    try:
        # Without a lock, databases can be read that stand in folders of others.
        database = lmdb.open(str(folder), readonly=True, lock=False, readahead=False)
        with database.begin(buffers=True) as reading:
            for key, value in reading.cursor():
                name = bytes(key).decode(errors="replace")
                where = f"{folder}, key {name}"
                datum = _datum(bytes(value), where)
                yield where, where, str(datum.label), partial(_in_database, database, bytes(key))
    except lmdb.Error as error:
        raise ConfigurationError(
            f"{folder}: not an LMDB that can be read: {error}; give the folder of one that is "
            "complete"
        ) from error


def _in_database(database: Any, key: bytes) -> bytes:
    with database.begin() as reading:
        return _picture(_datum(reading.get(key), key.decode(errors="replace")))


def _datum(value: bytes, where: str) -> pb.Datum:
    """Read a value and see that it has a picture and a label.

    Raises:
        ConfigurationError: it has not.
    """
    datum = pb.Datum()
    try:
        datum.MergeFromString(value)
    except DecodeError as error:
        raise ConfigurationError(f"{where}: not a Datum of Caffe's: {error}") from error
    if not datum.HasField("label"):
        raise ConfigurationError(f"{where}: it has no label; make the database with one")
    if not datum.data:
        raise ConfigurationError(
            f"{where}: it has no picture, but {len(datum.float_data)} numbers; a net of pictures "
            "cannot learn from it"
        )
    size = datum.channels * datum.height * datum.width
    if not datum.encoded and (datum.channels not in (1, 3) or len(datum.data) != size):
        raise ConfigurationError(
            f"{where}: {len(datum.data)} bytes are no picture of {datum.channels}x{datum.height}x"
            f"{datum.width}; it must have 1 or 3 channels and a byte for each value"
        )
    return datum


def _picture(datum: pb.Datum) -> bytes:
    """The bytes of an image file: those given, or the pixels as PNG."""
    if datum.encoded:
        return datum.data
    from PIL import Image

    planes = np.frombuffer(datum.data, np.uint8)
    planes = planes.reshape(datum.channels, datum.height, datum.width)
    # Caffe's tools write BGR.
    pixels = planes[0] if len(planes) == 1 else planes[::-1].transpose(1, 2, 0)
    image = Image.fromarray(np.ascontiguousarray(pixels))
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=1)
    return file.getvalue()
