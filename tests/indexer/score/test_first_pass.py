"""A cheap first look: what is stored from the margin on is exact, whatever the estimates were."""

import io

import numpy as np
import pytest
from brightness import Brightness, data_uri, png
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from saferank.errors import ErrorCode, ImageError
from saferank.indexer.decode import Decoded, decode, decode_scaled
from saferank.indexer.documents import Document
from saferank.indexer.fetch import Fetcher
from saferank.indexer.keys import DocumentKey
from saferank.indexer.score.interfaces import FirstPass
from saferank.indexer.score.pipeline import Pipeline
from saferank.mappings import Status
from saferank.mappings.float32 import as_probability
from saferank.settings import DecodeSettings, FetchSettings

LIMITS = DecodeSettings()


def whole(data: bytes) -> Decoded:
    return decode(data, LIMITS)


def jpeg(level: int, size: tuple[int, int] = (400, 300)) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", size, level).save(buffer, "JPEG")
    return buffer.getvalue()


def document(*levels: int) -> Document:
    return Document(DocumentKey("1"), tuple(data_uri(png(level)) for level in levels), {})


class Estimates:
    """The brightness, off by what each of a series of errors says."""

    def __init__(self, *errors: float) -> None:
        self.errors = list(errors) or [0.0]
        self.count = 0

    def __call__(self, blobs: NDArray[np.float32]) -> NDArray[np.float32]:
        values = blobs.mean(axis=(1, 2, 3), dtype=np.float64)
        for place in range(len(values)):
            values[place] += self.errors[self.count % len(self.errors)]
            self.count += 1
        return values.clip(0, 1).astype(np.float32)[:, None]


def pipeline(
    model: Brightness, estimate: Estimates, *, margin: float = 0.5, batch_size: int = 4
) -> Pipeline:
    first = FirstPass(margin, estimate, lambda data: decode_scaled(data, LIMITS, 64))
    fetch = Fetcher(FetchSettings()).fetch
    return Pipeline(model, fetch, whole, batch_size=batch_size, first=first)


@given(
    levels=st.lists(st.integers(0, 255), min_size=1, max_size=12),
    errors=st.lists(st.floats(-0.5, 0.5), min_size=1, max_size=5),
    margin=st.floats(0.01, 0.99),
    batch_size=st.integers(1, 5),
)
def test_what_is_stored_from_the_margin_on_is_exact(
    levels: list[int], errors: list[float], margin: float, batch_size: int
) -> None:
    line = pipeline(Brightness(), Estimates(*errors), margin=margin, batch_size=batch_size)
    [scored] = line.score([document(*levels)])
    for level, image in zip(levels, scored.record.images, strict=True):
        assert image.probability is not None
        if image.probability >= margin:
            assert image.probability == pytest.approx(level / 255, abs=1e-6)


def test_an_estimate_below_the_margin_is_stored_and_one_that_equals_it_is_not() -> None:
    model = Brightness()
    line = pipeline(model, Estimates(0.1), margin=as_probability(51 / 255 + 0.1))
    [scored] = line.score([document(50, 51)])
    below, at = (image.probability for image in scored.record.images)
    assert below == pytest.approx(50 / 255 + 0.1, abs=1e-6)
    assert at == as_probability(51 / 255)
    assert model.frames == 1


def test_one_frame_at_the_margin_takes_all_frames_the_exact_way() -> None:
    buffer = io.BytesIO()
    frames = [Image.new("L", (8, 8), level) for level in (0, 128, 51)]
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    model = Brightness()
    line = pipeline(model, Estimates(0.3), margin=0.7, batch_size=2)
    [scored] = line.score([Document(DocumentKey("1"), (data_uri(buffer.getvalue()),), {})])
    assert model.frames == 3
    assert scored.record.images[0].probability == pytest.approx(128 / 255, abs=1e-6)
    assert scored.inferred == 1


def test_what_goes_on_to_the_exact_net_goes_alone() -> None:
    model = Brightness()
    pipeline(model, Estimates(), margin=0.1).score([document(51, 102, 153, 204)])
    assert model.batches == [1, 1, 1, 1]


def test_a_first_pass_that_fails_leaves_all_to_the_exact_one() -> None:
    def failing(blobs: NDArray[np.float32]) -> NDArray[np.float32]:
        raise RuntimeError("no such instruction")

    model = Brightness()
    line = Pipeline(
        model,
        Fetcher(FetchSettings()).fetch,
        whole,
        first=FirstPass(0.9, failing, lambda data: None),
    )
    [scored] = line.score([document(51, 0)])
    assert [image.probability for image in scored.record.images] == [as_probability(0.2), 0.0]
    assert model.frames == 2


def test_a_file_that_fails_only_when_it_is_decoded_whole_fails_by_its_code() -> None:
    def breaks(data: bytes) -> Decoded:
        raise ImageError(ErrorCode.TRUNCATED, "the file ends early")

    first = FirstPass(0.5, Estimates(), lambda data: decode_scaled(data, LIMITS, 64))
    line = Pipeline(Brightness(), Fetcher(FetchSettings()).fetch, breaks, first=first)
    reference = "data:image/jpeg;base64," + data_uri(jpeg(200)).split(",")[1]
    dark = "data:image/jpeg;base64," + data_uri(jpeg(20)).split(",")[1]
    bright, low = line.score([Document(DocumentKey(one), (one,), {}) for one in (reference, dark)])
    assert (bright.record.status, bright.record.error) == (Status.FAILED, ErrorCode.TRUNCATED)
    assert low.record.status is Status.SCORED


def test_a_scaled_picture_is_recorded_with_the_size_of_the_whole_one() -> None:
    line = pipeline(Brightness(), Estimates())
    reference = data_uri(jpeg(20))
    [scored] = line.score([Document(DocumentKey("1"), (reference,), {})])
    assert (scored.record.images[0].width, scored.record.images[0].height) == (400, 300)
