"""A new model's scores beside the old one's, and the switch between them."""

from typing import Any

import numpy as np
from brightness import Brightness, brightness_pipeline, data_uri, png
from elasticsearch import Elasticsearch
from numpy.typing import NDArray

from saferank.indexer.keys import DocumentKey
from saferank.indexer.score.scoring import score_documents
from saferank.indexer.storage.store import DocumentStore
from saferank.mappings import SafetyFields, add_to_index, check_index
from saferank.mappings.float32 import as_probability
from saferank.ranker import SafeSearch, load_policy

OLD = SafetyFields("safety")
NEW = SafetyFields("safety_2", "safety")

POLICY = """
version: 1
levels:
  off: {}
  strict: {hide_from: 0.5, unscored: hide}
contexts:
  - {level: strict}
"""
SWITCHED = POLICY.replace(
    "version: 1\n", "version: 1\nfield: safety_2\noverride_field: safety\nmodel: darkness-1\n"
)


class Darkness(Brightness):
    """The new model: it sees everything the other way round."""

    def probabilities(self, blobs: NDArray[np.float32]) -> NDArray[np.float32]:
        return 1 - super().probabilities(blobs)


def shown(client: Elasticsearch, index: str, policy: str) -> set[str]:
    found: Any = SafeSearch(client, load_policy(policy)).search(
        index=index, query={"match_all": {}}
    )
    return {hit["_id"] for hit in found["hits"]["hits"]}


def test_scores_side_by_side_the_switch_and_the_way_back(
    client: Elasticsearch, index_name: str
) -> None:
    client.indices.create(
        index=index_name,
        settings={"number_of_replicas": 0},
        mappings={
            "dynamic": "strict",
            "properties": {"image": {"type": "keyword", "index": False, "doc_values": False}},
        },
    )
    pictures = {"dark": 26, "light": 230, "blocked": 51, "allowed": 204}
    add_to_index(client, index_name, OLD)
    for id, level in pictures.items():
        client.index(index=index_name, id=id, document={"image": data_uri(png(level))})
    client.update(index=index_name, id="blocked", doc={"safety": {"override": "block"}})
    keys = [DocumentKey(id) for id in pictures]
    old_model, new_model = Brightness(), Darkness("darkness-1")
    score_documents(
        brightness_pipeline(old_model), DocumentStore(client, OLD, "image"), index_name, keys
    )
    client.indices.refresh(index=index_name)
    assert shown(client, index_name, POLICY) == {"dark"}
    # Before the new model has scored, a switch hides everything: unscored is not safe.
    add_to_index(client, index_name, NEW)
    check_index(client, index_name, OLD)
    assert shown(client, index_name, SWITCHED) == set()

    score_documents(
        brightness_pipeline(new_model), DocumentStore(client, NEW, "image"), index_name, keys
    )
    # A decision during the roll-out is made where people always make it.
    client.update(index=index_name, id="allowed", doc={"safety": {"override": "allow"}})
    client.indices.refresh(index=index_name)
    source = client.get(index=index_name, id="light")["_source"]
    assert source["safety"]["probability"] == as_probability(230 / 255)
    assert source["safety"]["model"] == "brightness-1"
    assert abs(source["safety_2"]["probability"] - 25 / 255) < 1e-6
    assert source["safety_2"]["model"] == "darkness-1"
    assert "override" not in source["safety_2"]

    assert shown(client, index_name, POLICY) == {"dark", "allowed"}
    assert shown(client, index_name, SWITCHED) == {"light", "allowed"}
    assert shown(client, index_name, POLICY) == {"dark", "allowed"}

    # Who goes on scoring with the old model does not disturb the new scores.
    client.index(index=index_name, id="late", document={"image": data_uri(png(10))})
    late = [DocumentKey("late")]
    score_documents(
        brightness_pipeline(old_model), DocumentStore(client, OLD, "image"), index_name, late
    )
    client.indices.refresh(index=index_name)
    assert "late" in shown(client, index_name, POLICY)
    assert "late" not in shown(client, index_name, SWITCHED)
