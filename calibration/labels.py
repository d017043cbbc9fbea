"""Labelled probabilities: read from a table, and checked.

========================  =========================================================================
``probability``           as the index has it, 0..1; or ``image``, which is then scored
``label``                 0, safe, allow; 1, nsfw, block; nothing, ?, ambiguous, unsure: left out;
                          or names of classes of one's own, of which one is said to be positive
``image``, ``id``         what the row is called; one id, or else one image, has one label
``weight``                how many documents of the index the row stands for; makes the rows a
                          sample of the index
``drawn``                 how the row was drawn: random, stratified, near_threshold
anything else             may be named as a group
========================  =========================================================================
"""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from saferank.errors import ConfigurationError

MOST = 500_000
"""Most rows: beyond them, intervals are narrower than any judgement of people."""
LEAST = 10
"""Fewest examples of each class."""
NAMES = ("image", "id")
"""Columns that say what a row is called; the first that is not empty counts."""
NEAR_THRESHOLD = "near_threshold"
"""How a row was drawn that says nothing of the share of anything."""

_POSITIVE = frozenset({"1", "nsfw", "block"})
_NEGATIVE = frozenset({"0", "safe", "allow"})
_AMBIGUOUS = frozenset({"", "?", "ambiguous", "unsure"})


@dataclass(frozen=True)
class Labels:
    """N labelled examples, at least ``LEAST`` of each class.

    Attributes:
        names: N, what each is called.
        probabilities: (N,) float32 in 0..1.
        truth: (N,) bool, whether each is of the positive class, which is to be hidden.
        weights: (N,) float64 above 0, documents of the index that each stands for; None when the
            examples are not drawn from an index.
        groups: column -> N values.
        remarks: what was left out and why, one sentence each.
    """

    names: Sequence[str]
    probabilities: NDArray[np.float32]
    truth: NDArray[np.bool_]
    weights: NDArray[np.float64] | None = None
    groups: Mapping[str, Sequence[str]] = field(default_factory=dict)
    remarks: Sequence[str] = ()

    def __len__(self) -> int:
        return len(self.names)

    @property
    def positives(self) -> int:
        """How many are of the positive class."""
        return int(self.truth.sum())

    @property
    def negatives(self) -> int:
        """How many are of the other class."""
        return len(self) - self.positives

    def part(self, chosen: NDArray[np.bool_]) -> Labels:
        """Some of the examples; there may be fewer than ``LEAST`` of a class."""
        places: list[int] = np.flatnonzero(chosen).tolist()
        return Labels(
            [self.names[place] for place in places],
            self.probabilities[places],
            self.truth[places],
            None if self.weights is None else self.weights[places],
            {name: [values[place] for place in places] for name, values in self.groups.items()},
        )


@dataclass(frozen=True)
class Table:
    """A table of texts, as it was read.

    Attributes:
        path: where it came from, for messages.
        columns: name -> one text a row.
    """

    path: str
    columns: Mapping[str, Sequence[str]]

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), ()))

    def where(self, row: int) -> str:
        """Names a row, from 0, in a message; the head of the table is row 1."""
        return f"{self.path}, row {row + 2}"


def read_table(path: Path) -> Table:
    """Read a CSV file in UTF-8, or a Parquet file (by its ending).

    Raises:
        ConfigurationError: it cannot be read, is empty, or has more than ``MOST`` rows.
    """
    read = _read_parquet if path.suffix.lower() in (".parquet", ".pq") else _read_csv
    table = Table(str(path), read(path))
    if not len(table):
        raise ConfigurationError(f"{path} has no rows; label some examples first")
    if len(table) > MOST:
        raise ConfigurationError(
            f"{path} has {len(table):,} rows, more than {MOST:,}; take a random sample of them, "
            "which says as much"
        )
    return table


def _read_csv(path: Path) -> dict[str, list[str]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
        head, *rows = list(csv.reader(StringIO(text))) or [[]]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}") from error
    if len(set(head)) < len(head):
        raise ConfigurationError(f"{path}: a column is named twice; name each once")
    rows = [row for row in rows if row]
    for number, row in enumerate(rows):
        if len(row) != len(head):
            raise ConfigurationError(
                f"{path}, row {number + 2}: {len(row)} values for {len(head)} columns; "
                "correct the row"
            )
    return {name: [row[place].strip() for row in rows] for place, name in enumerate(head)}


def _read_parquet(path: Path) -> dict[str, list[str]]:
    from pyarrow import ArrowException
    from pyarrow.parquet import read_table as read

    try:
        table = read(path)
    except (OSError, ArrowException) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}") from error
    return {
        name: [_text(value) for value in table[name].to_pylist()] for name in table.schema.names
    }


def _text(value: object) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool):
        return str(int(value))
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def to_labels(
    table: Table,
    groups: Sequence[str] = (),
    probabilities: Sequence[float] | None = None,
    positive: str | None = None,
) -> Labels:
    """Check a table of labels.

    Args:
        table: as it was read.
        groups: columns by whose values the examples are told apart.
        probabilities: of each row, where the table has none.
        positive: the label that is positive, where classes have names of their own; every other
            one is negative, but for those that say nothing.

    Raises:
        ConfigurationError: a column is missing or a value is wrong, one name has two labels, or
            there are too few examples of a class.
    """
    for column in ("label", *groups, *(() if probabilities is not None else ("probability",))):
        if column not in table.columns:
            raise ConfigurationError(
                f"{table.path}: the column {column!r} is missing; there are "
                f"{', '.join(map(repr, table.columns)) or 'none'}"
            )
    found = [_label(table, row, text, positive) for row, text in enumerate(table.columns["label"])]
    names, first = _names(table), _first_of_each(table, found)
    drawn = table.columns.get("drawn", ())
    near = {row for row, how in enumerate(drawn) if how == NEAR_THRESHOLD}
    kept = [row for row in first if row not in near]
    labels = Labels(
        names=[names[row] for row in kept],
        probabilities=_probabilities(table, kept, probabilities),
        truth=np.array([found[row] for row in kept], np.bool_),
        weights=_weights(table, kept),
        groups={name: [table.columns[name][row] for row in kept] for name in groups},
        remarks=[
            *_remarks(found, len(first), len(first) - len(kept)),
            *([] if positive is None else [_classes(table, kept, found)]),
        ],
    )
    _check_enough(table, labels, positive)
    return labels


def check_labels(table: Table, groups: Sequence[str] = (), positive: str | None = None) -> None:
    """Check all of a table but its probabilities, which are not known yet.

    Raises:
        ConfigurationError: as ``to_labels`` raises it.
    """
    to_labels(table, groups, [0.0] * len(table), positive)


def _label(table: Table, row: int, text: str, positive: str | None) -> bool | None:
    word = text.strip().lower()
    if word in _AMBIGUOUS:
        return None
    if positive is not None:
        return word == positive.strip().lower()
    if word in _POSITIVE or word in _NEGATIVE:
        return word in _POSITIVE
    raise ConfigurationError(
        f"{table.where(row)}: the label is {text!r}; write 0 or safe, 1 or nsfw, or ? if it is "
        "neither; if classes have names of their own, say which is positive (--positive NAME)"
    )


def _classes(table: Table, kept: Sequence[int], found: Sequence[bool | None]) -> str:
    """Which names count as what: a misspelt one would be negative without a word."""

    def named(side: bool) -> str:
        counts = Counter(table.columns["label"][row] for row in kept if found[row] is side)
        return ", ".join(f"{name!r} ({count:,})" for name, count in counts.most_common()) or "none"

    return f"positive: {named(True)}; negative: {named(False)}"


def _names(table: Table) -> list[str]:
    columns = [table.columns[name] for name in NAMES if name in table.columns]
    numbered = (f"row {row + 2}" for row in range(len(table)))
    return [next(filter(None, said)) for said in zip(*columns, numbered, strict=True)]


def _first_of_each(table: Table, found: Sequence[bool | None]) -> list[int]:
    """Rows with a label, of those about one document or image the first."""
    names = _names(table)
    # Documents of several indices may have the same id, and several documents the same image.
    ids = table.columns.get("id", names)
    keys = zip(table.columns.get("index", [""] * len(table)), ids, names, strict=True)
    seen: dict[tuple[str, str], int] = {}
    for row, (index, id, name) in enumerate(keys):
        if found[row] is None:
            continue
        first = seen.setdefault((index, id or name), row)
        if found[first] is not found[row]:
            raise ConfigurationError(
                f"{table.where(row)}: {name!r} is labelled otherwise in row {first + 2}; "
                "keep one of them"
            )
    return list(seen.values())


def _probabilities(
    table: Table, kept: Sequence[int], given: Sequence[float] | None
) -> NDArray[np.float32]:
    numbers = _numbers(table, "probability") if given is None else given
    values = np.array([numbers[row] for row in kept], np.float32)
    outside = np.flatnonzero(~((values >= 0) & (values <= 1)))
    if len(outside):
        row = kept[int(outside[0])]
        text = table.columns["probability"][row] if given is None else given[row]
        raise ConfigurationError(
            f"{table.where(row)}: the probability is {text!r}; it lies in 0..1"
        )
    return values + np.float32(0)  # A negative zero becomes zero.


def _weights(table: Table, kept: Sequence[int]) -> NDArray[np.float64] | None:
    if "weight" not in table.columns:
        return None
    texts = table.columns["weight"]
    values = _numbers(table, "weight")
    for row in kept:
        if not (values[row] > 0 and math.isfinite(values[row])):
            raise ConfigurationError(
                f"{table.where(row)}: the weight is {texts[row]!r}; it is a number above 0"
            )
    return np.array([values[row] for row in kept], np.float64)


def _numbers(table: Table, column: str) -> list[float]:
    """Numbers of a column; NaN where there is none, which is for the caller to refuse."""

    def number(text: str) -> float:
        try:
            return float(text)
        except ValueError:
            return math.nan

    return [number(text) for text in table.columns[column]]


def _remarks(found: Sequence[bool | None], first: int, near: int) -> list[str]:
    ambiguous = Counter(found)[None]
    repeated = len(found) - ambiguous - first
    told = {
        f"{ambiguous:,} without a clear label": ambiguous,
        f"{repeated:,} whose name and label stand there already": repeated,
        f"{near:,} drawn near a threshold, which say nothing of rates": near,
    }
    return [f"left out: {what}" for what, count in told.items() if count]


def _check_enough(table: Table, labels: Labels, positive: str | None) -> None:
    classes = ("1, nsfw", "0, safe") if positive is None else (positive, f"not {positive}")
    counts = {
        f"positive ({classes[0]})": labels.positives,
        f"negative ({classes[1]})": labels.negatives,
    }
    for what, count in counts.items():
        if count < LEAST:
            raise ConfigurationError(
                f"{table.path}: {count} of {len(labels):,} labels that count are {what}; at least "
                f"{LEAST} are needed, and hundreds for thresholds"
            )
