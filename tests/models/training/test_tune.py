"""From labels to a model: what it learns, that it can be interrupted, what is written."""

from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_model import write_small_model

from saferank.errors import ConfigurationError, ModelFormatError
from saferank.models import load_model
from saferank.models.caffe import read_prototxt, read_weights
from saferank.models.training.fit import Recipe, check_losses
from saferank.models.training.tune import Tuning, prepare

RECIPE = Recipe(epochs=6, batch=8, rate=0.05, step_size=4, frozen_statistics=False, patience=6)


def load(data: bytes) -> Image.Image:
    return Image.open(BytesIO(data))


def tuning(
    labels: Path, source: Path, folder: Path, recipe: Recipe = RECIPE, **changed: object
) -> Tuning:
    folder.mkdir(exist_ok=True)
    asked: dict[str, object] = {
        "source": str(source),
        "name": "mine",
        "positive": None,
        "recipe": recipe,
        "last_layer_rate": 5.0,
        "validation": 0.25,
        "folder": folder,
        "load": load,
    }
    return prepare(labels, **{**asked, **changed})  # type: ignore[arg-type]


def test_a_net_learns_and_its_files_give_what_it_learnt(
    small_model: Path, stripes: Path, tmp_path: Path
) -> None:
    made = tuning(stripes, small_model, tmp_path / "out")
    assert made.summary == (
        "36 examples to learn from and 12 to judge by (24 lying, 24 standing); starts anew: fc_mine"
    )
    steps: list[tuple[int, int]] = []
    fitted = made.training.run(lambda step, of, loss: steps.append((step, of)))
    # 36 examples in batches of 8: four whole ones an epoch.
    assert steps == [(step, 24) for step in range(1, 25)]
    assert made.area(fitted) >= 0.95
    page = made.finish(fitted, facts={"rate": "0.05"})
    model = load_model(tmp_path / "out" / "model.toml")
    assert model.description.output.classes == ("lying", "standing")
    blobs = np.stack([model.preprocess(load(one.read())) for one in made.examples.validation])
    np.testing.assert_allclose(
        model.probabilities(blobs),
        fitted.evaluations[fitted.best].probabilities,
        rtol=1e-3,
        atol=1e-5,
    )
    assert model.identity != load_model(small_model).identity
    text = page.read_text()
    assert f"step {fitted.evaluations[fitted.best].step}," in text
    assert text.count("<svg") == 2
    assert (tmp_path / "out" / "losses.png").read_bytes().startswith(b"\x89PNG")


def test_an_interrupted_training_ends_with_the_same_weights(
    small_model: Path, stripes: Path, tmp_path: Path
) -> None:
    short = replace(RECIPE, epochs=2)
    whole = tuning(stripes, small_model, tmp_path / "whole", short).training.run()

    class Killed(Exception):
        pass

    def kill_at(step: int):  # type: ignore[no-untyped-def]
        def report(now: int, of: int, loss: float) -> None:
            if now == step:
                raise Killed

        return report

    folder = tmp_path / "resumed"
    # In the middle of an epoch, at its end before anything is kept, and again.
    for step in (3, 4, 7):
        training = tuning(stripes, small_model, folder, short).training
        training._every = 2
        with pytest.raises(Killed):
            training.run(kill_at(step))
    done: list[int] = []
    resumed = tuning(stripes, small_model, folder, short).training.run(
        lambda step, of, loss: done.append(step)
    )
    assert done[0] > 4
    assert done[-1] == 8
    assert resumed.evaluations == whole.evaluations
    for layer, blobs in whole.weights.items():
        for one, other in zip(blobs, resumed.weights[layer], strict=True):
            np.testing.assert_array_equal(one, other)


def test_a_folder_of_another_training_is_refused(
    small_model: Path, stripes: Path, tmp_path: Path
) -> None:
    one_epoch = replace(RECIPE, epochs=1)
    tuning(stripes, small_model, tmp_path / "out", one_epoch).training.run()
    other = tuning(stripes, small_model, tmp_path / "out", replace(one_epoch, rate=0.02))
    with pytest.raises(ModelFormatError, match="other labels or another recipe"):
        other.training.run()
    elsewhere = tmp_path / "source"
    elsewhere.mkdir()
    source = write_small_model(elsewhere, ("lying", "standing"), seed=6)
    anew = tuning(stripes, source, tmp_path / "out", one_epoch)
    with pytest.raises(ModelFormatError, match="from another model"):
        anew.training.run()
    (tmp_path / "out" / "last.checkpoint").write_bytes(b"PK\x03\x04 broken")
    with pytest.raises(ModelFormatError, match=r"is not a checkpoint.*remove it to start anew"):
        tuning(stripes, small_model, tmp_path / "out", one_epoch).training.run()


def test_a_training_that_gets_no_better_ends_early(
    small_model: Path, stripes: Path, tmp_path: Path
) -> None:
    # A rate of 0 changes nothing: no epoch is better than the first.
    still = replace(RECIPE, rate=0.0, patience=2, frozen_statistics=True)
    made = tuning(stripes, small_model, tmp_path / "out", still, last_layer_rate=None)
    fitted = made.training.run()
    losses = {each.validation_loss for each in fitted.evaluations}
    assert len(losses) == 1
    assert (len(fitted.evaluations), fitted.best) == (3, 0)
    weights = dict(read_weights(small_model.parent / "weights.caffemodel").layers)
    for layer, blobs in {**fitted.weights, **fitted.statistics}.items():
        for mine, stored in zip(blobs, weights[layer], strict=True):
            np.testing.assert_array_equal(np.ravel(mine), stored.data)


def test_a_loss_that_runs_away_ends_the_training_with_the_rate(
    small_model: Path, stripes: Path, tmp_path: Path
) -> None:
    hot = replace(RECIPE, rate=1e4)
    with pytest.raises(
        ConfigurationError, match=r"loss is .* at step [1-9], after 0\.\d+ at first.*10000"
    ):
        tuning(stripes, small_model, tmp_path / "out", hot).training.run()


@pytest.mark.parametrize(
    ("losses", "runs_away"),
    [
        # open_nsfw at ten times the default rate: it guesses ever after.
        ([0.715, 14.763, 681.256], True),
        ([0.7, 0.6, float("nan")], True),
        ([0.7, *[3.6] * 9], False),
        ([0.7, *[3.6] * 10], True),
        # One example that is wrong beyond doubt, in a batch of its own.
        ([0.7, 16.0, 0.6], False),
        # A net that starts far off.
        ([9.0, 40.0, 12.0], False),
    ],
)
def test_what_counts_as_running_away(losses: list[float], runs_away: bool) -> None:
    if runs_away:
        with pytest.raises(ConfigurationError, match=r"rate of 0\.01 is too high"):
            check_losses(losses, 2, 0.01)
    else:
        check_losses(losses, 2, 0.01)


def test_the_validation_part_may_be_looked_at_within_an_epoch(
    small_model: Path, stripes: Path, tmp_path: Path
) -> None:
    # Four steps an epoch, eight in all: looks after 3, 6, and at the end.
    often = replace(RECIPE, epochs=2, validate_every=3)
    fitted = tuning(stripes, small_model, tmp_path / "out", often).training.run()
    assert [each.step for each in fitted.evaluations] == [3, 6, 8]


def test_the_last_layer_learns_five_times_as_fast(
    small_model: Path, stripes: Path, tmp_path: Path
) -> None:
    plain = replace(RECIPE, epochs=1, momentum=0.0, weight_decay=0.0, batch=36, scales=False)
    moved = {}
    for rate in (1.0, 5.0):
        made = tuning(stripes, small_model, tmp_path / str(rate), plain, last_layer_rate=rate)
        start = made.training._start.weights["fc_mine"]
        end = made.training.run().weights["fc_mine"]
        moved[rate] = [np.asarray(after - before) for before, after in zip(start, end, strict=True)]
    # One step from the same weights on the same pictures: the bias twice as fast as the weights.
    for slow, fast in zip(moved[1.0], moved[5.0], strict=True):
        np.testing.assert_allclose(fast, 5 * slow, rtol=1e-3, atol=1e-6)
    assert np.abs(moved[1.0][1]).max() > 0


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("picture,label\na.png,lying\n", "the column 'image' is missing"),
        ("image,label\na.png,\n", r"labels\.csv:2: image or label is empty"),
        ("image,label\na.png,lying\na.png,standing\n", r"csv:3: .*a\.png is labelled 'lying' and"),
        ("image,label\na.png,lying\nb.png,0\n", "all labels are of one class"),
        ("image,label\na.png,lying\nb.png,standing\n", "class 0 has 1 example;"),
        ("image,label\na.png,cat\nb.png,dog\n", "positive class 'standing' is none of the labels"),
    ],
)
def test_labels_that_are_wrong_are_refused(
    small_model: Path, tmp_path: Path, content: str, reason: str
) -> None:
    labels = tmp_path / "labels.csv"
    labels.write_text(content)
    with pytest.raises(ConfigurationError, match=reason):
        tuning(labels, small_model, tmp_path / "out")


def test_numbers_stand_for_the_classes_of_the_source_and_names_may_be_others(
    small_model: Path, tmp_path: Path
) -> None:
    labels = tmp_path / "labels.csv"
    rows = "".join(f"{at}.png,{at % 2}\n" for at in range(8))
    labels.write_text("image,label\n" + rows)
    made = tuning(labels, small_model, tmp_path / "out")
    assert made.examples.classes == ("lying", "standing")
    named = "".join(f"{at}.png,{'dog' if at % 2 else 'cat'}\n" for at in range(8))
    labels.write_text("image,label\n" + named)
    made = tuning(labels, small_model, tmp_path / "other", positive="dog")
    assert (made.examples.classes, made.positive) == (("cat", "dog"), "dog")
    with pytest.raises(ConfigurationError, match="its last layer cannot be kept"):
        tuning(labels, small_model, tmp_path / "kept", positive="dog", last_layer_rate=None)


def test_a_net_without_a_last_layer_is_refused(tmp_path: Path) -> None:
    from saferank.models.training.export import Anew, with_last_layer

    path = tmp_path / "net.prototxt"
    path.write_text('layer { name: "x" type: "ReLU" bottom: "a" top: "a" }')
    with pytest.raises(ModelFormatError, match="does not end in an InnerProduct"):
        with_last_layer(read_prototxt(path), Anew(2, "mine"))
