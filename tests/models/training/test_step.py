"""Steps of training: as real Caffe made them, and against finite differences."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from saferank.errors import UnsupportedLayer
from saferank.models.caffe import parse_prototxt, read_prototxt
from saferank.models.training.network import Network, Parameters
from saferank.models.training.solver import sgd
from saferank.models.training.step import State, make_step, mean_loss

DATA = Path(__file__).parent / "data"
KEY = jax.random.key(0)


def blobs_at(recorded: dict[str, np.ndarray], step: int) -> dict[str, tuple[jax.Array, ...]]:
    """All blobs of the net as they were after a step."""
    found: dict[str, dict[int, jax.Array]] = {}
    for name, values in recorded.items():
        when, _, rest = name.partition("/")
        if when == str(step):
            layer, _, place = rest.rpartition("/")
            found.setdefault(layer, {})[int(place)] = jnp.asarray(values)
    return {layer: tuple(blobs[at] for at in sorted(blobs)) for layer, blobs in found.items()}


def recorded_net(name: str) -> tuple[Network, dict[str, np.ndarray]]:
    prototxt = read_prototxt(DATA / f"{name}.prototxt")
    return Network(prototxt, frozen_statistics=name == "by_stored"), dict(
        np.load(DATA / f"{name}.npz")
    )


@pytest.mark.parametrize("name", ["by_batch", "by_stored", "plain"])
def test_six_steps_are_those_of_caffes_solver(name: str) -> None:
    network, recorded = recorded_net(name)
    weights, statistics = network.start(blobs_at(recorded, 0))
    rates, decays = network.multipliers(weights)
    assert rates["fc_b"] == (5, 10)
    # The rate falls after three steps, where an optimizer with another history parts from Caffe's.
    optimizer = sgd(
        optax.exponential_decay(0.05, 3, 0.1, staircase=True),
        momentum=0.9,
        weight_decay=0.05 if name == "plain" else 0,
        rates=rates,
        decays=decays,
    )
    step = make_step(network, optimizer)
    state = State(weights, statistics, optimizer.init(weights))
    for at in range(1, 7):
        labels = jnp.asarray(recorded[f"labels/{at}"], jnp.int32)
        state, loss = step(state, jnp.asarray(recorded[f"images/{at}"]), labels, KEY)
        assert loss == pytest.approx(float(recorded[f"loss/{at}"]), rel=1e-5)
        expected = blobs_at(recorded, at)
        for layer, blobs in {**state.weights, **state.statistics}.items():
            for mine, theirs in zip(blobs, expected[layer], strict=True):
                np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-5, err_msg=layer)


@pytest.mark.parametrize("name", ["by_batch", "by_stored"])
def test_gradients_are_those_of_finite_differences(name: str) -> None:
    network, recorded = recorded_net(name)
    with jax.enable_x64(True):
        # Float64, or the differences drown in rounding.
        every = {
            layer: tuple(jnp.asarray(np.asarray(blob), jnp.float64) for blob in blobs)
            for layer, blobs in blobs_at(recorded, 0).items()
        }
        weights, statistics = network.start(every)
        images = jnp.asarray(recorded["images/1"], jnp.float64)
        labels = jnp.asarray(recorded["labels/1"], jnp.int32)

        def loss(weights: Parameters) -> jax.Array:
            outputs = network(weights, statistics, {"data": images}, training=True, key=KEY)
            return mean_loss(outputs.blobs["fc_b"], labels, None)

        gradients = jax.grad(loss)(weights)
        random = np.random.default_rng(0)
        for layer, blobs in weights.items():
            for place, blob in enumerate(blobs):
                direction = jnp.asarray(random.normal(size=blob.shape))

                def moved(by: float, layer=layer, place=place, direction=direction) -> float:  # type: ignore[no-untyped-def]
                    changed = list(weights[layer])
                    changed[place] = changed[place] + by * direction
                    return float(loss({**weights, layer: tuple(changed)}))

                numeric = (moved(1e-6) - moved(-1e-6)) / 2e-6
                exact = float((gradients[layer][place] * direction).sum())
                assert exact == pytest.approx(numeric, rel=1e-4, abs=1e-7), (layer, place)


def test_dropout_keeps_the_mean_and_changes_with_the_key() -> None:
    text = """
    layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 9000 } } }
    layer { name: "drop" type: "Dropout" bottom: "data" top: "drop"
            dropout_param { dropout_ratio: 0.3 } }
    layer { name: "prob" type: "Softmax" bottom: "drop" top: "prob" }
    """
    network = Network(parse_prototxt(text.encode(), "net.prototxt"), frozen_statistics=True)
    ones = {"data": jnp.ones((1, 9000))}

    def dropped(key: jax.Array, *, training: bool = True) -> np.ndarray:
        return np.asarray(network({}, {}, ones, training=training, key=key).blobs["drop"])

    first = dropped(KEY)
    # 9,000 draws at 0.7: five standard deviations are 217.
    assert abs(np.count_nonzero(first) - 6300) < 217
    assert np.unique(first).tolist() == [0, pytest.approx(1 / 0.7)]
    assert not np.array_equal(first, dropped(jax.random.key(1)))
    np.testing.assert_array_equal(first, dropped(KEY))
    np.testing.assert_array_equal(dropped(KEY, training=False), np.ones((1, 9000)))


def test_classes_count_by_their_weights() -> None:
    logits = jnp.asarray([[0.0, 0.0], [0.0, np.log(3.0)]])
    labels = jnp.asarray([0, 0])
    # Probabilities of the label: 1/2 and 1/4.
    assert float(mean_loss(logits, labels, None)) == pytest.approx(np.log(8) / 2)
    labels = jnp.asarray([0, 1])
    weighted = mean_loss(logits, labels, (1.0, 3.0))
    assert float(weighted) == pytest.approx((np.log(2) + 3 * np.log(4 / 3)) / 4)


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        ('type: "MVN"', "MVN cannot be trained"),
        ('type: "Eltwise" eltwise_param { operation: MAX }', "Eltwise can be trained as a sum"),
    ],
)
def test_a_layer_that_cannot_be_trained_is_refused(layer: str, reason: str) -> None:
    text = f"""
    layer {{ name: "data" type: "Input" top: "data" input_param {{ shape {{ dim: 1 dim: 2 }} }} }}
    layer {{ name: "odd" bottom: "data" top: "odd" {layer} }}
    layer {{ name: "prob" type: "Softmax" bottom: "odd" top: "prob" }}
    """

    def run() -> None:
        network = Network(parse_prototxt(text.encode(), "net.prototxt"), frozen_statistics=True)
        network({}, {}, {"data": jnp.ones((1, 2))}, training=True, key=KEY)

    with pytest.raises(UnsupportedLayer, match=f'layer "odd": {reason}'):
        run()
