"""Several models look at the same images: one fetch, one decoding, a record for each."""

import hashlib
import io
from pathlib import Path

import numpy as np
import pytest
from brightness import Brightness, data_uri, png
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx_nets import DESCRIPTION, write_classifier
from PIL import Image
from prometheus_client import REGISTRY

from saferank.errors import ErrorCode
from saferank.indexer.decode import decode
from saferank.indexer.documents import Document, Scored
from saferank.indexer.fetch import Fetched
from saferank.indexer.keys import DocumentKey
from saferank.indexer.score.digests import Digests
from saferank.indexer.score.interfaces import CategoryModel, FirstPass
from saferank.indexer.score.pipeline import Pipeline
from saferank.indexer.worker.resources import make_pipeline
from saferank.mappings import Status
from saferank.mappings.float32 import as_probability
from saferank.models import load_model
from saferank.settings import DecodeSettings, IndexerSettings, Settings


class Darkness(Brightness):
    def probabilities(self, blobs: NDArray[np.float32]) -> NDArray[np.float32]:
        return 1 - super().probabilities(blobs)


class Picky(Brightness):
    """Fails on bright pictures, as a model may on what its authors did not think of."""

    def probabilities(self, blobs: NDArray[np.float32]) -> NDArray[np.float32]:
        if blobs.max() > 0.5:
            raise ValueError("too bright")
        return super().probabilities(blobs)


class Blind(Brightness):
    def preprocess(self, image: Image.Image) -> NDArray[np.float32]:
        raise ValueError(f"no picture of {image.size}")


class TwoClasses(Brightness):
    """One of two categories of a net that tells how bright and how dark a picture is."""

    def __init__(self, identity: str, of: Brightness, column: int) -> None:
        super().__init__(identity)
        self.of = of
        self.column = column

    @property
    def net(self) -> object:
        return self.of

    def classes(self, blobs: NDArray[np.float32]) -> NDArray[np.float32]:
        bright = self.of.probabilities(blobs)
        return np.stack([bright, 1 - bright], axis=1)

    def combined(self, classes: NDArray[np.float32]) -> NDArray[np.float32]:
        if (classes[:, 0] > 0.9).any() and self.column == 1:
            raise ValueError("no number for what is so bright")
        return classes[:, self.column]


class Web:
    """Pictures by reference, each with a version; counts what it is asked."""

    def __init__(self, pictures: dict[str, bytes]) -> None:
        self.pictures = pictures
        self.fetched: list[str] = []
        self.asked: list[str] = []

    def fetch(self, reference: str) -> Fetched:
        self.fetched.append(reference)
        return Fetched(self.pictures[reference], etag="v1")

    def fetch_again(self, reference: str, version: object) -> Fetched | None:
        self.asked.append(reference)
        return None


def scoring(web: Web, *models: Brightness, **rest: object) -> Pipeline:
    first, *others = models
    return Pipeline(
        first,
        web.fetch,
        lambda data: decode(data, DecodeSettings()),
        fetch_again=web.fetch_again,
        others={f"other_{nth}": CategoryModel(model) for nth, model in enumerate(others)},
        **rest,  # type: ignore[arg-type]
    )


def stored(scored: Scored) -> Document:
    """The document as it is read after its records were stored."""
    others = {name: record.to_document() for name, record in scored.others.items()}
    document = scored.document
    return Document(document.key, document.references, scored.record.to_document(), others=others)


def seconds_count(stage: str) -> float:
    return REGISTRY.get_sample_value("saferank_stage_seconds_count", {"stage": stage}) or 0.0


def test_one_image_and_three_models_are_one_fetch_one_decoding_and_three_inferences() -> None:
    web = Web({"a": png(51)})
    models = Brightness("m1"), Darkness("m2"), Brightness("m3")
    stages = ("fetch", "decode", "preprocess", "infer")
    before = {stage: seconds_count(stage) for stage in stages}
    [scored] = scoring(web, *models).score([Document(DocumentKey("1"), ("a",))])
    spent = {stage: seconds_count(stage) - before[stage] for stage in stages}
    assert spent == {"fetch": 1, "decode": 1, "preprocess": 3, "infer": 3}
    assert [model.frames for model in models] == [1, 1, 1]
    assert [record.model for record in scored.records] == ["m1", "m2", "m3"]
    assert scored.record.probability == as_probability(0.2)
    assert scored.others["other_0"].probability == pytest.approx(0.8)
    assert scored.inferred == 1


@pytest.mark.parametrize("broken", [Picky("m2"), Blind("m2")])
def test_a_model_that_fails_on_an_image_leaves_the_others_records(broken: Brightness) -> None:
    web = Web({"bright": png(200), "dark": png(20)})
    documents = [Document(DocumentKey(one), (one,)) for one in web.pictures]
    bright, dark = scoring(web, Brightness("m1"), broken, Darkness("m3")).score(documents)
    assert [record.status for record in bright.records] == [
        Status.SCORED,
        Status.FAILED,
        Status.SCORED,
    ]
    assert bright.others["other_0"].error is ErrorCode.INTERNAL
    assert bright.transient
    expected = Status.SCORED if isinstance(broken, Picky) else Status.FAILED
    assert dark.others["other_0"].status is expected
    assert dark.record.status is dark.others["other_1"].status is Status.SCORED


def test_categories_of_one_net_are_one_preprocessing_and_one_inference(tmp_path: Path) -> None:
    write_classifier(tmp_path / "net.onnx")
    (tmp_path / "model.toml").write_text(
        f"""{DESCRIPTION}
[output.categories.violence]
classes = ["gore", "blood"]
combine = "sum"
[output.categories.gore]
classes = ["gore"]
"""
    )
    categories = {
        "any": {"field": "any", "model": str(tmp_path / "model.toml#violence")},
        "gore": {"field": "gore", "model": str(tmp_path / "model.toml#gore")},
        "other": {"field": "other", "model": "open_nsfw"},
    }
    pipeline = make_pipeline(Settings(categories=categories, indexer=IndexerSettings(digests=0)))
    document = Document(DocumentKey("1"), (data_uri(png(80)), data_uri(png(99))))
    stages = ("fetch", "decode", "preprocess", "infer")
    before = {stage: seconds_count(stage) for stage in stages}
    [scored] = pipeline.score([document])
    spent = {stage: seconds_count(stage) - before[stage] for stage in stages}
    assert spent == {"fetch": 2, "decode": 2, "preprocess": 4, "infer": 2}
    alone = load_model(tmp_path / "model.toml#gore")
    blobs = np.stack([alone.preprocess(Image.new("RGB", (8, 8), (n, n, n))) for n in (80, 99)])
    for record, name in zip(scored.records, ("violence", "gore"), strict=False):
        expected = alone.by_category(blobs)[name]
        got = [image.probability for image in record.images]
        assert got == pytest.approx(expected.tolist(), abs=1e-6)


def test_a_category_that_gives_no_number_leaves_the_other_of_its_net() -> None:
    net = Brightness()
    web = Web({"white": png(255), "grey": png(51)})
    documents = [Document(DocumentKey(one), (one,)) for one in web.pictures]
    models = TwoClasses("bright", net, 0), TwoClasses("dark", net, 1)
    white, grey = scoring(web, *models).score(documents)
    assert net.frames == 2
    assert [record.status for record in white.records] == [Status.SCORED, Status.FAILED]
    assert [record.probability for record in grey.records] == pytest.approx([0.2, 0.8])


@given(
    st.lists(st.integers(0, 200), min_size=1, max_size=8, unique=True),
    st.floats(0.05, 0.95),
    st.lists(st.floats(-0.3, 0.3), min_size=1, max_size=4),
    st.integers(1, 4),
)
def test_each_category_of_a_net_keeps_its_own_margin_to_one_exact_pass(
    levels: list[int], margin: float, errors: list[float], size: int
) -> None:
    web = Web({str(level): png(level) for level in levels})
    net, count = Brightness(), 0

    def estimate(blobs: NDArray[np.float32]) -> NDArray[np.float32]:
        nonlocal count
        bright = blobs.mean(axis=(1, 2, 3), dtype=np.float64)
        for place in range(len(bright)):
            bright[place] += errors[count % len(errors)]
            count += 1
        bright = bright.clip(0, 0.9)
        return np.stack([bright, 1 - bright], axis=1).astype(np.float32)

    first = FirstPass(margin, estimate, lambda data: None)
    models = [CategoryModel(TwoClasses(f"m{nth}", net, nth), first) for nth in range(2)]
    line = Pipeline(
        models[0].model,
        web.fetch,
        lambda data: decode(data, DecodeSettings()),
        first=first,
        others={"dark": models[1]},
        batch_size=size,
    )
    [scored] = line.score([Document(DocumentKey("1"), tuple(web.pictures))])
    exact = 0
    for level, *pair in zip(levels, *(one.images for one in scored.records), strict=True):
        wanted = level / 255, 1 - level / 255
        values = [image.probability for image in pair]
        for value, right in zip(values, wanted, strict=True):
            assert value is not None
            assert value < margin or value == pytest.approx(right, abs=1e-6)
        exact += any(value >= margin for value in values if value is not None)
    assert count == len(levels)
    assert exact <= net.frames <= len(levels)


def test_a_bad_image_is_decoded_once_and_fails_for_every_category() -> None:
    web = Web({"bad": png(200)[:40]})
    before = seconds_count("decode")
    [scored] = scoring(web, Brightness("m1"), Brightness("m2")).score(
        [Document(DocumentKey("1"), ("bad",))]
    )
    assert [record.error for record in scored.records] == [ErrorCode.TRUNCATED] * 2
    assert seconds_count("decode") - before == 1


def test_only_the_model_that_is_new_looks_at_what_the_others_know() -> None:
    web = Web({"a": png(51)})
    [first] = scoring(web, Brightness("m1"), Brightness("m2")).score(
        [Document(DocumentKey("1"), ("a",))]
    )
    models = Brightness("m1"), Brightness("m2"), Darkness("m3")
    [again] = scoring(web, *models).score([stored(first)])
    assert [model.frames for model in models] == [0, 0, 1]
    # The server is not asked whether it has changed: one model needs the bytes.
    assert (web.fetched, web.asked) == (["a", "a"], [])
    assert again.record.images == first.record.images
    [last] = scoring(web, *models).score([stored(again)])
    assert (web.fetched, web.asked) == (["a", "a"], ["a"])
    assert [record.images for record in last.records] == [each.images for each in again.records]


def test_digests_are_kept_for_each_model(tmp_path: Path) -> None:
    web = Web({"a": png(51), "b": png(51)})
    digests = Digests(tmp_path / "digests.sqlite", 100)
    scoring(web, Brightness("m1"), digests=digests).score([Document(DocumentKey("1"), ("a",))])
    models = Brightness("m1"), Darkness("m2")
    [scored] = scoring(web, *models, digests=digests).score([Document(DocumentKey("2"), ("b",))])
    assert [model.frames for model in models] == [0, 1]
    assert scored.others["other_0"].probability == pytest.approx(0.8)
    sha256 = hashlib.sha256(png(51)).hexdigest()
    kept = digests.recall("m2", sha256)
    assert kept is not None
    assert kept.probability == pytest.approx(0.8)


def test_several_models_share_one_decoding_though_one_has_a_first_pass() -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (600, 600), (51, 51, 51)).save(buffer, "JPEG")
    web = Web({"a": buffer.getvalue()})
    smaller: list[bytes] = []
    quick = Brightness("m1")
    first = FirstPass(0.5, Brightness("m1").classes, lambda data: smaller.append(data))
    before = seconds_count("decode")
    [scored] = scoring(web, quick, Darkness("m2"), first=first).score(
        [Document(DocumentKey("1"), ("a",))]
    )
    assert seconds_count("decode") - before == 1
    assert smaller == []
    assert quick.frames == 0
    assert scored.record.probability == pytest.approx(0.2)
    assert scored.others["other_0"].probability == pytest.approx(0.8)


def test_each_category_combines_frames_as_its_model_says() -> None:
    buffer = io.BytesIO()
    frames = [Image.new("L", (8, 8), level) for level in (0, 255, 51, 102)]
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    web = Web({"a": buffer.getvalue()})
    scorer = Pipeline(
        Brightness("m1"),
        web.fetch,
        lambda data: decode(data, DecodeSettings()),
        batch_size=3,
        frames="mean-of-top-2",
        others={
            "share": CategoryModel(Brightness("m2"), frames="share-above-0.2"),
            "highest": CategoryModel(Brightness("m3")),
        },
    )
    [scored] = scorer.score([Document(DocumentKey("1"), ("a",))])
    assert scored.record.probability == pytest.approx(0.7)
    assert scored.others["share"].probability == 0.75
    assert scored.others["highest"].probability == 1.0
    assert scored.record.images[0].frames == 4


@given(st.lists(st.integers(0, 255), min_size=1, max_size=5), st.integers(1, 4))
def test_beside_others_a_model_says_what_it_says_alone(levels: list[int], size: int) -> None:
    references = tuple(data_uri(png(level)) for level in levels)
    web = Web({one: png(level) for one, level in zip(references, levels, strict=True)})
    document = Document(DocumentKey("1"), references)
    [together] = scoring(web, Brightness("m1"), Darkness("m2"), batch_size=size).score([document])
    [alone] = scoring(web, Darkness("m2"), batch_size=size).score([document])
    assert together.others["other_0"].images == alone.record.images
