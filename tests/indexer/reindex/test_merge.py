"""What a document becomes in the new index."""

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saferank.indexer.reindex.merge import digest, merged, without_scores


def score(
    probability: float, model: str = "m1", at: str = "2026-01-01", *images: str
) -> dict[str, Any]:
    return {
        "probability": probability,
        "model": model,
        "status": "scored",
        "error": None,
        "scored_at": at,
        "images": [{"reference": image} for image in images or ("a.png",)],
    }


def merge(source: dict[str, Any], copied: dict[str, Any] | None, model: str = "m2") -> Any:
    return merged(source, copied, scores={"safety": model}, image_field="image")


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (None, None, None),
        (score(0.1), None, 0.1),
        (None, score(0.2), 0.2),
        # The wanted model is better than the later score.
        (score(0.1, "m1", "2026-02-01"), score(0.2, "m2", "2026-01-01"), 0.2),
        (score(0.1, "m2", "2026-01-01"), score(0.2, "m1", "2026-02-01"), 0.1),
        (score(0.1, "m1", "2026-02-01"), score(0.2, "m1", "2026-01-01"), 0.1),
        (score(0.1, "m1", "2026-01-01"), score(0.2, "m1", "2026-02-01"), 0.2),
        # A score of another image than the document has now is none.
        (score(0.1, "m2", "2026-03-01", "b.png"), score(0.2), 0.2),
        (score(0.1, "m2", "2026-03-01", "a.png", "b.png"), None, None),
        ({"status": "no_image", "model": "m2", "images": []}, None, None),
    ],
)
def test_the_better_score_that_is_of_these_images_is_kept(
    old: Any, new: Any, expected: float | None
) -> None:
    source = {"image": "a.png", "safety": old}
    document = merge(source, {"image": "other", "safety": new})
    safety = document.get("safety") or {}
    assert safety.get("probability") == expected
    assert ("status" in safety) == (expected is not None)


def test_decisions_are_those_of_the_old_index_only() -> None:
    source = {"image": "a.png", "safety": {"override": "block", "override_by": "ann"}}
    copied = {"image": "a.png", "safety": {**score(0.2), "override": "allow"}}
    safety = merge(source, copied)["safety"]
    assert (safety["override"], safety["override_by"]) == ("block", "ann")
    assert safety["probability"] == 0.2
    assert "override" not in merge({"image": "a.png"}, copied)["safety"]


def test_keys_with_dots_and_nested_roots() -> None:
    root = "media.safety"
    source = {
        "image": "a.png",
        "media": {"safety.probability": 0.9, "safety.override": "allow", "width": 3},
    }
    assert without_scores(source, [root]) == {
        "image": "a.png",
        "media": {"safety.override": "allow", "width": 3},
    }
    copied = {"media": {"safety": score(0.2)}}
    document = merged(source, copied, scores={root: "m1"}, image_field="image")
    assert document["media"]["safety"]["probability"] == 0.2
    assert digest(document, [root]) == digest(source, [root])


_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "b", "safety", "image", "c.d"]), inner, max_size=3)
    ),
    max_leaves=10,
)
_documents = st.dictionaries(
    st.sampled_from(["image", "title", "tags", "safety"]), _values, max_size=4
)
_safety = st.none() | st.builds(
    score, st.floats(0, 1), st.sampled_from(["m1", "m2"]), st.sampled_from(["2026-01", "2026-02"])
)


@given(_documents, _safety, _safety)
def test_nothing_but_the_score_ever_differs(
    document: dict[str, Any], old: dict[str, Any] | None, new: dict[str, Any] | None
) -> None:
    source = document if old is None else {**document, "safety": old}
    before = copy.deepcopy(source)
    result = merge(source, None if new is None else {"image": "a.png", "safety": new})
    assert source == before
    assert digest(result, ["safety"]) == digest(source, ["safety"])


@pytest.mark.parametrize(
    "change",
    [{"title": "x"}, {"tags": [2, 1]}, {"image": "b.png"}, {"safety": {"override": "allow"}}],
)
def test_a_changed_field_changes_the_digest(change: dict[str, Any]) -> None:
    document = {"image": "a.png", "title": "t", "tags": [1, 2], "safety": score(0.1)}
    assert digest({**document, **change}, ["safety"]) != digest(document, ["safety"])


def test_an_array_of_the_applications_own_is_copied_as_it_is() -> None:
    source = {"image": "a", "safety": [{"status": "new", "model": "x"}, {"error": "none"}]}
    scored = {"image": "a", "safety": {"status": "scored", "images": [{"reference": "a"}]}}
    for copied in (None, scored):
        document = merged(source, copied, scores={"safety": "m"}, image_field="image")
        assert document == source


def test_half_a_surrogate_pair_counts_like_any_character() -> None:
    one, other = {"title": "\ud83d"}, {"title": "\ude00"}
    assert digest(one, ["safety"]) != digest(other, ["safety"])


def test_each_category_s_better_score_is_chosen_on_its_own() -> None:
    source = {"image": "a.png", "safety": score(0.1, "m2"), "gore": score(0.3, "v1")}
    copied = {"image": "a.png", "safety": score(0.2, "m1"), "gore": score(0.4, "v2")}
    scores = {"safety": "m2", "gore": "v2"}
    document = merged(source, copied, scores=scores, image_field="image")
    assert (document["safety"]["probability"], document["gore"]["probability"]) == (0.1, 0.4)
    assert digest(document, [*scores]) == digest(source, [*scores])
    assert digest(document, ["safety"]) != digest(source, ["safety"])
