import hashlib
import io
import itertools
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from brightness import Brightness, brightness_pipeline, data_uri, png
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from saferank.errors import ErrorCode, ImageError
from saferank.indexer.decode import Decoded, decode
from saferank.indexer.documents import Document, Scored
from saferank.indexer.fetch import Fetched
from saferank.indexer.keys import DocumentKey
from saferank.indexer.score.pipeline import Pipeline
from saferank.mappings import SafetyRecord, Status
from saferank.mappings.float32 import as_probability
from saferank.mappings.record import ImageRecord
from saferank.settings import DecodeSettings


def document(*references: object, **stored: object) -> Document:
    return Document(DocumentKey("1"), references, stored)


def rescored(scored: Scored) -> Document:
    """The document as it is read after the record was stored."""
    return Document(scored.document.key, scored.document.references, scored.record.to_document())


def grey(level: int) -> str:
    return data_uri(png(level))


def test_the_highest_of_several_images_counts() -> None:
    model = Brightness()
    [scored] = brightness_pipeline(model).score([document(grey(51), grey(204), grey(102))])
    assert scored.record.status is Status.SCORED
    assert scored.record.probability == as_probability(0.8)
    assert [image.probability for image in scored.record.images] == [
        as_probability(0.2),
        as_probability(0.8),
        as_probability(0.4),
    ]
    assert scored.record.model == "brightness-1"
    assert scored.inferred == 3
    assert scored.record.images[0].sha256 == hashlib.sha256(png(51)).hexdigest()
    assert (scored.record.images[0].width, scored.record.images[0].height) == (8, 8)


def test_a_black_image_scores_zero_not_missing() -> None:
    [scored] = brightness_pipeline().score([document(grey(0))])
    assert scored.record.probability == 0.0
    assert scored.record.status is Status.SCORED


def test_a_bad_image_fails_its_own_document_only() -> None:
    documents = [document(grey(51)), document(data_uri(png(51)[:40])), document(grey(255))]
    first, bad, last = brightness_pipeline().score(documents)
    assert first.record.probability == as_probability(0.2)
    assert last.record.probability == 1.0
    assert bad.record.status is Status.FAILED
    assert bad.record.probability is None
    assert bad.record.images[0].sha256 is not None
    assert not bad.transient


def test_no_reference_is_no_image_and_a_strange_one_is_not() -> None:
    none, strange = brightness_pipeline().score([document(), document({"url": "x"})])
    assert none.record.status is Status.NO_IMAGE
    assert strange.record.status is Status.FAILED
    assert strange.record.error is ErrorCode.UNSUPPORTED_REFERENCE
    assert strange.record.images[0].cause == "a reference must be text and is dict"


def test_the_brightest_frame_of_an_animation_counts_across_batches() -> None:
    buffer = io.BytesIO()
    frames = [Image.new("L", (8, 8), level) for level in (0, 255, 51)]
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    model = Brightness()
    [scored] = brightness_pipeline(model, batch_size=2).score(
        [document(data_uri(buffer.getvalue()))]
    )
    assert scored.record.probability == 1.0
    assert scored.record.images[0].frames == 3
    assert model.batches == [2, 1]


def test_the_same_bytes_go_through_the_model_once() -> None:
    model = Brightness()
    first, second = brightness_pipeline(model).score(
        [document(grey(51), grey(51)), document(grey(51))]
    )
    assert model.frames == 1
    assert first.record.probability == second.record.probability == as_probability(0.2)


def test_known_bytes_do_not_go_through_the_same_model_again() -> None:
    model = Brightness()
    pipeline = brightness_pipeline(model)
    [first] = pipeline.score([document(grey(51), grey(204))])
    [again] = pipeline.score([rescored(first)])
    assert model.frames == 2
    assert again.record.images == first.record.images
    assert again.inferred == 0


def test_another_model_scores_anew() -> None:
    [first] = brightness_pipeline(Brightness("old")).score([document(grey(51))])
    model = Brightness("new")
    [again] = brightness_pipeline(model).score([rescored(first)])
    assert model.frames == 1
    assert again.record.model == "new"


def test_an_image_that_ended_workers_is_never_decoded_again_by_any_model() -> None:
    stored = {
        "model": "old",
        "images": [
            {
                "reference": "x",
                "sha256": hashlib.sha256(png(7)).hexdigest(),
                "error": "worker_lost",
            }
        ],
    }

    def decoder(data: bytes) -> object:
        pytest.fail("decoded")

    pipeline = brightness_pipeline(decoder=decoder)  # type: ignore[arg-type]
    [scored] = pipeline.score([document(grey(7), **stored)])
    assert scored.record.error is ErrorCode.WORKER_LOST
    assert not scored.transient
    [again] = brightness_pipeline().score([document(grey(7), **stored)], force=True)
    assert again.record.status is Status.SCORED


def test_a_passing_error_is_told_apart_with_the_time_asked() -> None:
    def fetch(reference: str) -> object:
        code = ErrorCode.UNREACHABLE if reference == "a" else ErrorCode.NOT_FOUND
        raise ImageError(code, "no", retry_after=7.0 if reference == "a" else None)

    pipeline = Pipeline(Brightness(), fetch, lambda data: None)  # type: ignore[arg-type, return-value]
    passing, lasting = pipeline.score([document("a"), document("b")])
    assert (passing.transient, passing.retry_after) == (True, 7.0)
    assert (lasting.transient, lasting.retry_after) == (False, None)
    assert passing.record.error is ErrorCode.UNREACHABLE


def test_an_unchanged_image_keeps_its_record() -> None:
    """Its server is told which version is known; None means that it still holds."""
    known = Fetched(png(51), '"v1"', "then")
    served: list[Fetched | None] = [None, Fetched(png(204), '"v2"')]
    asked = []

    def fetch_again(reference: str, version: ImageRecord) -> Fetched | None:
        asked.append((reference, version.etag, version.last_modified))
        return served.pop(0)

    model = Brightness()
    pipeline = Pipeline(
        model,
        lambda reference: known,
        lambda data: decode(data, DecodeSettings()),
        fetch_again=fetch_again,
    )
    [first] = pipeline.score([document("http://a/")])
    [unchanged] = pipeline.score([rescored(first)])
    assert unchanged.record.images == first.record.images
    assert model.frames == 1
    [changed] = pipeline.score([rescored(unchanged)])
    assert changed.record.probability == as_probability(0.8)
    assert changed.record.images[0].etag == '"v2"'
    assert asked == [("http://a/", '"v1"', "then")] * 2


def test_another_model_needs_the_bytes_again() -> None:
    pipelines = [
        Pipeline(
            Brightness(identity),
            lambda reference: Fetched(png(51), '"v1"'),
            lambda data: decode(data, DecodeSettings()),
            fetch_again=lambda reference, version: pytest.fail("asked whether it has changed"),
        )
        for identity in ("old", "new")
    ]
    [old] = pipelines[0].score([document("http://a/")])
    [new] = pipelines[1].score([rescored(old)])
    assert (new.record.model, new.inferred) == ("new", 1)


def test_how_much_of_an_image_was_seen_is_recorded() -> None:
    frames = [Image.new("L", (8, 8), level) for level in range(40)]
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    noise = np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)
    whole = io.BytesIO()
    Image.fromarray(noise).save(whole, "JPEG")
    cut = whole.getvalue()[: len(whole.getvalue()) // 2]
    pipeline = brightness_pipeline(
        decoder=lambda data: decode(data, DecodeSettings(allow_partial=True))
    )
    [scored] = pipeline.score([document(data_uri(buffer.getvalue()), data_uri(cut))])
    animation, part = scored.record.images
    assert (animation.frames, animation.frame_count, animation.partial) == (16, 40, False)
    assert (part.frames, part.frame_count, part.partial) == (1, 1, True)


def test_what_only_some_viewers_show_counts_as_well() -> None:
    """A WebP file whose header denies its transparency: black in Chromium, white elsewhere."""
    buffer = io.BytesIO()
    hidden = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    hidden.save(buffer, "WEBP", lossless=True, exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0")
    denying = bytearray(buffer.getvalue())
    denying[20] &= ~0x10
    model = Brightness()
    [scored] = brightness_pipeline(model).score([document(data_uri(bytes(denying)))])
    assert scored.record.probability == 1.0
    assert (scored.record.images[0].frames, model.frames) == (1, 2)


class _Broken(Brightness):
    """Gives no number for white pictures, and fails on a batch that holds a black one."""

    def probabilities(self, blobs: NDArray[np.float32]) -> NDArray[np.float32]:
        values = super().probabilities(blobs)
        if (values == 0).any():
            raise RuntimeError("no memory")
        return np.where(values == 1, np.nan, values)


def test_what_is_not_a_number_is_never_stored() -> None:
    good, bad = brightness_pipeline(_Broken()).score([document(grey(51)), document(grey(255))])
    assert good.record.probability == as_probability(0.2)
    assert bad.record.probability is None
    assert bad.record.error is ErrorCode.INTERNAL
    assert bad.transient


def test_a_failing_model_loses_no_document() -> None:
    scored = brightness_pipeline(_Broken()).score([document(grey(0)), document(grey(51))])
    assert [one.record.status for one in scored] == [Status.FAILED, Status.SCORED]


def test_the_guard_surrounds_each_image_alone_and_may_refuse_it() -> None:
    model = Brightness()
    seen = []

    @contextmanager
    def guard(digest: str) -> Iterator[None]:
        if digest == hashlib.sha256(png(9)).hexdigest():
            raise ImageError(ErrorCode.WORKER_LOST, "twice")
        before = model.frames
        yield
        seen.append(model.frames - before)

    [scored] = brightness_pipeline(model).score(
        [document(grey(51), grey(9), grey(102))], guard=guard
    )
    # Fetched and looked at, each by itself; the second was only fetched.
    assert seen == [0, 1, 0, 0, 1]
    assert scored.record.error is ErrorCode.WORKER_LOST
    assert scored.record.probability == as_probability(0.4)


@settings(max_examples=25)
@given(
    st.lists(st.lists(st.integers(0, 255), max_size=4), max_size=8),
    st.integers(1, 5),
)
def test_batching_never_mixes_documents_up(levels: list[list[int]], batch_size: int) -> None:
    documents = [document(*map(grey, images)) for images in levels]
    scored = brightness_pipeline(batch_size=batch_size).score(documents)
    expected = [
        max((as_probability(np.float32(v / 255)) for v in images), default=None)
        for images in levels
    ]
    got = [one.record.probability for one in scored]
    assert got == pytest.approx(expected, abs=1e-6)
    assert all(isinstance(one.record, SafetyRecord) for one in scored)


@settings(max_examples=15)
@given(
    st.lists(st.lists(st.integers(0, 12), max_size=4), max_size=8),
    st.integers(1, 5),
    st.integers(2, 4),
)
def test_with_more_threads_all_comes_out_as_with_one(
    levels: list[list[int]], batch_size: int, threads: int
) -> None:
    """Levels above 8 are files that cannot be read; the same bytes come several times."""

    def reference(level: int) -> str:
        return data_uri(png(level)[: 40 if level > 8 else None])

    documents = [document(*map(reference, images)) for images in levels]
    models = Brightness(), Brightness()
    one, several = (
        brightness_pipeline(model, batch_size=batch_size, threads=count).score(documents)
        for model, count in zip(models, (1, threads), strict=True)
    )
    assert [each.record.images for each in several] == [each.record.images for each in one]
    assert [each.inferred for each in several] == [each.inferred for each in one]
    assert (
        models[1].frames == models[0].frames == len({n for some in levels for n in some if n <= 8})
    )


def test_several_threads_decode_at_once_and_hold_only_so_much() -> None:
    together = threading.Barrier(3, timeout=30)
    fetched, held = 0, 0
    decoded: list[bytes] = []
    turns = itertools.count()

    def decoder(data: bytes) -> Decoded:
        if next(turns) < 3:
            together.wait()  # passes only when three are here
        found = decode(data, DecodeSettings())
        decoded.append(data)
        return found

    def fetch(reference: str) -> Fetched:
        nonlocal fetched, held
        fetched += 1
        held = max(held, fetched - len(decoded))
        return Fetched(png(int(reference)))

    pipeline = Pipeline(
        Brightness(), fetch, decoder, lane=lambda reference: None, threads=3, batch_size=4
    )
    [scored] = pipeline.score([document(*map(str, range(100)))])
    assert [image.probability for image in scored.record.images] == [
        as_probability(np.float32(level / 255)) for level in range(100)
    ]
    assert 3 <= held <= 2 * 3 + 1  # two a thread, and the one that waits for room


def test_images_beyond_the_limit_of_a_document_fail_and_are_not_fetched() -> None:
    model = Brightness()
    pipeline = brightness_pipeline(model, max_images=2)
    many, few = pipeline.score([document(grey(1), grey(2), grey(3)), document(grey(4))])
    assert [image.error for image in many.record.images] == [None, None, ErrorCode.TOO_MANY_IMAGES]
    assert "indexer.max_images" in (many.record.images[2].cause or "")
    assert (many.record.status, many.transient) == (Status.FAILED, False)
    assert few.record.status is Status.SCORED
    assert model.frames == 3


def test_what_is_scored_in_time_comes_and_the_rest_does_not() -> None:
    pipeline = brightness_pipeline()
    groups = list(pipeline.stream([document(grey(1)), document(grey(2))], until=0.0))
    assert groups
    # At least one always comes, or a document would go round for ever.
    only = document(*(grey(level) for level in range(200)))
    [[scored]] = [group.values() for group in pipeline.stream([only], until=0.0)]
    assert scored.record.error is ErrorCode.TIMEOUT
    assert "indexer.time_limit" in (scored.record.images[-1].cause or "")
    assert scored.transient
    assert sum(image.probability is not None for image in scored.record.images) < 200


def test_documents_of_a_slow_host_do_not_hold_up_the_others() -> None:
    go = threading.Event()

    def fetch(reference: str) -> Fetched:
        if reference.startswith("slow"):
            go.wait(30)
        return Fetched(png(51))

    pipeline = Pipeline(
        Brightness(),
        fetch,
        lambda data: decode(data, DecodeSettings()),
        lane=lambda reference: reference.partition("/")[0],
        lane_width=4,
    )
    documents = [document(f"{host}/{n}") for n in range(10) for host in ("slow", "fast")]
    groups = pipeline.stream(documents, until=time.monotonic() + 60)
    first = next(groups)
    assert {documents[place].references[0] for place in first} == {f"fast/{n}" for n in range(10)}
    threading.Timer(2, go.set).start()
    rest = [place for group in groups for place in group]
    assert len(rest) < 10  # the others were not started any more


def test_an_image_inside_its_reference_waits_for_no_thread() -> None:
    go = threading.Event()
    in_place = []

    def fetch(reference: str) -> Fetched:
        if reference == "host":
            go.wait(30)
        else:
            in_place.append(threading.current_thread() is threading.main_thread())
        return Fetched(png(51))

    pipeline = Pipeline(
        Brightness(),
        fetch,
        lambda data: decode(data, DecodeSettings()),
        lane=lambda reference: reference if reference == "host" else None,
        fetch_threads=1,
    )
    documents = [document("host"), *(document(f"data:{n}") for n in range(20))]
    groups = pipeline.stream(documents, until=time.monotonic() + 60)
    assert set(next(groups)) == set(range(1, 21))
    assert in_place == [True] * 20
    go.set()
    assert [place for group in groups for place in group] == [0]
    # When there is no time left, none is begun, and one document says so.
    [only] = list(pipeline.stream(documents[1:], until=0.0))
    assert [scored.record.error for scored in only.values()] == [ErrorCode.TIMEOUT]
    assert len(in_place) == 20


def test_an_image_that_ended_workers_while_it_was_fetched_is_not_fetched_again() -> None:
    stored = {"images": [{"reference": "http://a/", "error": "worker_lost", "cause": "twice"}]}
    model = Brightness()
    asked = []

    def fetch(reference: str) -> Fetched:
        asked.append(reference)
        return Fetched(png(51))

    pipeline = Pipeline(model, fetch, lambda data: decode(data, DecodeSettings()))
    [scored] = pipeline.score([document("http://a/", **stored)])
    assert (scored.record.error, asked) == (ErrorCode.WORKER_LOST, [])
    assert scored.record.images[0].cause == "twice"
    [again] = pipeline.score([document("http://a/", **stored)], force=True)
    assert again.record.status is Status.SCORED
