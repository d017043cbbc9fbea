"""One step of training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from saferank.models.training.network import Network, Parameters


class State(NamedTuple):
    """All that a step changes.

    Attributes:
        weights: blobs that learn.
        statistics: blobs of BatchNorm layers.
        history: of the optimizer.
    """

    weights: Parameters
    statistics: Parameters
    history: Any


# From the state, images (N, 3, H, W), labels (N,) and a key to the next state and the loss.
Step = Callable[[State, jax.Array, jax.Array, jax.Array], tuple[State, jax.Array]]


def make_step(
    network: Network,
    optimizer: optax.GradientTransformation,
    *,
    blob: str = "data",
    class_weights: Sequence[float] | None = None,
) -> Step:
    """Compile a step.

    Args:
        network: what is trained.
        optimizer: how.
        blob: name of the input.
        class_weights: how much an example of each class counts in the loss; alike when None.
    """

    def loss_of(
        weights: Parameters, statistics: Parameters, images: jax.Array, labels: jax.Array, key: Any
    ) -> tuple[jax.Array, Parameters]:
        outputs = network(weights, statistics, {blob: images}, training=True, key=key)
        total = jnp.float32(0)
        for name, weight in network.losses:
            total += weight * mean_loss(outputs.blobs[name], labels, class_weights)
        return total, outputs.statistics

    @jax.jit
    def step(
        state: State, images: jax.Array, labels: jax.Array, key: jax.Array
    ) -> tuple[State, jax.Array]:
        (loss, statistics), gradients = jax.value_and_grad(loss_of, has_aux=True)(
            state.weights, state.statistics, images, labels, key
        )
        updates, history = optimizer.update(gradients, state.history, state.weights)
        weights = optax.apply_updates(state.weights, updates)
        return State(weights, statistics, history), loss

    return step


def mean_loss(
    logits: jax.Array, labels: jax.Array, class_weights: Sequence[float] | None
) -> jax.Array:
    """Cross entropy of the softmax, averaged over the examples by the weights of their classes.

    Args:
        logits: (N, classes), or with further axes of size 1.
        labels: (N,) integers.
        class_weights: of each class; alike when None.
    """
    flat = logits.reshape(logits.shape[0], -1)
    each: jax.Array = optax.softmax_cross_entropy_with_integer_labels(flat, labels)
    if class_weights is None:
        return each.mean()
    weights = jnp.asarray(class_weights, jnp.float32)[labels]
    return (weights * each).sum() / weights.sum()
