"""Training from the first step to the last."""

from __future__ import annotations

import json
import math
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

from saferank.errors import ConfigurationError, ModelFormatError
from saferank.models.preprocess import Input
from saferank.models.training import checkpoint
from saferank.models.training.examples import Batches, Examples, Load, in_order
from saferank.models.training.network import Network, Parameters
from saferank.models.training.processes import Group
from saferank.models.training.solver import sgd
from saferank.models.training.step import State, make_step, mean_loss

# Steps over which a loss is averaged to see that it does not run away.
_SOME_STEPS = 10


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
        validate_every: steps between two looks at the validation part; an epoch when None.
        patience: looks without a lower loss on the validation part after which it ends.
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
    validate_every: int | None = None
    patience: int = 3
    seed: int = 0


@dataclass(frozen=True)
class Evaluation:
    """A look at the validation part.

    Attributes:
        step: after which it was made.
        training_loss: mean over the steps since the one before.
        validation_loss: on the validation part.
        probabilities: of the positive class, of each example of the validation part.
    """

    step: int
    training_loss: float
    validation_loss: float
    probabilities: tuple[float, ...]


@dataclass(frozen=True)
class Fitted:
    """A trained net.

    Attributes:
        weights: at the best evaluation.
        statistics: at the best evaluation.
        evaluations: all of them.
        best: place of the one with the lowest validation loss.
    """

    weights: Parameters
    statistics: Parameters
    evaluations: Sequence[Evaluation]
    best: int


@dataclass
class _Progress:
    """What a checkpoint holds beside the state of the last step."""

    fingerprint: str
    step: int = 0
    losses: list[float] = field(default_factory=list)
    evaluations: list[Evaluation] = field(default_factory=list)
    best: int = 0

    def told(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of(cls, told: dict[str, Any]) -> _Progress:
        evaluations = [_evaluation(one) for one in told.pop("evaluations")]
        return cls(**told, evaluations=evaluations)


def _evaluation(told: dict[str, Any]) -> Evaluation:
    return Evaluation(**{**told, "probabilities": tuple(told["probabilities"])})


# Told after every step: its number, the number of all, and the loss.
Report = Callable[[int, int, float], None]


class Training:
    """Trains a net, and keeps where it stands in a folder.

    Args:
        network: what is trained.
        given: the blobs that it starts from.
        examples: what it learns from.
        load: from the bytes of a file to its picture.
        wanted: the net's input.
        positive: place of the class whose probability is kept.
        recipe: how.
        folder: gets ``last.checkpoint`` and ``best.checkpoint``; a training that stopped there
            goes on.
        every: steps between checkpoints.
        group: the processes that train together, of which this is one; alone when None.

    Raises:
        ConfigurationError: the batch cannot be shared evenly.
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
        group: Group | None = None,
    ) -> None:
        self._network, self._examples, self._load = network, examples, load
        self._wanted, self._positive, self._recipe = wanted, positive, recipe
        self._last, self._best = folder / "last.checkpoint", folder / "best.checkpoint"
        self._every = every
        self._class_weights = class_weights(examples, recipe)
        self._group = group or Group()
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
            part=self._group.part_of,
        )
        self._group.check_batch(self._batches.size)
        self._round = recipe.validate_every or self._batches.an_epoch
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
        step = make_step(network, optimizer, blob=wanted.blob, class_weights=self._class_weights)

        def numbered(
            state: State, images: jax.Array, labels: jax.Array, number: jax.Array
        ) -> tuple[State, jax.Array]:
            key = jax.random.fold_in(jax.random.key(recipe.seed), number)
            return step(state, images, labels, key)

        self._step = jax.jit(numbered, out_shardings=self._group.alike)
        self._start = State(weights, statistics, optimizer.init(weights))
        self._logits = jax.jit(self._run, out_shardings=self._group.alike)

    def run(self, report: Report = lambda step, of, loss: None) -> Fitted:
        """Train, from the start or from where it stopped.

        Raises:
            ModelFormatError: there is a checkpoint of something else in the folder.
            ConfigurationError: a picture cannot be read; the loss runs away, so the rate is too
                high; or the processes do not train alike.
            JobError: another process of the group has gone.
        """
        state, progress = self._resume()
        total = self._recipe.epochs * self._batches.an_epoch
        while progress.step < total and not self._is_over(progress):
            state, loss = self._advance(state, progress.step)
            progress.step += 1
            progress.losses.append(loss)
            check_losses(progress.losses, len(self._examples.classes), self._recipe.rate)
            report(progress.step, total, loss)
            evaluated = progress.step % self._round == 0 or progress.step == total
            if evaluated:
                self._evaluate(state, progress)
            if evaluated or progress.step % self._every == 0:
                self._save(self._last, state, progress.told())
        best, _ = checkpoint.parse(self._read(self._best), self._best, self._start)
        return Fitted(best.weights, best.statistics, progress.evaluations, progress.best)

    def _advance(self, state: State, step: int) -> tuple[State, float]:
        images, labels = self._batches[step]
        with self._group.all_there():
            state, loss = self._step(
                state,
                self._group.together(images),
                self._group.together(labels),
                np.uint32(step),
            )
            return state, float(loss)

    def close(self) -> None:
        """Let the threads go."""
        self._pool.shutdown()

    def _resume(self) -> tuple[State, _Progress]:
        settings = [
            asdict(self._recipe),
            self._wanted.model_dump(mode="json"),
            checkpoint.digest(self._start),
            [(one.name, one.label) for one in self._examples.training],
            [(one.name, one.label) for one in self._examples.validation],
        ]
        fresh = _Progress(checkpoint.fingerprint(settings))
        self._group.check_alike(fresh.fingerprint, "labels, model and recipe")
        data = self._read(self._last)
        if not data:
            return self._group.to_all(self._start), fresh
        state, told = checkpoint.parse(data, self._last, self._start)
        progress = _Progress.of(told)
        if progress.fingerprint != fresh.fingerprint:
            raise ModelFormatError(
                f"{self._last} is of a training with other labels or another recipe, or from "
                "another model; remove it, or write to another folder"
            )
        return self._group.to_all(state), progress

    def _read(self, path: Path) -> bytes:
        """The first process's file; empty where it has none."""
        first = self._group.rank == 0
        try:
            data = path.read_bytes() if first and path.exists() else b""
        except OSError as error:
            raise ModelFormatError(f"{path} cannot be read: {error.strerror}") from error
        return self._group.from_first(data)

    def _save(self, path: Path, state: State, told: dict[str, Any]) -> None:
        if self._group.rank == 0:
            checkpoint.save(path, state, told)

    def _is_over(self, progress: _Progress) -> bool:
        return len(progress.evaluations) - 1 - progress.best >= self._recipe.patience

    def _evaluate(self, state: State, progress: _Progress) -> None:
        loss, probabilities = self._validate(state)
        before = progress.evaluations[-1].step if progress.evaluations else 0
        mine = Evaluation(
            progress.step,
            float(np.mean(progress.losses[before:])),
            loss,
            tuple(probabilities.tolist()),
        )
        # Processors of two kinds may differ in the last bit, and must end at the same step.
        told = self._group.from_first(json.dumps(asdict(mine)).encode())
        progress.evaluations.append(_evaluation(json.loads(told)))
        here = len(progress.evaluations) - 1
        best = progress.evaluations[progress.best].validation_loss
        if here == 0 or progress.evaluations[here].validation_loss < best:
            progress.best = here
            self._save(self._best, state, {})

    def _validate(self, state: State) -> tuple[float, NDArray[np.float64]]:
        images = in_order(
            self._examples.validation,
            self._load,
            self._wanted,
            size=self._batches.size,
            pool=self._pool,
            part=self._group.part_of,
            multiple=self._group.devices,
        )
        with self._group.all_there():
            every = [
                self._logits(state.weights, state.statistics, self._group.together(part))
                for part in images
            ]
            logits = np.concatenate([np.asarray(each) for each in every])
        logits = logits[: len(self._examples.validation)]
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


def check_losses(losses: Sequence[float], classes: int, rate: float) -> None:
    """See that a training still makes sense.

    A net that a high rate has thrown far away comes back to what guessing costs, ln of the number
    of classes, and learns nothing from there; nothing but the losses on the way tells.

    Args:
        losses: of all steps.
        classes: how many there are.
        rate: base rate, for the message.

    Raises:
        ConfigurationError: the last loss is not a number, or is far above both what guessing costs
            and the first loss; or those of the last ten steps are so on average.
    """
    last, first = losses[-1], losses[0]
    usual = max(math.log(classes), first)
    recent = sum(losses[-_SOME_STEPS:]) / _SOME_STEPS
    if math.isfinite(last) and last <= 50 * usual and recent <= 5 * usual:
        return
    what = f"is {last:.3g}" if math.isfinite(last) else "is not a number any more"
    raise ConfigurationError(
        f"the loss {what} at step {len(losses)}, after {first:.3g} at first: the rate of {rate:g} "
        "is too high for this net; give a lower --rate, a tenth of it say, and another folder"
    )
