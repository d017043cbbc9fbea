"""The node that everything runs on, and the policy whose levels are compared."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from elasticsearch import Elasticsearch

from saferank.local.elasticsearch import start_node
from saferank.local.folders import cache_folder
from saferank.mappings import template

__all__ = ["LEVELS", "PLAIN", "POLICY", "prepare", "private_node"]

POLICY = """\
version: 1
levels:
  off:      {}
  lax:      {hide_from: 0.8, unscored: show}
  moderate: {demote_from: 0.2, hide_from: 0.8, unscored: demote}
  strict:   {hide_from: 0.2, unscored: hide}
contexts: [{level: strict}]
"""
LEVELS = ("off", "lax", "moderate", "strict")
PLAIN = "no policy"
"""In the place of a level: the plain client."""


@contextmanager
def private_node() -> Iterator[str]:
    """Address of a node of our own, on which everything is deleted again and again.

    Its data are in memory where that is easy: making an index waits for the disk.
    """
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(dir=memory if memory.is_dir() else cache_folder()))
    folder.chmod(0o755)  # For the user as whom the node runs.
    try:
        node = start_node(folder / "elasticsearch")
        try:
            with Elasticsearch(node.url) as client:
                prepare(client)
            yield node.url
        finally:
            node.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def prepare(client: Elasticsearch) -> None:
    """Give every new index the safety fields, below whatever the tests say."""
    safety = template.component_template()["template"]["mappings"]["properties"]
    client.cluster.put_settings(persistent={"action.destructive_requires_name": False})
    client.indices.put_template(
        name="compat",
        index_patterns=["*"],
        order=-1,
        settings={"number_of_replicas": 0},
        mappings={"properties": safety},
    )
