"""``saferank finetune``: a model for one's own definition, from one's own labels."""

from __future__ import annotations

import os
from contextlib import nullcontext
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from saferank.cli.extras import needs_extra
from saferank.cli.output import say
from saferank.cli.watched import as_child, is_child, run_watched
from saferank.connection import clear_errors, connect
from saferank.errors import ConfigurationError, SaferankError
from saferank.mappings.fields import SafetyFields
from saferank.settings import get_settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from PIL import Image

    from saferank.models.training.fit import Fitted, Recipe, Training
    from saferank.models.training.processes import Group
    from saferank.models.training.tune import Tuning


class ClassWeights(StrEnum):
    """How much examples count in the loss."""

    ALIKE = "alike"
    BALANCED = "balanced"


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command()(finetune)


def finetune(
    labels: Annotated[
        Path | None,
        typer.Argument(
            help="CSV or Parquet with the columns image and label, or an LMDB of Caffe's Datums.",
            show_default=False,
        ),
    ] = None,
    *,
    out: Annotated[Path, typer.Option(help="Folder for the model.", show_default=False)],
    from_index: Annotated[
        str | None,
        typer.Option(
            help="An index whose documents people allowed or blocked, instead of labels.",
            metavar="INDEX",
        ),
    ] = None,
    source: Annotated[
        str, typer.Option("--from", help="A built-in name, or a model description.")
    ] = "open_nsfw",
    name: Annotated[
        str | None, typer.Option(help="Name of the new model.", show_default="the folder's name")
    ] = None,
    positive: Annotated[
        str | None,
        typer.Option(
            help="The class whose probability is stored.", show_default="as in the source"
        ),
    ] = None,
    keep_last_layer: Annotated[
        bool,
        typer.Option(
            "--keep-last-layer", help="Continue with the source's last layer instead of a new one."
        ),
    ] = False,
    last_layer_rate: Annotated[
        float, typer.Option(min=0, help="Rate of a new last layer, as a multiple of the base rate.")
    ] = 5.0,
    validation: Annotated[
        float, typer.Option(min=0.01, max=0.9, help="Share of each class held out for validation.")
    ] = 0.2,
    epochs: Annotated[int, typer.Option(min=1, help="Most passes through the images.")] = 10,
    batch: Annotated[int, typer.Option(min=1, help="Images in a step.")] = 32,
    rate: Annotated[float, typer.Option(min=0, help="Base learning rate.")] = 0.001,
    step_size: Annotated[int, typer.Option(min=1, help="Epochs until the rate falls.")] = 5,
    gamma: Annotated[float, typer.Option(min=0, max=1, help="Factor by which it falls.")] = 0.1,
    momentum: Annotated[float, typer.Option(min=0, max=1, help="Momentum of the updates.")] = 0.9,
    weight_decay: Annotated[float, typer.Option(min=0, help="Weight decay.")] = 0.0005,
    validate_every: Annotated[
        int | None,
        typer.Option(min=1, help="Steps between validations.", show_default="one epoch"),
    ] = None,
    patience: Annotated[
        int, typer.Option(min=1, help="Validations without a lower loss before training stops.")
    ] = 3,
    class_weights: Annotated[ClassWeights, typer.Option(help="How examples count in the loss.")] = (
        ClassWeights.BALANCED
    ),
    frozen_statistics: Annotated[
        bool, typer.Option(help="Keep the statistics of batch normalisation as they are.")
    ] = True,
    scales: Annotated[bool, typer.Option(help="Vary the size of pictures.")] = True,
    seed: Annotated[int, typer.Option(min=0, help="Seed of everything random.")] = 0,
    alone: Annotated[
        bool,
        typer.Option("--alone", help="Train in one process, whatever the environment says."),
    ] = False,
) -> None:
    """Fine-tune a model; run the command again to continue an interrupted training.

    To train one model on several processes or machines, start each with torchrun's variables (RANK,
    WORLD_SIZE, MASTER_ADDR, MASTER_PORT), or use srun.
    """
    if (labels is None) == (from_index is None):
        raise typer.BadParameter("give labels, or --from-index", param_hint="LABELS")
    from saferank.models.training.place import Place, place_of

    place = Place() if alone else place_of(os.environ)
    if place.count > 1 and not is_child():
        raise typer.Exit(run_watched())
    with needs_extra("training"):
        from saferank.models.training.fit import Recipe
        from saferank.models.training.processes import join
        from saferank.models.training.tune import prepare

    recipe = Recipe(
        epochs=epochs,
        batch=batch,
        rate=rate,
        step_size=step_size,
        gamma=gamma,
        momentum=momentum,
        weight_decay=weight_decay,
        validate_every=validate_every,
        frozen_statistics=frozen_statistics,
        scales=scales,
        class_weights=class_weights.value,
        patience=patience,
        seed=seed,
    )
    with as_child() if place.count > 1 else nullcontext():
        group = join(place)
        console = Console(quiet=group.rank > 0)
        if place.count > 1:
            say(f"{place.count} processes, as {place.said_by} says", console)
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SaferankError(f"{out} cannot be made: {error.strerror}") from error
        tuning = prepare(
            labels or _labels_of(from_index or "", source, out, group, console),
            source=source,
            name=name or out.resolve().name,
            positive=positive,
            recipe=recipe,
            last_layer_rate=None if keep_last_layer else last_layer_rate,
            validation=validation,
            folder=out,
            load=_loader(),
            group=group,
        )
        say(tuning.summary, console)
        fitted = _train(tuning.training, console)
        if group.rank == 0:
            _finish(tuning, fitted, recipe, out, console)


def _labels_of(index: str, source: str, out: Path, group: Group, console: Console) -> Path:
    """Write what people decided as labels, unless that was done: training goes on with the same."""
    from saferank.indexer.fetch import Fetcher
    from saferank.indexer.labels import LABELS, write_labels
    from saferank.mappings.decisions import decided_documents
    from saferank.models.description import load_description

    folder = out / "labels"
    if (folder / LABELS).exists():
        return folder / LABELS
    if group.count > 1:
        raise ConfigurationError(
            f"{folder / LABELS} is not there yet; begin with one process, --alone, which writes "
            "it, and end that when it trains"
        )
    output = load_description(source)[0].output
    positive = output.positive_class
    others = [name for name in output.classes if name != positive]
    if len(others) != 1:
        raise ConfigurationError(
            f"{source} tells {len(output.classes)} classes apart, and people's decisions only two; "
            "start from a model of two"
        )
    settings = get_settings()
    with (
        clear_errors(settings.elasticsearch_url),
        connect(settings) as client,
        Fetcher(settings.fetch) as fetcher,
    ):
        documents = decided_documents(
            client,
            index,
            SafetyFields.of(settings),
            settings.image_field,
            overrides_index=settings.overrides,
        )
        written = write_labels(
            folder,
            documents,
            lambda reference: fetcher.fetch(reference).data,
            allowed=others[0],
            blocked=positive,
        )
    counts = ", ".join(f"{count} {label}" for label, count in written.pictures.items())
    say(
        f"decisions in {index}: {counts}; left out are {written.unclear} blocked documents with "
        f"several images, {written.changed} images that changed since they were scored, and "
        f"{written.unreadable} that cannot be fetched",
        console,
    )
    return folder / LABELS


def _finish(tuning: Tuning, fitted: Fitted, recipe: Recipe, out: Path, console: Console) -> None:
    page = tuning.finish(fitted, facts=_facts(recipe))
    say(
        f"area {tuning.area(fitted):.4f} on the validation part, after step "
        f"{fitted.evaluations[fitted.best].step} of {fitted.evaluations[-1].step}",
        console,
    )
    for path in (page, out / "model.toml"):
        say(f"wrote {path}", console)


def _loader() -> Callable[[bytes], Image.Image]:
    """Reads a file as scoring does; of several frames, the first."""
    from saferank.indexer.decode import decode

    settings = get_settings().decode

    return lambda data: decode(data, settings).pictures[0]


def _train(training: Training, console: Console) -> Fitted:
    with Progress(console=console) as progress:
        task = progress.add_task("training", total=None)

        def report(step: int, of: int, loss: float) -> None:
            progress.update(task, completed=step, total=of, description=f"loss {loss:.4f}")

        try:
            return training.run(report)
        finally:
            training.close()


def _facts(recipe: Recipe) -> dict[str, str]:
    return {key.replace("_", " "): str(value) for key, value in asdict(recipe).items()}
