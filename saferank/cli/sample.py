"""``saferank sample``: documents to label."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from saferank.cli.files import write_file
from saferank.cli.indices import index_named
from saferank.cli.options import CategoryOption, PolicyOption, settings_about
from saferank.cli.output import make_console, say
from saferank.connection import clear_errors, connect
from saferank.errors import ConfigurationError
from saferank.mappings import SafetyFields, check_index
from saferank.mappings.float32 import shortest
from saferank.ranker import load_policy
from saferank.settings import Settings

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

    from saferank.calibration.index import Drawn

_HEAD = ("index", "id", "image", "probability", "drawn", "weight", "label")


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command()(sample)


def sample(
    index: Annotated[str, typer.Argument(help="Index, alias or pattern.")],
    at_random: Annotated[
        int | None, typer.Option("--random", min=1, help="How many to draw at random.")
    ] = None,
    stratified: Annotated[
        int | None,
        typer.Option(min=1, help="How many to draw, as many of high probabilities as of low ones."),
    ] = None,
    near_threshold: Annotated[
        int | None, typer.Option(min=1, help="How many of those nearest to the thresholds to take.")
    ] = None,
    policy: PolicyOption = None,
    category: CategoryOption = None,
    seed: Annotated[int, typer.Option(min=0, help="The same seed draws the same documents.")] = 0,
    out: Annotated[
        Path | None, typer.Option(help="CSV file to write.", show_default="standard output")
    ] = None,
) -> None:
    """Draw scored documents for labelling that no person has decided about, as CSV.

    Fill in the column label, and give the file to 'saferank calibrate'.
    """
    given = [size for size in (at_random, stratified, near_threshold) if size is not None]
    if len(given) != 1:
        raise typer.BadParameter("give one of --random, --stratified and --near-threshold")
    settings = settings_about(category)
    with (
        clear_errors(settings.elasticsearch_url),
        connect(settings) as client,
        index_named(index),
    ):
        rows = _draw(client, settings, index, at_random, stratified, near_threshold, policy, seed)
    _write(rows, out)
    (asked,) = given
    lacking = "" if len(rows) >= asked else f"; no more of them can be labelled, of {asked} wanted"
    say(f"{len(rows)} documents{lacking}", make_console(stderr=True))


def _draw(
    client: Elasticsearch,
    settings: Settings,
    index: str,
    at_random: int | None,
    stratified: int | None,
    near_threshold: int | None,
    policy: Path | None,
    seed: int,
) -> list[Drawn]:
    from saferank.calibration.cells import thresholds_of
    from saferank.calibration.index import Population
    from saferank.ranker.level.states import StateQueries

    fields = SafetyFields.of(settings)
    check_index(client, index, fields)
    population = Population.of(
        client, index, StateQueries(fields), settings.image_field, settings.overrides
    )
    if at_random is not None:
        return population.random(at_random, seed)
    if stratified is not None:
        return population.stratified(stratified, seed)
    path = policy or settings.policy
    thresholds = sorted(thresholds_of(load_policy(path).about(fields)))
    if not thresholds:
        raise ConfigurationError(f"{path} has no thresholds, so nothing is near one")
    return population.near(thresholds, near_threshold or 0, seed)


def _write(rows: list[Drawn], out: Path | None) -> None:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(_HEAD)
    for one in rows:
        weight = "" if one.weight is None else f"{one.weight:.9g}"
        probability = f"{shortest(one.probability)}"
        table.writerow([one.index, one.id, one.image, probability, one.drawn, weight, ""])
    if out is None:
        typer.echo(text.getvalue(), nl=False)
        return
    write_file(out, text.getvalue())
