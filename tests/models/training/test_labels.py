"""Labels from tables and from Caffe's databases, and what is said where they are wrong."""

import io
from pathlib import Path

import lmdb
import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

from saferank.errors import ConfigurationError
from saferank.models.caffe import caffe_pb2 as pb
from saferank.models.training.labels import read_labels

KNOWN = ("safe", "nsfw")
# Blue, green and red of two pixels, in Caffe's order.
PLANES = np.array([[[10, 11]], [[20, 21]], [[30, 31]]], np.uint8)


def jpeg(level: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (level, 0, 0)).save(file, "JPEG")
    return file.getvalue()


def database(folder: Path, *datums: pb.Datum | bytes) -> Path:
    with lmdb.open(str(folder), map_size=1 << 20) as made, made.begin(write=True) as writing:
        for number, datum in enumerate(datums):
            value = datum if isinstance(datum, bytes) else datum.SerializeToString()
            writing.put(f"{number:08}".encode(), value)
    return folder


def raw(planes: np.ndarray, label: int) -> pb.Datum:
    channels, height, width = planes.shape
    return pb.Datum(
        channels=channels, height=height, width=width, data=planes.tobytes(), label=label
    )


def table(path: Path, image: pa.Array, label: list[object]) -> Path:
    parquet.write_table(pa.table({"image": image, "label": label}), path)
    return path


def test_a_database_has_files_and_pixels(tmp_path: Path) -> None:
    encoded = pb.Datum(data=jpeg(200), label=1, encoded=True)
    grey = np.array([[[7], [9]]], np.uint8)
    folder = database(tmp_path / "db", encoded, raw(PLANES, 0), raw(grey, 1))
    classes, examples = read_labels(folder, KNOWN)
    assert classes == KNOWN
    assert [one.label for one in examples] == [1, 0, 1]
    assert examples[0].read() == jpeg(200)
    pixels = np.asarray(Image.open(io.BytesIO(examples[1].read())))
    np.testing.assert_array_equal(pixels, [[[30, 20, 10], [31, 21, 11]]])
    one = np.asarray(Image.open(io.BytesIO(examples[2].read())))
    np.testing.assert_array_equal(one, [[7], [9]])
    # A training that goes on takes the examples for the same by their names.
    assert examples[0].name == f"{folder}, key 00000000"


def test_a_table_of_parquet_has_files_or_bytes(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(jpeg(1))
    files = table(tmp_path / "files.parquet", pa.array(["a.jpg", "b.jpg"]), ["safe", "nsfw"])
    classes, examples = read_labels(files, KNOWN)
    assert (classes, [one.label for one in examples]) == (KNOWN, [0, 1])
    assert examples[0].read() == jpeg(1)
    with pytest.raises(ConfigurationError, match=r"b\.jpg cannot be read: No such file"):
        examples[1].read()
    # As Spark writes it: a folder of parts, with numbers as labels.
    folder = tmp_path / "made"
    folder.mkdir()
    table(folder / "part-0.parquet", pa.array([jpeg(2), jpeg(3)]), [1, 0])
    _, examples = read_labels(folder, KNOWN)
    assert [(one.read(), one.label) for one in examples] == [(jpeg(2), 1), (jpeg(3), 0)]


def refused(path: Path, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason):
        read_labels(path, KNOWN)


def test_a_database_that_is_none_of_labelled_pictures_is_refused(tmp_path: Path) -> None:
    numbers = pb.Datum(channels=1, height=1, width=2, float_data=[0.5, 1], label=0)
    unlabelled = pb.Datum(data=jpeg(1), encoded=True)
    two_channels = raw(PLANES[:2], 1)
    short = raw(PLANES, 0)
    short.data = short.data[:5]
    for name, datum, reason in (
        ("numbers", numbers, "key 00000000: it has no picture, but 2 numbers"),
        ("unlabelled", unlabelled, "it has no label"),
        ("two", two_channels, "4 bytes are no picture of 2x1x2"),
        ("short", short, "5 bytes are no picture of 3x1x2"),
        ("other", b"\xff\xff\xff", "not a Datum of Caffe's"),
    ):
        refused(database(tmp_path / name, datum), reason)
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "data.mdb").write_text("no database")
    refused(tmp_path / "text", r"text: not an LMDB that can be read.*complete")


def test_a_table_that_is_none_of_labelled_pictures_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "labels.parquet"
    path.write_text("no table")
    refused(path, "the labels cannot be read")
    refused(table(path, pa.array([1, 2]), [0, 1]), "column 'image' is int64; it must be text")
    refused(table(path, pa.array(["a", None]), [0, 1]), "row 2: image or label is empty")
    refused(table(path, pa.array(["a", "a"]), [0, None]), "row 2: image or label is empty")
    refused(table(path, pa.array(["a", "a"]), [0, 1]), "row 2: .*/a is labelled '0' and '1'")
    parquet.write_table(pa.table({"image": ["a"]}), path)
    refused(path, "the column 'label' is missing")
