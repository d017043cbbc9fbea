"""From labels to thresholds, with all figures that speak for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from saferank.calibration.curves import Areas, Curves
from saferank.calibration.drift import Drift, compare, relabelled
from saferank.calibration.groups import GroupRate, by_group
from saferank.calibration.guarantee import Counted, Rate, Supported, Wanted, supported
from saferank.calibration.labels import Labels
from saferank.calibration.live import Live, Reached, edges, estimate
from saferank.calibration.reliability import Method, Reliability, calibrate
from saferank.errors import ConfigurationError
from saferank.mappings.float32 import shortest

METHOD = "fixed-sequence tests by exact binomial bounds (Learn then Test)"

CHANCE = 0.5
"""The area under the ROC curve of probabilities that say nothing."""

Count = Callable[[Sequence[float]], Reached]
"""From thresholds to how many documents of the index reach them."""


@dataclass(frozen=True)
class Asked:
    """What is asked of the labels.

    Attributes:
        wanted: rates with their bounds.
        confidence: of thresholds and intervals, above 0 and below 1.
        seed: of everything that is drawn.
        method: of mapping probabilities to shares of positives, or None.
    """

    wanted: Sequence[Wanted]
    confidence: float = 0.95
    seed: int = 0
    method: Method | None = None


@dataclass(frozen=True)
class Result:
    """What the labels say.

    Attributes:
        source: where the labels come from.
        labels: as they were checked.
        asked: what was asked.
        supported: one for each wanted rate.
        curves, areas: see there.
        groups: by group and wanted rate; none without groups.
        live: of the index, if there is one.
        reliability: where a method was asked for.
        drift: from other labels, if there are any; one for each threshold.
        relabelled: names with another label there.
        made_at: when.
    """

    source: str
    labels: Labels
    asked: Asked
    supported: Sequence[Supported]
    curves: Curves
    areas: Areas
    groups: Sequence[GroupRate]
    live: Live | None
    reliability: Reliability | None
    drift: Sequence[Drift]
    relabelled: Sequence[str]
    made_at: datetime

    @property
    def thresholds(self) -> list[float]:
        """All thresholds that are supported, ascending."""
        return sorted({one.threshold for one in self.supported if one.threshold is not None})

    @property
    def doubt(self) -> str | None:
        """Why not to use the thresholds although they keep their bounds, if there is a reason."""
        area = self.areas.roc
        if area.interval.low > CHANCE:
            return None
        return (
            f"the area is {area.value:.4f} ({area.interval}), and chance alone gives {CHANCE:g}: "
            "these probabilities do not tell positives from negatives, so a threshold keeps its "
            "bound only by catching nearly everything or nearly nothing; check which labels are "
            "positive, and whether the model knows this kind of content"
        )

    def hardest(self, count: int) -> list[tuple[str, float, bool]]:
        """Names, probabilities and labels that the model is most wrong about, each once."""
        truth = self.labels.truth
        wrong = np.where(truth, 1 - self.labels.probabilities, self.labels.probabilities)
        places = np.argsort(-wrong, kind="stable")[:count]
        return [
            (self.labels.names[at], float(self.labels.probabilities[at]), bool(truth[at]))
            for at in places.tolist()
        ]


def run(
    labels: Labels,
    asked: Asked,
    *,
    source: str,
    count: Count | None = None,
    before: Labels | None = None,
) -> Result:
    """Ask the labels.

    Args:
        labels: checked.
        asked: what is asked.
        source: where they come from.
        count: counts the documents of an index that reach thresholds.
        before: other labels, of another model or time.
    """
    found = [
        supported(labels, one, confidence=asked.confidence, seed=asked.seed) for one in asked.wanted
    ]
    thresholds = sorted({one.threshold for one in found if one.threshold is not None})
    how: dict[str, Any] = {"confidence": asked.confidence, "seed": asked.seed}
    live = None
    if count is not None:
        live = estimate(labels, count(edges(labels, thresholds)), thresholds, **how)
    reliability = None
    if asked.method is not None:
        reliability = calibrate(labels, asked.method, **how)
    return Result(
        source=source,
        labels=labels,
        asked=asked,
        supported=found,
        curves=Curves.of(labels),
        areas=Areas.of(labels, **how),
        groups=by_group(labels, found, **how),
        live=live,
        reliability=reliability,
        drift=[] if before is None else compare(before, labels, thresholds, **how),
        relabelled=[] if before is None else relabelled(before, labels),
        made_at=datetime.now(UTC),
    )


def level_thresholds(found: Sequence[Supported]) -> dict[str, float | None]:
    """What a level is to say, by one bound of misses, one of false alarms, or both.

    Hidden is what only so few of the other class reach; demoted what so few positives do not. Where
    one threshold keeps both bounds, that of misses is it, and nothing is demoted.

    Raises:
        ConfigurationError: the labels support none of the thresholds, or there are several bounds
            of one rate.
    """
    by_rate: dict[Rate, float] = {}
    for one in found:
        if one.wanted.rate is Rate.PRECISION:
            continue
        if one.threshold is None:
            raise ConfigurationError(
                f"the labels support no threshold for {one.wanted.rate.value} "
                f"{one.wanted.limit:g}, so no policy is written: it takes {one.needed:,} labels of "
                f"that class if none errs, and {one.had:,} are there; label more, or allow more"
            )
        if one.wanted.rate in by_rate:
            raise ConfigurationError(
                f"a level takes one bound of {one.wanted.rate.value}; ask for one"
            )
        by_rate[one.wanted.rate] = one.threshold
    miss, alarm = by_rate.get(Rate.MISS), by_rate.get(Rate.FALSE_ALARM)
    if miss is not None and alarm is not None and miss < alarm:
        return {"demote_from": miss, "hide_from": alarm}
    if miss is None and alarm is None:
        raise ConfigurationError("a level takes --max-miss, --max-false-alarm, or both")
    return {"demote_from": None, "hide_from": alarm if miss is None else miss}


def remarks(result: Result) -> list[str]:
    """Where thresholds come from, for the policy: one line each."""
    labels, asked = result.labels, result.asked
    lines = [
        f"{result.made_at:%Y-%m-%d} from {result.source}: {len(labels):,} labels, "
        f"{labels.positives:,} positive",
        f"{METHOD}, confidence {asked.confidence:g}, seed {asked.seed}",
    ]
    lines += [
        f"{one.wanted.rate.value} bound {one.wanted.limit:g} at {shortest(one.threshold)}: seen "
        f"{one.counted.hits} of {one.counted.of}, {one.counted.share:.4g} ({one.counted.interval})"
        for one in result.supported
        if one.threshold is not None and one.counted is not None
    ]
    return lines


def to_json(result: Result) -> dict[str, Any]:
    """All figures; thresholds in the shortest form that rounds to the same float32."""
    labels = result.labels
    return {
        "source": result.source,
        "made_at": result.made_at.isoformat(timespec="seconds"),
        "labels": {
            "count": len(labels),
            "positives": labels.positives,
            "negatives": labels.negatives,
            "weighted": labels.weights is not None,
            "remarks": list(labels.remarks),
        },
        "confidence": result.asked.confidence,
        "seed": result.asked.seed,
        "method": METHOD,
        "thresholds": [_supported(one) for one in result.supported],
        "areas": asdict(result.areas),
        "curves": {
            "thresholds": [shortest(value) for value in result.curves.thresholds],
            "found": result.curves.found.tolist(),
            "false_alarms": result.curves.false_alarms.tolist(),
            "precision": result.curves.precision.tolist(),
        },
        "groups": [
            {
                "column": one.column,
                "value": one.value,
                "at": _short(one.overall.threshold),
                "counted": _counted(one.counted),
                "p": one.p,
                "own": _supported(one.own),
            }
            for one in result.groups
        ],
        "live": None if result.live is None else _live(result.live),
        "reliability": None if result.reliability is None else asdict(result.reliability),
        "drift": [
            {
                **asdict(one),
                "threshold": _short(one.threshold),
                "moved": list(map(asdict, one.moved)),
            }
            for one in result.drift
        ],
        "relabelled": list(result.relabelled),
    }


def _short(value: float | None) -> float | None:
    return None if value is None else shortest(value)


def _counted(one: Counted | None) -> dict[str, Any] | None:
    if one is None:
        return None
    share = one.share if one.of else None
    return {"hits": one.hits, "of": one.of, "share": share, "interval": list(one.interval)}


def _supported(one: Supported) -> dict[str, Any]:
    return {
        "rate": one.wanted.rate.value,
        "limit": one.wanted.limit,
        "threshold": _short(one.threshold),
        "counted": _counted(one.counted),
        "bound": one.bound,
        "needed": one.needed,
        "had": one.had,
    }


def _live(live: Live) -> dict[str, Any]:
    return {
        "index": live.reached.index,
        "documents": live.reached.documents,
        "weighted": live.weighted,
        "fit": live.fit,
        "prevalence": asdict(live.prevalence),
        "thresholds": [{**asdict(row), "threshold": _short(row.threshold)} for row in live.rows],
    }
