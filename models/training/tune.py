"""Fine-tuning from a model and labels to a new model: the parts of this room put together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from saferank.errors import ConfigurationError
from saferank.models.caffe import Prototxt, read_prototxt, read_weights
from saferank.models.description import ModelDescription, load_description, locate
from saferank.models.preprocess import STRETCHED
from saferank.models.training.examples import Examples, Load, split
from saferank.models.training.export import Anew, with_last_layer, write_model
from saferank.models.training.fit import Fitted, Recipe, Training
from saferank.models.training.labels import read_labels
from saferank.models.training.network import Network, starting_blobs
from saferank.models.training.processes import Group
from saferank.models.training.report import area, write_report


@dataclass(frozen=True)
class Tuning:
    """A fine-tuning that is ready to run.

    Attributes:
        training: runs it.
        summary: what it is about to do, in one line.
        examples: what it learns from.
        positive: the class whose probability the new model gives.
    """

    training: Training
    summary: str
    examples: Examples
    positive: str
    name: str
    folder: Path
    _prototxt: Prototxt
    _source: ModelDescription

    @property
    def _place(self) -> int:
        return self.examples.classes.index(self.positive)

    def area(self, fitted: Fitted) -> float:
        """Area under the ROC curve on the validation part."""
        truth = [example.label == self._place for example in self.examples.validation]
        return area(fitted, truth)

    def finish(self, fitted: Fitted, *, facts: Mapping[str, str]) -> Path:
        """Write the model and the report; returns the path of the page."""
        write_model(
            self.folder,
            name=self.name,
            prototxt=self._prototxt,
            blobs={**fitted.weights, **fitted.statistics},
            source=self._source,
            classes=self.examples.classes,
            positive=self.positive,
        )
        return write_report(
            self.folder,
            fitted,
            self.examples.validation,
            positive=self._place,
            facts={"model": self.name, "from": self._source.name, "data": self.summary, **facts},
        )


def prepare(
    labels: Path,
    *,
    source: str,
    name: str,
    positive: str | None,
    recipe: Recipe,
    last_layer_rate: float | None,
    validation: float,
    folder: Path,
    load: Load,
    group: Group | None = None,
) -> Tuning:
    """Read labels and a model, and make the net that is trained.

    Args:
        labels: see ``read_labels``.
        source: the model to start from: a built-in name, or the path of a description.
        name: of the new model.
        positive: the class whose probability it gives; the source's when None.
        recipe: how it is trained.
        last_layer_rate: of a new last layer; None goes on with the source's.
        validation: share of each class to judge by.
        folder: for checkpoints, the model and the report.
        load: from the bytes of a file to its picture.
        group: the processes that train together.

    Raises:
        ConfigurationError: the labels are wrong, or do not fit what is asked for.
        ModelError: the source is wrong, or cannot be trained.
    """
    description, base = load_description(source)
    files = locate(description, base)
    classes, every = read_labels(labels, description.output.classes)
    wanted = positive or description.output.positive_class
    if wanted not in classes:
        raise ConfigurationError(
            f"{labels}: the positive class {wanted!r} is none of the labels "
            f"{', '.join(classes)}; name one with --positive"
        )
    network, weights = files.caffe
    if description.input.preprocessing not in STRETCHED:
        raise ConfigurationError(
            f"{source}: a training varies pictures that are resized as a whole; the preprocessing "
            f"{description.input.preprocessing} is none of {', '.join(STRETCHED)}"
        )
    prototxt = read_prototxt(network)
    if last_layer_rate is not None:
        prototxt = with_last_layer(prototxt, Anew(len(classes), name, last_layer_rate))
    elif classes != description.output.classes:
        raise ConfigurationError(
            f"{labels}: the classes {', '.join(classes)} are not those of {description.name}, "
            f"{', '.join(description.output.classes)}; its last layer cannot be kept"
        )
    learn, judge = split(every, validation, recipe.seed)
    examples = Examples(classes, learn, judge)
    blobs, new = starting_blobs(prototxt, read_weights(weights), seed=recipe.seed)
    training = Training(
        Network(prototxt, frozen_statistics=recipe.frozen_statistics),
        blobs,
        examples,
        load,
        description.input,
        positive=classes.index(wanted),
        recipe=recipe,
        folder=folder,
        group=group,
    )
    counts = Counter(classes[example.label] for example in every)
    summary = (
        f"{len(learn)} examples to learn from and {len(judge)} to judge by "
        f"({', '.join(f'{count} {each}' for each, count in sorted(counts.items()))}); "
        f"starts anew: {', '.join(new) or 'nothing'}"
    )
    return Tuning(training, summary, examples, wanted, name, folder, prototxt, description)
