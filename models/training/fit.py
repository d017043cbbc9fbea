"""Training from the first step to the last."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from numpy.typing import NDArray

from saferank.errors import ModelFormatError
from saferank.models.preprocess import Input
from saferank.models.training import checkpoint
from saferank.models.training.examples import Batches, Examples, Load, in_order
from saferank.models.training.network import Network, Parameters
from saferank.models.training.solver import sgd
from saferank.models.training.step import State, make_step, mean_loss


@dataclass(frozen=True)
class Recipe:
    """How a net is trained; the defaults are the launch article's choices where it gives them.

    Attributes:
        epochs: at most.
        batch: examples a step.
        rate: base rate.
        step_size: epochs after which the rate is multiplied by ``gamma``.
        gamma: see there.
        momentum: share of the last step in the next.
        weight_decay: weight of half the sum of squares of the weights in the loss.
        frozen_statistics: leave the statistics of BatchNorm layers as they are, and use them.
        scales: vary the size of pictures before the crop.
        class_weights: ``balanced`` lets each class count alike, however many examples it has.
        patience: epochs without a lower loss on the validation part after which it ends.
        seed: the same one gives the same weights on the same number of processors.
    """

    epochs: int = 10
    batch: int = 32
    rate: float = 0.001
    step_size: int = 5
    gamma: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 0.0005
    frozen_statistics: bool = True
    scales: bool = True
    class_weights: Literal["alike", "balanced"] = "balanced"
    patience: int = 3
    seed: int = 0


@dataclass(frozen=True)
class Epoch:
    """What came of one epoch.

    Attributes:
        training_loss: mean over its steps.
        validation_loss: afterwards, on the validation part.
        probabilities: of the positive class, of each example of the validation part.
    """

    training_loss: float
    validation_loss: float
    probabilities: tuple[float, ...]


@dataclass(frozen=True)
class Fitted:
    """A trained net.

    Attributes:
        weights: of the best epoch.
        statistics: of the best epoch.
        epochs: all of them.
        best: place of the epoch with the lowest validation loss.
    """

    weights: Parameters
    statistics: Parameters
    epochs: Sequence[Epoch]
    best: int


@dataclass
class _Progress:
    """What a checkpoint holds beside the state of the last step."""

    fingerprint: str
    step: int = 0
    losses: list[float] = field(default_factory=list)
    epochs: list[Epoch] = field(default_factory=list)
    best: int = 0

    def told(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of(cls, told: dict[str, Any]) -> _Progress:
        epochs = [
            Epoch(one["training_loss"], one["validation_loss"], tuple(one["probabilities"]))
            for one in told.pop("epochs")
        ]
        return cls(**told, epochs=epochs)


# Told after every step: its number, the number of all, and the loss.
Report = Callable[[int, int, float], None]


class Training:
    """Trains a net, and keeps where it stands in a folder.

    Args:
        network: what is trained.
        given: the blobs that it starts from.
        examples: what it learns from.
        load: from a file to its picture.
        wanted: the net's input.
        positive: place of the class whose probability is kept.
        recipe: how.
        folder: gets ``last.checkpoint`` and ``best.checkpoint``; a training that stopped there
            goes on.
        every: steps between checkpoints.
    """

    def __init__(
        self,
        network: Network,
        given: Parameters,
        examples: Examples,
        load: Load,
        wanted: Input,
        *,
        positive: int,
        recipe: Recipe,
        folder: Path,
        every: int = 20,
    ) -> None:
        self._network, self._examples, self._load = network, examples, load
        self._wanted, self._positive, self._recipe = wanted, positive, recipe
        self._last, self._best = folder / "last.checkpoint", folder / "best.checkpoint"
        self._every = every
        self._class_weights = class_weights(examples, recipe)
        weights, statistics = network.start(given)
        self._pool = ThreadPoolExecutor()
        self._batches = Batches(
            examples.training,
            load,
            wanted,
            size=recipe.batch,
            seed=recipe.seed,
            scales=recipe.scales,
            pool=self._pool,
        )
        rates, decays = network.multipliers(weights)
        optimizer = sgd(
            optax.exponential_decay(
                recipe.rate, recipe.step_size * self._batches.an_epoch, recipe.gamma, staircase=True
            ),
            momentum=recipe.momentum,
            weight_decay=recipe.weight_decay,
            rates=rates,
            decays=decays,
        )
        self._step = make_step(
            network, optimizer, blob=wanted.blob, class_weights=self._class_weights
        )
        self._start = State(weights, statistics, optimizer.init(weights))
        self._logits = jax.jit(self._run)

    def run(self, report: Report = lambda step, of, loss: None) -> Fitted:
        """Train, from the start or from where it stopped.

        Raises:
            ImageError: a picture cannot be read.
            ModelFormatError: there is a checkpoint of something else in the folder.
        """
        state, progress = self._resume()
        an_epoch = self._batches.an_epoch
        total = self._recipe.epochs * an_epoch
        while progress.step < total and not self._is_over(progress):
            key = jax.random.fold_in(jax.random.key(self._recipe.seed), progress.step)
            images, labels = self._batches[progress.step]
            state, loss = self._step(state, jnp.asarray(images), jnp.asarray(labels), key)
            progress.step += 1
            progress.losses.append(float(loss))
            report(progress.step, total, float(loss))
            if progress.step % an_epoch == 0:
                self._end_epoch(state, progress)
            if progress.step % an_epoch == 0 or progress.step % self._every == 0:
                checkpoint.save(self._last, state, progress.told())
        best, _ = checkpoint.load(self._best, self._start)
        return Fitted(best.weights, best.statistics, progress.epochs, progress.best)

    def close(self) -> None:
        """Let the threads go."""
        self._pool.shutdown()

    def _resume(self) -> tuple[State, _Progress]:
        settings = [
            asdict(self._recipe),
            self._wanted.model_dump(mode="json"),
            checkpoint.digest(self._start),
            [(str(one.image), one.label) for one in self._examples.training],
            [(str(one.image), one.label) for one in self._examples.validation],
        ]
        fresh = _Progress(checkpoint.fingerprint(settings))
        if not self._last.exists():
            return self._start, fresh
        state, told = checkpoint.load(self._last, self._start)
        progress = _Progress.of(told)
        if progress.fingerprint != fresh.fingerprint:
            raise ModelFormatError(
                f"{self._last} is of a training with other labels or another recipe, or from "
                "another model; remove it, or write to another folder"
            )
        return state, progress

    def _is_over(self, progress: _Progress) -> bool:
        return len(progress.epochs) - 1 - progress.best >= self._recipe.patience

    def _end_epoch(self, state: State, progress: _Progress) -> None:
        loss, probabilities = self._validate(state)
        an_epoch = self._batches.an_epoch
        progress.epochs.append(
            Epoch(float(np.mean(progress.losses[-an_epoch:])), loss, tuple(probabilities.tolist()))
        )
        here = len(progress.epochs) - 1
        if here == 0 or loss < progress.epochs[progress.best].validation_loss:
            progress.best = here
            checkpoint.save(self._best, state, {})

    def _validate(self, state: State) -> tuple[float, NDArray[np.float64]]:
        images = in_order(
            self._examples.validation,
            self._load,
            self._wanted,
            size=self._recipe.batch,
            pool=self._pool,
        )
        logits = np.concatenate(
            [np.asarray(self._logits(state.weights, state.statistics, part)) for part in images]
        )
        labels = jnp.asarray([example.label for example in self._examples.validation])
        loss = float(mean_loss(jnp.asarray(logits), labels, self._class_weights))
        return loss, np.asarray(jax.nn.softmax(logits)[:, self._positive], np.float64)

    def _run(self, weights: Parameters, statistics: Parameters, images: jax.Array) -> jax.Array:
        outputs = self._network(
            weights,
            statistics,
            {self._wanted.blob: images},
            training=False,
            key=jax.random.key(0),
        )
        # The last loss is that of the whole net; those before it hang in its middle.
        logits = outputs.blobs[self._network.losses[-1][0]]
        return logits.reshape(logits.shape[0], -1)


def class_weights(examples: Examples, recipe: Recipe) -> Sequence[float] | None:
    """How much an example of each class counts; None where all count alike."""
    if recipe.class_weights == "alike":
        return None
    counts = np.bincount(
        [example.label for example in examples.training], minlength=len(examples.classes)
    )
    # A class without examples has no say, whatever its weight.
    weights: list[float] = (len(examples.training) / np.maximum(counts, 1)).tolist()
    return weights
