"""Spark: scores as a worker's, what an index has of them, features, and a training in tasks."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from brightness import data_uri, png
from elasticsearch import Elasticsearch
from PIL import Image
from small_model import write_small_model
from typer.testing import CliRunner

from saferank import spark as on_spark
from saferank.cli import app
from saferank.errors import ConfigurationError, SaferankError
from saferank.indexer.keys import DocumentKey
from saferank.indexer.score.imported import read_scores
from saferank.indexer.score.scoring import score_documents
from saferank.indexer.worker.resources import make_resources
from saferank.mappings import add_to_index
from saferank.models import load_model
from saferank.models.features import open_features
from saferank.settings import FetchSettings, Settings, get_settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@pytest.fixture(scope="module")
def spark() -> Iterator["SparkSession"]:
    """Two slots in this machine's Spark; its Python processes are this Python."""
    from pyspark.sql import SparkSession

    os.environ["PYSPARK_PYTHON"] = sys.executable
    session = (
        SparkSession.builder.master("local[2]")
        .config("spark.ui.enabled", "false")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.sql.shuffle.partitions", "2")
        .getOrCreate()
    )
    session.sparkContext.setLogLevel("ERROR")
    yield session
    session.stop()


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_model(tmp_path_factory.mktemp("small"), ("safe", "nsfw"))


@pytest.fixture
def settings(elasticsearch_url: str, small: Path, tmp_path: Path) -> Settings:
    return Settings(
        elasticsearch_url=elasticsearch_url,
        model=str(small),
        fetch=FetchSettings(file_roots=(tmp_path,)),
    )


def noise(number: int) -> Image.Image:
    pixels = np.random.default_rng(number).integers(0, 256, (40, 40, 3), np.uint8)
    return Image.fromarray(pixels)


def documents(folder: Path) -> dict[str, list[str]]:
    """Documents with one image, with two, with none, with one that is gone, and with one twice."""
    for number in range(20):
        noise(number).save(folder / f"{number}.png")
    found = {str(number): [f"file:{folder}/{number}.png"] for number in range(18)}
    found["two"] = [f"file:{folder}/18.png", f"file:{folder}/19.png"]
    found["none"] = []
    found["gone"] = [f"file:{folder}/gone.png"]
    found["twice"] = [f"file:{folder}/3.png", data_uri(png(30)), f"file:{folder}/3.png"]
    return found


def without_times(client: Elasticsearch, index: str) -> dict[str, Any]:
    client.indices.refresh(index=index)
    hits = client.search(index=index, size=100)["hits"]["hits"]
    found = {hit["_id"]: hit["_source"] for hit in hits}
    assert all(one["safety"].pop("scored_at") for one in found.values())
    return found


def test_scores_of_spark_leave_the_documents_that_a_worker_leaves(
    spark: "SparkSession",
    client: Elasticsearch,
    index_name: str,
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    every = documents(tmp_path)
    by_worker, by_import = f"{index_name}-worker", f"{index_name}-import"
    for index in (by_worker, by_import):
        properties = {"image": {"type": "keyword", "index": False}}
        client.indices.create(index=index, mappings={"properties": properties})
        add_to_index(client, index)
        for id, references in every.items():
            client.index(index=index, id=id, document={"image": references, "title": id})
    try:
        resources = make_resources(settings)
        keys = [DocumentKey(id) for id in every]
        score_documents(resources.pipeline, resources.store, by_worker, keys)

        frame = spark.createDataFrame(list(every.items()), "id string, image array<string>")
        path = tmp_path / "scores.parquet"
        on_spark.score(frame, settings=settings).write.parquet(str(path))
        # Changed since: the score is of another image.
        changed = {"image": [f"file:{tmp_path}/1.png"]}
        client.update(index=by_import, id="0", doc=changed)
        monkeypatch.setenv("SAFERANK_ELASTICSEARCH_URL", settings.elasticsearch_url)
        monkeypatch.setenv("SAFERANK_MODEL", settings.model)
        get_settings.cache_clear()
        run = CliRunner().invoke(app, ["import", by_import, str(path)])
        assert run.exit_code == 0, run.output
        assert "1 documents have other images than were scored" in run.output
        client.update(index=by_import, id="0", doc={"image": every["0"]})
        score_documents(resources.pipeline, resources.store, by_import, [DocumentKey("0")])
        stored = without_times(client, by_import)
        assert stored == without_times(client, by_worker)
        assert stored["gone"]["safety"]["error"] == "not_found"
        assert len(stored["twice"]["safety"]["images"]) == 3
        # Twice is as good as once.
        again = CliRunner().invoke(app, ["import", by_import, str(path)])
        assert (again.exit_code, without_times(client, by_import)) == (0, stored)
    finally:
        get_settings.cache_clear()
        client.indices.delete(index=[by_worker, by_import])


def test_bytes_are_scored_and_give_features(
    spark: "SparkSession", settings: Settings, small: Path, tmp_path: Path
) -> None:
    rows: list[tuple[str, bytes | None]] = []
    for number in range(5):
        noise(number).save(tmp_path / "one.png")
        rows.append((f"picture {number}", (tmp_path / "one.png").read_bytes()))
    rows += [("nothing", None), ("text", b"no picture")]
    frame = spark.createDataFrame(rows, "name string, content binary")
    scored = on_spark.score(frame, image="content", reference="name", settings=settings)
    found = {row["name"]: row["safety"] for row in scored.collect()}
    model, net = load_model(small), open_features(small, ["pool", "fc"])
    for number in range(5):
        blob = model.preprocess(noise(number))
        safety = found[f"picture {number}"]
        assert safety["probability"] == float(model.probabilities(blob[None])[0])
        assert safety["images"][0]["reference"] == f"picture {number}"
    assert (found["nothing"]["status"], found["text"]["error"]) == ("no_image", "not_an_image")

    taken = on_spark.features(frame, ["pool", "fc"], image="content", settings=settings).collect()
    for number, row in enumerate(taken[:5]):
        expected = net.of(noise(number))
        np.testing.assert_array_equal(row["pool"], expected["pool"].ravel())
        np.testing.assert_array_equal(row["fc"], expected["fc"])
    assert [row["feature_error"] for row in taken] == [*[None] * 5, "not_found", "not_an_image"]
    assert taken[6]["pool"] is None


def test_columns_that_do_not_fit_are_refused(spark: "SparkSession") -> None:
    frame = spark.createDataFrame([(1, "a", ["b"])], "id int, image string, many array<string>")
    for call, reason in (
        (lambda: on_spark.score(frame, image="picture"), "no column 'picture'; the frame has id"),
        (lambda: on_spark.score(frame, image="id"), "the column 'id' is int; it must be string"),
        (lambda: on_spark.score(frame, reference="id"), "has references itself"),
        (lambda: on_spark.features(frame, ["pool"], image="many"), "explode it first"),
        (lambda: on_spark.features(frame, ["image"]), "has a column 'image' already"),
        (
            lambda: on_spark._check_slots(spark, 3, patience=0),
            "3 processes train together, and Spark has 2 slots",
        ),
    ):
        with pytest.raises(ConfigurationError, match=reason):
            call()


def test_tasks_train_one_model_together(spark: "SparkSession", small: Path, tmp_path: Path) -> None:
    lines = ["image,label"]
    for number in range(12):
        picture = Image.new("L", (40, 40), 100 * (number % 2) + number)
        picture.save(tmp_path / f"{number}.png")
        lines.append(f"{number}.png,{'nsfw' if number % 2 else 'safe'}")
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    out = tmp_path / "out"
    arguments = [str(tmp_path / "labels.csv"), "--from", str(small), "--out", str(out)]
    arguments += ["--epochs", "1"]
    printed = on_spark.finetune(spark, [*arguments, "--batch", "4"], processes=2)
    assert "2 processes, as WORLD_SIZE says" in printed
    assert load_model(out).description.output.classes == ("safe", "nsfw")
    with pytest.raises(SaferankError, match="a batch of 3 cannot be shared evenly by 2 processes"):
        on_spark.finetune(spark, [*arguments, "--batch", "3"], processes=2)


@pytest.mark.parametrize(
    ("safety", "reason"),
    [
        (None, "'id' must be text, and 'safety' an object"),
        ({"model": "other"}, "it is of the model other, and the settings say mine"),
        (
            {"model": "mine", "scored_at": "now", "images": []},
            "not what scoring gives: Invalid iso",
        ),
        (
            {
                "model": "mine",
                "scored_at": "2026-01-01T00:00:00+00:00",
                "images": [{"reference": "a"}],
            },
            "must have either a probability or an error",
        ),
        ({"model": "mine", "scored_at": "2026-01-01T00:00:00", "images": []}, "a time zone"),
    ],
)
def test_a_table_that_is_none_of_scores_is_refused(
    tmp_path: Path, safety: dict[str, Any] | None, reason: str
) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    path = tmp_path / "scores.parquet"
    parquet.write_table(pa.table({"id": ["a"], "safety": [safety]}), path)
    with pytest.raises(ConfigurationError, match=reason):
        list(read_scores(path, "mine"))
    parquet.write_table(pa.table({"id": ["a"]}), path)
    with pytest.raises(ConfigurationError, match="the column 'safety' is missing"):
        list(read_scores(path, "mine"))
