"""``saferank calibrate``: thresholds from labels, with a guarantee."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import track
from rich.table import Table

from saferank.cli.extras import needs_extra
from saferank.cli.files import read_text, write_file
from saferank.cli.indices import index_named
from saferank.cli.options import CategoryOption, settings_about
from saferank.cli.output import make_console, say, warn
from saferank.connection import clear_errors, connect
from saferank.errors import ConfigurationError, ImageError
from saferank.mappings import SafetyFields, check_index
from saferank.mappings.float32 import shortest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from saferank.calibration.calibrate import Result
    from saferank.calibration.labels import Labels
    from saferank.calibration.live import Reached
    from saferank.settings import Settings


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command()(calibrate)


def calibrate(
    labels: Annotated[
        Path | None,
        typer.Argument(
            help="CSV or Parquet with label, and probability or image.", show_default=False
        ),
    ] = None,
    from_index: Annotated[
        str | None,
        typer.Option(help="An index whose documents people allowed or blocked, instead of labels."),
    ] = None,
    audit: Annotated[
        Path | None,
        typer.Option(help="With --from-index: the 'saferank sample' that people decided about."),
    ] = None,
    positive: Annotated[
        str | None,
        typer.Option(
            help="The label that is positive, where classes have names of their own.",
            show_default="1, nsfw or block",
        ),
    ] = None,
    max_miss: Annotated[
        list[float] | None,
        typer.Option(help="Largest share of positives to miss, such as 0.01; may be repeated."),
    ] = None,
    max_false_alarm: Annotated[
        list[float] | None,
        typer.Option(help="Largest share of negatives to catch; may be repeated."),
    ] = None,
    min_precision: Annotated[
        list[float] | None,
        typer.Option(help="Smallest share of positives in what is caught; may be repeated."),
    ] = None,
    confidence: Annotated[
        float, typer.Option(min=0.5, max=0.9999, help="Confidence of thresholds and intervals.")
    ] = 0.95,
    group: Annotated[
        list[str] | None, typer.Option(help="Column that names a group; may be repeated.")
    ] = None,
    index: Annotated[
        str | None, typer.Option(help="Index, alias or pattern to estimate the figures for.")
    ] = None,
    before: Annotated[
        Path | None, typer.Option(help="Labels of another model or time, to see what changed.")
    ] = None,
    map_by: Annotated[
        str | None,
        typer.Option(
            "--probabilities", help="Also map probabilities to shares: isotonic or platt."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for report.html, its pictures and policy.yaml.")
    ] = None,
    figures: Annotated[
        Path | None, typer.Option(help="JSON file for all figures; see also --out.")
    ] = None,
    level: Annotated[
        str | None, typer.Option(help="Level of the policy that gets the thresholds.")
    ] = None,
    policy: Annotated[
        Path | None,
        typer.Option(help="Policy file to change a copy of.", show_default="a new policy"),
    ] = None,
    category: CategoryOption = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="Model for images whose labels have no probability.",
            show_default="SAFERANK_MODEL",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of everything random.")] = 0,
) -> None:
    """Choose thresholds from labelled examples, with a guarantee even for few of them.

    Writes either everything or nothing.
    """
    with needs_extra("calibration"):
        from saferank.calibration.calibrate import Asked, run, to_json
        from saferank.calibration.guarantee import Rate, Wanted
        from saferank.calibration.patch import new_policy, patched, place_of
        from saferank.calibration.reliability import Method
        from saferank.calibration.report import write_report

    if (labels is None) is (from_index is None):
        raise typer.BadParameter("give either a file of labels or --from-index")
    if audit is not None and from_index is None:
        raise typer.BadParameter("--audit goes with --from-index")
    if level is not None and out is None:
        raise typer.BadParameter("a policy is written into a folder; give --out, too")
    if level is not None and not (max_miss or max_false_alarm):
        raise typer.BadParameter("a level takes --max-miss, --max-false-alarm, or both")
    if policy is not None and level is None:
        raise typer.BadParameter("--policy goes with --level, the level to change in the copy")
    if positive is not None and labels is None:
        raise typer.BadParameter("--positive goes with a file of labels")
    if map_by is not None and map_by not in set(Method):
        raise typer.BadParameter(f"--probabilities is {' or '.join(Method)}, not {map_by!r}")
    wanted = [
        Wanted(rate, limit)
        for rate, limits in (
            (Rate.MISS, max_miss),
            (Rate.FALSE_ALARM, max_false_alarm),
            (Rate.PRECISION, min_precision),
        )
        for limit in limits or ()
    ]
    asked = Asked(wanted, confidence, seed, None if map_by is None else Method(map_by))
    settings = settings_about(category)
    fields = SafetyFields.of(settings)
    if policy is not None and level is not None:
        place_of(read_text(policy), level, fields)  # A misspelt level costs no scoring.
    if labels is not None:
        read = _read(settings, labels, group or (), model, positive)
    else:
        read = _decided(settings, str(from_index), audit, group or ())
    result = run(
        read,
        asked,
        source=labels.name if labels else f"overrides of {from_index}",
        count=None if index is None else lambda bounds: _count(settings, index, bounds),
        before=None if before is None else _read(settings, before, (), model, positive),
    )
    _print(result)
    text = None
    if level is not None:
        from saferank.calibration.calibrate import level_thresholds, remarks

        thresholds = level_thresholds(result.supported)
        if policy is None:
            text = new_policy(level, thresholds, remarks(result), fields)
        else:
            text = patched(read_text(policy), level, thresholds, remarks(result), fields)
    if out is not None:
        say(f"wrote {write_report(out, result)}")
        if text is not None:
            write_file(out / "policy.yaml", text)
    if figures is not None:
        write_file(figures, json.dumps(to_json(result), indent=1) + "\n")


def _read(
    settings: Settings,
    path: Path,
    groups: Sequence[str],
    model: str | None,
    positive: str | None,
) -> Labels:
    from saferank.calibration.labels import check_labels, read_table, to_labels

    table = read_table(path)
    probabilities = None
    if "probability" not in table.columns and "image" in table.columns:
        check_labels(table, groups, positive)  # Scoring takes minutes; a wrong label costs none.
        probabilities = _scored(settings, path, table.columns["image"], model)
    return to_labels(table, groups, probabilities, positive)


def _decided(settings: Settings, index: str, audit: Path | None, groups: Sequence[str]) -> Labels:
    """What people allowed and blocked, as labels."""
    from saferank.calibration.index import of_sample, table_of
    from saferank.calibration.labels import read_table, to_labels
    from saferank.mappings.decisions import decided_documents

    fields = SafetyFields.of(settings)
    with clear_errors(settings.elasticsearch_url), connect(settings) as client:
        documents = decided_documents(
            client, index, fields, settings.image_field, overrides_index=settings.overrides
        )
        if audit is not None:
            return to_labels(of_sample(read_table(audit), documents), groups)
        table = table_of(index, documents)
    warn(
        "the overrides were not asked for by a sample, so they are mostly of documents near a "
        "threshold: these figures say nothing of others; draw one with 'saferank sample', have "
        "people decide about it, and give it as --audit"
    )
    return to_labels(table, groups)


def _scored(settings: Settings, path: Path, images: Sequence[str], name: str | None) -> list[float]:
    """Probabilities of image files, named relative to the folder of their table."""
    import numpy as np

    with needs_extra("indexer"):
        from saferank.indexer.decode import decode
        from saferank.models import load_model
        from saferank.models.frames import of_pictures

    for image in images:
        if not (path.parent / image).is_file():
            raise ConfigurationError(
                f"{path.parent / image} cannot be read: no such file; images are named relative "
                f"to the folder of {path.name}"
            )
    model = load_model(name or settings.model, threads=0)
    found = []
    for image in track(images, "scoring", console=make_console(stderr=True)):
        file = path.parent / image
        try:
            decoded = decode(file.read_bytes(), settings.decode)
        except OSError as error:
            raise ConfigurationError(f"{file} cannot be read: {error.strerror}") from error
        except ImageError as error:
            raise ConfigurationError(
                f"{file}: {error} ({error.code.value}); take it out of the labels"
            ) from error
        blobs = np.stack([model.preprocess(picture) for picture in decoded.pictures])
        values, frames = model.probabilities(blobs).tolist(), len(decoded.frames)
        found.append(of_pictures(model.frame_rule, values, decoded.places, frames))
    return found


def _count(settings: Settings, index: str, bounds: Sequence[float]) -> Reached:
    from saferank.calibration.index import Population
    from saferank.calibration.live import Reached
    from saferank.ranker.level.states import StateQueries

    fields = SafetyFields.of(settings)
    with (
        clear_errors(settings.elasticsearch_url),
        connect(settings) as client,
        index_named(index),
    ):
        check_index(client, index, fields)
        documents, counts = Population.of(
            client, index, StateQueries(fields), settings.image_field, settings.overrides
        ).reached(bounds)
    if not documents:
        raise ConfigurationError(
            f"index {index!r} has no scored documents that thresholds decide about; score it first"
        )
    return Reached(index, documents, list(bounds), counts)


def _print(result: Result) -> None:
    labels = result.labels
    say(
        f"{len(labels):,} labels: {labels.positives:,} positive, {labels.negatives:,} negative; "
        f"area {result.areas.roc.value:.4f} ({result.areas.roc.interval})",
    )
    for remark in labels.remarks:
        say(remark)
    if result.doubt is not None:
        warn(result.doubt)
    table = Table("wanted", "threshold", "seen", "interval", "labels")
    for one in result.supported:
        sign = "≥" if one.wanted.rate.value == "precision" else "≤"
        wanted = f"{one.wanted.rate.value.replace('_', ' ')} {sign} {one.wanted.limit:g}"
        labels_needed = f"{one.had:,}; takes {one.needed:,} or more"
        if one.threshold is None or one.counted is None:
            table.add_row(wanted, "none", "", "", labels_needed)
        else:
            seen = f"{one.counted.hits} of {one.counted.of}"
            threshold = f"{shortest(one.threshold)}"
            table.add_row(wanted, threshold, seen, str(one.counted.interval), labels_needed)
    if result.supported:
        make_console().print(table)
    if result.live is not None:
        live = result.live
        say(
            f"{live.prevalence.value:.4g} of the documents in {live.reached.index!r} are positive "
            f"({live.prevalence.interval})",
        )
    for group in result.groups:
        if group.p is not None and group.p < 0.05 and group.counted is not None:
            say(
                f"{group.column} {group.value!r} differs: {group.overall.wanted.rate.value} is "
                f"{group.counted.share:.4g} there ({group.counted.interval}), p {group.p:.2g}",
            )
    for drift in result.drift:
        say(
            f"at {shortest(drift.threshold)}: {len(drift.moved)} of {drift.both} common names are "
            "on another side than before",
        )
