"""Nets side by side: how accurate they are, and what that costs."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from saferank.errors import ConfigurationError
from saferank.models.builder.cost import Cost, cost_of

PUBLISHED = Path(__file__).with_name("published.csv")
_COLUMNS = ("net", "accuracy", "measured", "source")


@dataclass(frozen=True)
class Compared:
    """One net in a comparison.

    Attributes:
        net: its name, or the path of its prototxt.
        cost: what one forward pass costs.
        accuracy: 0 to 1.
        measured: what the accuracy is of.
        source: who says so.
    """

    net: str
    cost: Cost
    accuracy: float
    measured: str
    source: str


def read_results(path: Path) -> Sequence[Compared]:
    """Read accuracies, and count the nets that they are of; the most accurate net first.

    Args:
        path: CSV in UTF-8 with the columns ``net`` (a name or a prototxt's path), ``accuracy``
            (0 to 1), ``measured`` and ``source``.

    Raises:
        ConfigurationError: the file is not such a table, or a net is not known.
        ModelError: a prototxt is wrong.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: the results cannot be read: {error}") from error
    lines = csv.DictReader(StringIO(text))
    missing = [name for name in _COLUMNS if name not in (lines.fieldnames or ())]
    if missing:
        raise ConfigurationError(
            f"{path}: the column {missing[0]!r} is missing; there must be {', '.join(_COLUMNS)}"
        )
    found = sorted(_compared(path, lines), key=lambda one: -one.accuracy)
    if not found:
        raise ConfigurationError(f"{path}: there is no line behind the names of the columns")
    return found


def _compared(path: Path, lines: csv.DictReader[str]) -> Iterable[Compared]:
    for line in lines:
        where = f"{path}:{lines.line_num}"
        try:
            accuracy = float(line["accuracy"])
        except (TypeError, ValueError):
            accuracy = float("nan")
        if not 0 <= accuracy <= 1:
            raise ConfigurationError(
                f"{where}: the accuracy {line['accuracy']!r} is not a number from 0 to 1"
            )
        try:
            cost = cost_of(line["net"])
        except ConfigurationError as error:
            raise ConfigurationError(f"{where}: {error}") from error
        yield Compared(line["net"], cost, accuracy, line["measured"] or "", line["source"] or "")
