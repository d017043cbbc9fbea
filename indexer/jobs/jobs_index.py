"""The index of the setting ``jobs_index``: job records, chunks of jobs, notes about images."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from elasticsearch import Elasticsearch

from saferank.connection import index_exists, make_index
from saferank.mappings.template import version_of


class Kind(StrEnum):
    """What a document of the index is; its field ``kind``."""

    JOB = "job"
    """A job record."""
    ENDED_JOB = "ended_job"
    """The record of a job that was started again since."""
    CHUNK = "chunk"
    """A chunk of a job."""
    IMAGE = "image"
    """An image that is looked at alone, or was given up."""


_MAPPINGS: dict[str, Any] = {
    "dynamic": "strict",
    "_meta": {"saferank": {"version": 3, "own": True}},
    "properties": {
        "kind": {"type": "keyword"},
        "index": {"type": "keyword"},
        # An image that is looked at alone, or was given up.
        "document": {"type": "keyword"},
        "sha256": {"type": "keyword"},
        "message": {"type": "double"},
        "at": {"type": "date"},
        # A chunk of a job.
        "job": {"type": "keyword"},
        "since": {"type": "date"},
        "done": {"type": "boolean"},
        "documents": {"type": "integer"},
        "counts": {"type": "object", "dynamic": True},
        "failures": {"type": "object", "dynamic": True},
        "rejected": {"type": "object", "enabled": False},
        # A job.
        "state": {"type": "keyword"},
        "record": {"type": "object", "enabled": False},
    },
}


def ensure_jobs_index(client: Elasticsearch, name: str) -> None:
    """Create the index unless it is there, and give an older one the fields it lacks."""
    if index_exists(client, name):
        [found] = client.indices.get_mapping(index=name).body.values()
        if version_of(found["mappings"]) < version_of(_MAPPINGS):
            client.indices.put_mapping(
                index=name, properties=_MAPPINGS["properties"], meta=_MAPPINGS["_meta"]
            )
        return
    make_index(client, name, _MAPPINGS)
