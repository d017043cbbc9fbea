"""What reviewers see of a document, whatever stands in it."""

from typing import Any

import pytest

from saferank.mappings import SafetyFields
from saferank.review.entries import Item
from saferank.review.subject import Subject

ITEM = Item("x", "1")


def read(source: dict[str, Any]) -> Subject:
    return Subject.of(ITEM, source, SafetyFields(), "media.image", ("title",))


def test_images_and_what_is_stored_of_them_come_together() -> None:
    record = {"reference": "b.gif", "sha256": "f0", "probability": 0.5, "frames": 3}
    safety = {"probability": 0.5, "status": "scored", "model": "m", "images": [record]}
    source = {"media": [{"image": "a.png"}, {"image": "b.gif"}], "safety": safety, "title": ["t"]}
    subject = read(source)
    assert [(p.name, p.frames) for p in subject.pictures] == [("a.png", 1), ("b.gif", 3)]
    assert (subject.probability, subject.digests, subject.fields) == (0.5, ("f0",), {"title": "t"})


def test_other_images_are_another_version_and_another_score_is_not() -> None:
    image = {"reference": "a.png", "sha256": "f0"}
    source = {"media": {"image": "a.png"}, "safety": {"probability": 0.1, "images": [image]}}
    same = {**source, "safety": {"probability": 0.2, "images": [image]}}
    replaced = {**source, "safety": {"images": [{**image, "sha256": "f1"}]}}
    assert read(source).version == read(same).version
    assert read(source).version != read(replaced).version
    assert read(source).version != read({**source, "media": {"image": "b.png"}}).version


@pytest.mark.parametrize(
    ("source", "frames"),
    [
        ({}, []),
        ({"safety": "text", "media": 3}, []),
        ({"safety": {"images": "x", "probability": "high", "status": ["scored"], "model": {}}}, []),
        (
            {"safety": {"images": [{"reference": "a", "frames": "many"}]}, "media": {"image": "a"}},
            [1],
        ),
        ({"media": {"image": [7, None, {"url": "x"}]}}, [1, 1]),
        ({"safety": {"override": 3, "override_at": "yesterday", "override_by": [1]}}, []),
    ],
)
def test_nothing_that_stands_in_a_document_raises(
    source: dict[str, Any], frames: list[int]
) -> None:
    subject = read(source)
    assert subject.probability is None
    assert subject.version
    assert [picture.frames for picture in subject.pictures] == frames
    assert all(picture.title for picture in subject.pictures)


def test_a_data_uri_is_called_by_its_beginning() -> None:
    subject = read({"media": {"image": "data:image/png;base64,AAAA"}})
    assert subject.pictures[0].title == "data:image/png;base64,…"
