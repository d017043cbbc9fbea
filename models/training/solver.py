"""Caffe's stochastic gradient descent, as a transformation of optax."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import optax

Multipliers = Mapping[str, tuple[float, ...]]


def sgd(
    rate: optax.ScalarOrSchedule,
    *,
    momentum: float,
    weight_decay: float,
    rates: Multipliers,
    decays: Multipliers,
) -> optax.GradientTransformation:
    """Steps as Caffe's SGD solver makes them.

    The rate goes into the momentum's history: ``history = momentum * history + rate * lr_mult *
    (gradient + weight_decay * decay_mult * weight)``, and the step is minus the history (Caffe's
    ``sgd_solver.cpp``). An optimizer that multiplies the history by the rate parts from it at the
    first change of rate.

    Args:
        rate: base rate, or its course over the steps.
        momentum: share of the last step in the next.
        weight_decay: weight of half the sum of squares of the weights in the loss.
        rates: ``lr_mult`` of each blob.
        decays: ``decay_mult`` of each blob.
    """

    def decayed(gradients: Any, weights: Any) -> Any:
        return jax.tree.map(
            lambda gradient, weight, rate, decay: rate * (gradient + weight_decay * decay * weight),
            gradients,
            weights,
            dict(rates),
            dict(decays),
        )

    return optax.chain(
        optax.stateless(decayed),
        optax.scale_by_learning_rate(rate),
        optax.trace(momentum),
    )
