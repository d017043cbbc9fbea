"""Agreement with what real Caffe computed; see ``data/README.md``."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from saferank.errors import ImageError
from saferank.indexer.decode import decode_reference
from saferank.models import Model, load_model
from saferank.models.description import load_description, locate
from saferank.models.model import open_net
from saferank.models.preprocess import PREPROCESSING
from saferank.settings import DecodeSettings

DATA = Path(__file__).parent / "data"
GOLDEN = json.loads((DATA / "golden.json").read_text())
SCORABLE = [entry for entry in GOLDEN["images"] if "error" not in entry]


@pytest.fixture(scope="module")
def model() -> Model:
    return load_model("open_nsfw")


def read(name: str) -> Image.Image:
    return decode_reference((DATA / "images" / name).read_bytes(), DecodeSettings())


@pytest.mark.parametrize("entry", SCORABLE, ids=lambda entry: entry["file"])
def test_the_reference_score_is_caffes(entry: dict, model: Model) -> None:
    blob = model.preprocess(read(entry["file"]))
    assert model.probabilities(blob[None])[0] == pytest.approx(entry["yahoo"]["score"], abs=1e-5)


def test_without_the_way_through_jpeg_the_score_is_another_and_caffes_too(model: Model) -> None:
    entry = next(entry for entry in SCORABLE if entry["file"] == "sk_astronaut.png")
    blob = PREPROCESSING["resize-crop"](read(entry["file"]), model.description.input)
    probability = model.probabilities(blob[None])[0]
    assert probability == pytest.approx(entry["direct"]["score"], abs=1e-5)
    assert abs(probability - entry["yahoo"]["score"]) > 0.01


@pytest.mark.parametrize("entry", SCORABLE, ids=lambda entry: entry["file"])
def test_the_resized_pixels_are_yahoos(entry: dict, model: Model) -> None:
    whole = model.description.input.model_copy(update={"size": (256, 256)})
    blob = PREPROCESSING["resize-crop"](read(entry["file"]), whole)
    pixels = (blob.transpose(1, 2, 0) + np.asarray(whole.mean, np.float32))[:, :, ::-1]
    digest = hashlib.sha256(pixels.astype(np.uint8).tobytes()).hexdigest()
    assert digest == entry["resized_rgb_sha256"]


@pytest.mark.parametrize(
    "entry",
    [entry for entry in GOLDEN["images"] if "error" in entry],
    ids=lambda entry: entry["file"],
)
def test_what_pillow_refuses_gets_no_score(entry: dict) -> None:
    with pytest.raises(ImageError):
        read(entry["file"])


def test_the_blobs_inside_the_net_are_caffes(model: Model) -> None:
    description, folder = load_description("open_nsfw")
    files = locate(description, folder)
    with np.load(DATA / "astronaut_blobs.npz") as stored:
        wanted = {name: stored[name] for name in stored.files}
    net = open_net(files.prototxt, files.weights, blobs=wanted)
    blobs = net.run({"data": model.preprocess(read("sk_astronaut.png"))[None]})
    for name, want in wanted.items():
        got = blobs[name]
        if got.ndim == 4 and got.shape[2] > 1:
            got = got[:, ::4, ::4, ::4]
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=5e-5, err_msg=name)


@pytest.mark.parametrize("name", ["sk_astronaut.png", "s_skin_blobs.png", "d_astro_wide.png"])
def test_the_logits_are_caffes(name: str, model: Model) -> None:
    description, folder = load_description("open_nsfw")
    files = locate(description, folder)
    entry = next(entry for entry in SCORABLE if entry["file"] == name)
    net = open_net(files.prototxt, files.weights, blobs=["fc_nsfw"])
    logits = net.run({"data": model.preprocess(read(name))[None]})["fc_nsfw"]
    np.testing.assert_allclose(logits[0], np.ravel(entry["yahoo"]["fc_nsfw"]), rtol=0, atol=5e-5)


def test_a_batch_gives_what_single_images_give(model: Model) -> None:
    blobs = np.stack([model.preprocess(read(entry["file"])) for entry in SCORABLE[:5]])
    single = [model.probabilities(blob[None])[0] for blob in blobs]
    np.testing.assert_allclose(model.probabilities(blobs), single, rtol=1e-5, atol=1e-7)
