"""Tables of labels: what is read, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from saferank.calibration import labels
from saferank.calibration.labels import Labels, Table, read_table, to_labels
from saferank.errors import ConfigurationError

HEAD = "image,probability,label"
ROWS = [f"{number}.jpg,0.{number:02d},{number % 2}" for number in range(30)]


def read(tmp_path: Path, *rows: str, head: str = HEAD, groups: tuple[str, ...] = ()) -> Labels:
    path = tmp_path / "labels.csv"
    path.write_text("\n".join([head, *rows]) + "\n", encoding="utf-8")
    return to_labels(read_table(path), groups)


def test_words_numbers_and_doubts(tmp_path: Path) -> None:
    words = [
        "a,1,NSFW",
        "b,0.5,block",
        "c,0,safe",
        "d,-0.0,allow",
        "e,0.2,?",
        "f,0.2,unsure",
        "g,,",
    ]
    found = read(tmp_path, *ROWS, *words)
    assert found.positives == 17
    assert found.negatives == 17
    assert found.remarks == ["left out: 3 without a clear label"]
    assert not np.signbit(found.probabilities).any()


def test_classes_may_have_names_of_their_own(tmp_path: Path) -> None:
    words = ("Animal", "texture")
    rows = [f"{number}.jpg,0.{number:02d},{words[number % 2]}" for number in range(30)]
    path = tmp_path / "labels.csv"
    path.write_text("\n".join([HEAD, *rows, "x,0.5,?", "y,0.5,textrue"]))
    found = to_labels(read_table(path), positive="animal")
    assert found.truth.tolist() == [True, False] * 15 + [False]
    assert found.remarks == [
        "left out: 1 without a clear label",
        "positive: 'Animal' (15); negative: 'texture' (15), 'textrue' (1)",
    ]
    with pytest.raises(ConfigurationError, match=r"0 of 31 .* are positive \(cat\)"):
        to_labels(read_table(path), positive="cat")


def test_what_stands_twice_counts_once(tmp_path: Path) -> None:
    found = read(tmp_path, *ROWS, ROWS[3])
    assert len(found) == 30
    assert found.remarks == ["left out: 1 whose name and label stand there already"]


def test_documents_of_two_indices_may_have_one_id(tmp_path: Path) -> None:
    rows = [f"{number % 15},{number // 15},0.5,{number // 15}" for number in range(30)]
    assert len(read(tmp_path, *rows, head="id,index,probability,label")) == 30


def test_rows_drawn_near_a_threshold_say_nothing_of_rates(tmp_path: Path) -> None:
    rows = [f"{row},random" for row in ROWS] + ["x,0.5,1,near_threshold"]
    found = read(tmp_path, *rows, head=f"{HEAD},drawn")
    assert len(found) == 30
    assert "near a threshold" in found.remarks[0]


def test_parquet_is_read_as_csv_is(tmp_path: Path) -> None:
    path = tmp_path / "labels.parquet"
    columns = {
        "image": [f"{number}.jpg" for number in range(30)],
        "probability": [number / 100 for number in range(30)],
        "label": [float(number % 2) for number in range(29)] + [None],
        "surface": ["web", "app"] * 15,
    }
    parquet.write_table(pa.table(columns), path)
    found = to_labels(read_table(path), ("surface",))
    assert (found.positives, found.negatives) == (14, 15)
    assert found.probabilities[7] == np.float32(0.07)
    assert found.groups["surface"][:2] == ["web", "app"]


@pytest.mark.parametrize(
    ("head", "rows", "said"),
    [
        ("image,probability", ["a,0.5"], "the column 'label' is missing"),
        ("image,label", ["a,1"], "the column 'probability' is missing"),
        (HEAD, [], "has no rows"),
        (HEAD, [*ROWS, "x,1.5,1"], "row 32: the probability is '1.5'; it lies in 0..1"),
        (HEAD, [*ROWS, "x,nan,1"], "row 32: the probability is 'nan'"),
        (HEAD, [*ROWS, "x,,1"], "row 32: the probability is ''"),
        (HEAD, [*ROWS, "x,0.5,maybe"], "row 32: the label is 'maybe'"),
        (HEAD, [*ROWS, "0.jpg,0,1"], "row 32: '0.jpg' is labelled otherwise in row 2"),
        (HEAD, [*ROWS, "x,0.5"], "row 32: 2 values for 3 columns"),
        (HEAD, ROWS[:2], "1 of 2 labels that count are positive"),
        (HEAD, [f"{n},0.5,1" for n in range(40)], "0 of 40 labels that count are negative"),
        (f"{HEAD},label", ["a,0.5,1,1"], "a column is named twice"),
        (f"{HEAD},weight", [*(f"{row},2" for row in ROWS), "x,0,1,0"], "the weight is '0'"),
    ],
)
def test_a_wrong_table_is_refused_in_one_sentence(
    tmp_path: Path, head: str, rows: list[str], said: str
) -> None:
    with pytest.raises(ConfigurationError) as raised:
        read(tmp_path, *rows, head=head)
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_missing_group_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="the column 'region' is missing"):
        read(tmp_path, *ROWS, groups=("region",))


def test_more_rows_than_help_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labels, "MOST", 29)
    with pytest.raises(ConfigurationError, match="30 rows, more than 29; take a random sample"):
        read(tmp_path, *ROWS)


@pytest.mark.parametrize("name", ["labels.csv", "labels.parquet"])
def test_files_that_cannot_be_read(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\xff\xfe\x00PAR1")
    for path in (tmp_path / name, tmp_path / f"missing-{name}"):
        with pytest.raises(ConfigurationError, match="cannot be read"):
            read_table(path)


def test_probabilities_from_elsewhere_need_no_column() -> None:
    columns = {"label": ["0", "1"] * 10}
    found = to_labels(Table("x", columns), probabilities=[0.25] * 20)
    assert found.names[0] == "row 2"
    assert set(found.probabilities) == {np.float32(0.25)}
