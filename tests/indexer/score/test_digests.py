import logging
import sqlite3
import stat
from pathlib import Path

import pytest
from brightness import Brightness, data_uri, png

from saferank.indexer.decode import decode
from saferank.indexer.documents import Document
from saferank.indexer.fetch import Fetcher
from saferank.indexer.keys import DocumentKey
from saferank.indexer.score.digests import Digests
from saferank.indexer.score.pipeline import Pipeline
from saferank.mappings.record import ImageRecord
from saferank.settings import DecodeSettings, FetchSettings


def image(name: str, probability: float | None = 0.5, *, partial: bool = False) -> ImageRecord:
    return ImageRecord("https://x/y", name, probability, partial=partial, etag="e", width=3)


def document(level: int, key: str) -> Document:
    return Document(DocumentKey(key), (data_uri(png(level)),), {})


def pipeline(model: Brightness, path: Path) -> Pipeline:
    return Pipeline(
        model,
        Fetcher(FetchSettings()).fetch,
        lambda data: decode(data, DecodeSettings()),
        digests=Digests(path, 100),
    )


def test_bytes_are_known_to_another_process_under_the_same_model_only(tmp_path: Path) -> None:
    path = tmp_path / "new" / "digests"
    Digests(path, 10).keep("m", [image("a")])
    other = Digests(path, 10)
    assert other.recall("m", "a") == ImageRecord("", "a", 0.5, width=3)
    assert other.recall("n", "a") is None
    assert other.recall("m", "b") is None
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_it_keeps_no_more_than_its_limit_and_the_newest(tmp_path: Path) -> None:
    kept = Digests(tmp_path / "digests", 3)
    for number in range(10):
        kept.keep("m", [image(str(number))])
    known = [number for number in range(10) if kept.recall("m", str(number)) is not None]
    assert known == [7, 8, 9]


def test_only_whole_images_with_a_probability_are_kept(tmp_path: Path) -> None:
    kept = Digests(tmp_path / "digests", 3)
    kept.keep("m", [image("a", None), image("b", partial=True)])
    assert kept.recall("m", "a") is None
    assert kept.recall("m", "b") is None


def test_a_damaged_file_spares_no_work_and_stops_none(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "digests"
    path.write_bytes(b"no database" * 100)
    model = Brightness()
    with caplog.at_level(logging.WARNING):
        [scored] = pipeline(model, path).score([document(51, "1")])
    assert scored.record.probability is not None
    assert str(path) in caplog.text


def test_a_record_that_cannot_be_read_is_not_believed(tmp_path: Path) -> None:
    path = tmp_path / "digests"
    kept = Digests(path, 3)
    kept.keep("m", [image("a")])
    kept.close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE images SET record = '{\"reference\": 1}'")
    connection.close()
    assert Digests(path, 3).recall("m", "a") is None


def test_the_same_bytes_in_another_index_are_not_scored_again(tmp_path: Path) -> None:
    path, model = tmp_path / "digests", Brightness()
    [first] = pipeline(model, path).score([document(51, "1")])
    again, new = pipeline(model, path).score([document(51, "2"), document(204, "3")])
    assert model.frames == 2
    assert (first.inferred, again.inferred, new.inferred) == (1, 0, 1)
    assert again.record.images == first.record.images


def test_force_scores_again_and_another_model_does_not_know_them(tmp_path: Path) -> None:
    path, model = tmp_path / "digests", Brightness()
    pipeline(model, path).score([document(51, "1")])
    pipeline(model, path).score([document(51, "1")], force=True)
    assert model.frames == 2
    other = Brightness("brightness-2")
    pipeline(other, path).score([document(51, "1")])
    assert other.frames == 1
