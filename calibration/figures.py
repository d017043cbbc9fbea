"""The curves of a calibration. What differs in colour differs in line or hatching, too."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from saferank.calibration.calibrate import Result
from saferank.calibration.reliability import Bin
from saferank.mappings.float32 import shortest

_BLUE, _ORANGE = "#1f5fa8", "#c4570c"
_SIZE = (5.4, 4.2)


def draw(result: Result) -> dict[str, Figure]:
    """All figures, by the name of their file."""
    figures = {
        "probabilities": _probabilities(result),
        "rates": _rates(result),
        "roc": _roc(result),
        "precision-recall": _precision(result),
    }
    if result.reliability is not None:
        figures["reliability"] = _reliability(result)
    return figures


def _axes(title: str, across: str, up: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=_SIZE, layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title)
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    axes.grid(visible=True, alpha=0.3)
    return figure, axes


def _thresholds(axes: Axes, result: Result) -> None:
    """A line for each threshold, with its number at the top; close ones are set lower."""
    low, high = axes.get_ylim()
    for number, threshold in enumerate(result.thresholds):
        axes.axvline(threshold, color="black", linestyle=":", linewidth=1.2)
        left = threshold > 0.8
        axes.annotate(
            f"{shortest(threshold):.4g}",
            (threshold, high - (high - low) * (0.04 + 0.07 * (number % 4))),
            xytext=(-4 if left else 4, 0),
            textcoords="offset points",
            ha="right" if left else "left",
            va="center",
            bbox={"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none"},
        )


def _probabilities(result: Result) -> Figure:
    figure, axes = _axes("Probabilities by label", "probability", "share of the label's examples")
    edges = np.linspace(0, 1, 26)
    labels = result.labels
    for truth, name, colour, hatch in (
        (False, "negative", _BLUE, ""),
        (True, "positive", _ORANGE, "///"),
    ):
        chosen = labels.truth == truth
        weights = np.ones(int(chosen.sum())) if labels.weights is None else labels.weights[chosen]
        axes.hist(
            labels.probabilities[chosen],
            bins=edges.tolist(),
            weights=weights / weights.sum(),
            label=name,
            facecolor="none" if hatch else f"{colour}55",
            edgecolor=colour,
            hatch=hatch,
            histtype="stepfilled",
        )
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    _thresholds(axes, result)
    axes.legend(loc="upper right", bbox_to_anchor=(1, 0.72))
    return figure


def _rates(result: Result) -> Figure:
    figure, axes = _axes("What a threshold misses and catches", "threshold", "share")
    curves = result.curves
    # Between two probabilities nothing changes; a threshold itself belongs to what is above it.
    values = np.concatenate([[0.0], curves.thresholds[::-1], [1.0]])
    missed = np.concatenate([[0.0], 1 - curves.found[::-1], [1 - curves.found[0]]])
    alarms = np.concatenate([[1.0], curves.false_alarms[::-1], [curves.false_alarms[0]]])
    axes.step(values, missed, where="pre", color=_ORANGE, label="positives missed")
    axes.step(values, alarms, where="pre", color=_BLUE, linestyle="--", label="negatives caught")
    axes.set_ylim(-0.02, 1.02)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    _thresholds(axes, result)
    axes.legend(loc="center")
    return figure


def _roc(result: Result) -> Figure:
    area = result.areas.roc
    figure, axes = _axes(
        f"ROC: area {area.value:.4f} ({area.interval})",
        "false alarms: share of negatives caught",
        "found: share of positives caught",
    )
    curves = result.curves
    axes.step(
        [0, *curves.false_alarms], [0, *curves.found], where="post", color=_BLUE, linewidth=1.8
    )
    axes.plot([0, 1], [0, 1], color="gray", linestyle=":", label="chance")
    _points(axes, result, curves.false_alarms, curves.found)
    axes.legend(loc="lower right")
    return figure


def _precision(result: Result) -> Figure:
    area = result.areas.precision_recall
    figure, axes = _axes(
        f"Average precision {area.value:.4f} ({area.interval})",
        "found: share of positives caught",
        "precision: share of positives among the caught",
    )
    curves = result.curves
    axes.step(curves.found, curves.precision, where="pre", color=_BLUE, linewidth=1.8)
    _points(axes, result, curves.found, curves.precision)
    axes.set_ylim(-0.02, 1.04)
    axes.set_xlim(-0.02, 1.04)
    axes.legend(loc="lower left")
    return figure


def _points(
    axes: Axes,
    result: Result,
    across: Sequence[float] | np.ndarray,
    up: Sequence[float] | np.ndarray,
) -> None:
    """Marks the thresholds on a curve."""
    for threshold, marker in zip(result.thresholds, "osD^vP*X" * 9, strict=False):
        reached = np.flatnonzero(result.curves.thresholds >= np.float32(threshold))
        if len(reached):
            place = reached[-1]
            axes.plot(
                across[place],
                up[place],
                marker,
                color="black",
                markersize=7,
                label=f"threshold {shortest(threshold):.4g}",
            )


def _reliability(result: Result) -> Figure:
    found = result.reliability
    assert found is not None
    figure, axes = _axes("What a probability means", "probability", "share of positives")
    axes.plot([0, 1], [0, 1], color="gray", linestyle=":", label="as it says")
    _bins(axes, found.before, _ORANGE, "o", f"stored (Brier {found.brier_before:.4f})")
    _bins(axes, found.after, _BLUE, "s", f"{found.method} (Brier {found.brier_after:.4f})")
    axes.legend(loc="upper left")
    return figure


def _bins(axes: Axes, bins: Sequence[Bin], colour: str, marker: str, label: str) -> None:
    errors = [
        [one.share - one.interval.low for one in bins],
        [one.interval.high - one.share for one in bins],
    ]
    axes.errorbar(
        [one.said for one in bins],
        [one.share for one in bins],
        yerr=errors,
        color=colour,
        marker=marker,
        linestyle="--" if marker == "s" else "-",
        capsize=3,
        label=label,
    )
