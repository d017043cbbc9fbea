"""A drawn sample as a review queue: the documents that ``saferank sample`` wrote to a file."""

from __future__ import annotations

import csv
from pathlib import Path

from elasticsearch import Elasticsearch

from saferank.errors import ConfigurationError
from saferank.review.entries import Item

_PAGE = 1000


def read_sample(path: Path) -> list[tuple[str, str]]:
    """The index and id of each document, in the file's order.

    Raises:
        ConfigurationError: it cannot be read, lacks a column, or names no document.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            table = csv.DictReader(file)
            for column in ("index", "id"):
                if column not in (table.fieldnames or ()):
                    raise ConfigurationError(
                        f"{path}: the column {column!r} is missing; give a file of saferank sample"
                    )
            rows = [(row["index"] or "", row["id"] or "") for row in table]
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise ConfigurationError(f"{path}: not a CSV file: {error}") from error
    if not rows:
        raise ConfigurationError(f"{path}: it has no documents; draw some with 'saferank sample'")
    return list(dict.fromkeys(rows))


def find_items(
    client: Elasticsearch, index: str, documents: list[tuple[str, str]]
) -> tuple[Item, ...]:
    """Those of the documents that are in an index now, as its items and in the same order.

    Args:
        client: connected.
        index: index or alias that is reviewed.
        documents: pairs of index and id.
    """
    items: dict[tuple[str, str], Item] = {}
    for start in range(0, len(documents), _PAGE):
        ids = sorted({id for _, id in documents[start : start + _PAGE]})
        # A search, since it finds a document without its routing.
        hits = client.search(
            index=index, query={"ids": {"values": ids}}, source=False, size=10 * _PAGE
        )["hits"]["hits"]
        for hit in hits:
            found = Item(index, hit["_id"], hit.get("_routing"))
            items[hit["_index"], hit["_id"]] = found
    return tuple(dict.fromkeys(items[one] for one in documents if one in items))
