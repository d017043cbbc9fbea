"""What reviewers decided as a table of labels, as ``saferank calibrate`` and others take it."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from io import StringIO
from itertools import groupby

from saferank.review.entries import Act, Entry, Standing, live, opinions_of

COLUMNS = (
    "id",
    "label",
    "probability",
    "drawn",
    "model",
    "index",
    "decided_by",
    "decided_at",
    "queue",
    "policy",
    "sha256",
    "reason",
)

# Spreadsheets run what begins like this; such text gets an apostrophe before it.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def label_rows(entries: Iterable[Entry]) -> Iterator[tuple[str, ...]]:
    """One row for each settled item, in the order of ``COLUMNS``.

    Args:
        entries: chain by chain, each whole and in order.
    """
    for _, chain in groupby(entries, key=lambda entry: entry.item):
        row = _row(list(chain))
        if row is not None:
            yield row


def to_csv(rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    """The lines of a CSV file, with a header."""
    for row in (COLUMNS, *rows):
        line = StringIO()
        csv.writer(line, lineterminator="\n").writerow([_plain(cell) for cell in row])
        yield line.getvalue()


def drawn(queue: str | None) -> str:
    """How items of a review queue were drawn, as tables of labels say it."""
    if queue == "audit":
        return "random"
    return "near_threshold" if queue is not None and queue.startswith("near-") else "reviewed"


def _row(chain: list[Entry]) -> tuple[str, ...] | None:
    standing = Standing.of(chain)
    said = opinions_of(live(chain))
    if not said or standing.waiting or standing.override is None:
        return None
    label = standing.override.override.value
    agreeing = [entry for entry in said.values() if entry.act is Act(label)]
    entry, first = agreeing[-1], agreeing[0]
    return (
        entry.item.id,
        label,
        "" if entry.probability is None else f"{entry.probability:.9g}",
        # A second opinion is about an item that was drawn by the first.
        drawn(first.queue),
        entry.model or "",
        entry.item.index,
        ", ".join(one.by for one in agreeing),
        entry.at.isoformat(timespec="seconds"),
        first.queue or "",
        entry.policy or "",
        " ".join(entry.digests),
        entry.reason or "",
    )


def _plain(cell: str) -> str:
    return f"'{cell}" if cell.startswith(_FORMULA) else cell
