"""What the log says of the reviewers' work: how far they agree, how much, and what was blocked."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, groupby, pairwise

from saferank.calibration.intervals import Interval, binomial_interval
from saferank.mappings.float32 import as_float32, shortest
from saferank.review.entries import DECIDING, Act, Entry, live, opinions_of

CONFIDENCE = 0.95
_PAUSE = 600.0  # seconds between two decisions after which somebody was doing something else


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far two reviewers agree about what both decided.

    Attributes:
        people: their names.
        items: how many both decided.
        same: of these, how many alike.
        kappa: Cohen's kappa, -1 to 1: agreement beyond what chance would give; None where both
            always said the same one thing, since chance would give all of it.
    """

    people: tuple[str, str]
    items: int
    same: int
    kappa: float | None


@dataclass(frozen=True, slots=True)
class Pace:
    """How much a reviewer decided.

    Attributes:
        person: the name.
        decisions: allowed and blocked, not taken back.
        skipped: left to others.
        hours: of work; pauses longer than ten minutes are not counted.
    """

    person: str
    decisions: int
    skipped: int
    hours: float

    @property
    def per_hour(self) -> float | None:
        """Decisions an hour; None when there was too little work to say."""
        return self.decisions / self.hours if self.hours > 0.02 else None


@dataclass(frozen=True, slots=True)
class Blocked:
    """How many of some items were blocked.

    Attributes:
        name: which items.
        blocked: how many of them.
        of: how many they are.
    """

    name: str
    blocked: int
    of: int

    @property
    def share(self) -> float:
        """Of them, 0..1."""
        return self.blocked / self.of if self.of else 0.0

    @property
    def interval(self) -> Interval:
        """Where the true share lies with 95 % confidence, if these were drawn at random."""
        return binomial_interval(self.blocked, self.of, CONFIDENCE)


@dataclass(frozen=True, slots=True)
class Facts:
    """All that is shown to the team.

    Attributes:
        items: on which somebody decided.
        agreement: of each pair of reviewers with something in common.
        pace: of each reviewer.
        bands: by probability, between the thresholds of the policy.
        days: by day, in UTC.
        audit: of the random sample.
    """

    items: int
    agreement: Sequence[Agreement]
    pace: Sequence[Pace]
    bands: Sequence[Blocked]
    days: Sequence[Blocked]
    audit: Blocked


def facts_of(entries: Iterable[Entry], thresholds: Sequence[float]) -> Facts:
    """Compute them.

    Args:
        entries: chain by chain, each whole and in order.
        thresholds: of the policy, in ascending order.
    """
    said: list[dict[str, Entry]] = []
    counting: list[Entry] = []
    for _, chain in groupby(entries, key=lambda entry: entry.item):
        kept = live(list(chain))
        counting += kept
        if opinions := opinions_of(kept):
            said.append(opinions)
    last = [max(opinions.values(), key=lambda entry: entry.number) for opinions in said]
    names = band_names(thresholds)
    bands = _blocked(((names[_band(entry, thresholds)], entry) for entry in last), names)
    days = _blocked((entry.at.date().isoformat(), entry) for entry in last)
    audited = [entry for entry in last if entry.queue == "audit"]
    return Facts(
        items=len(said),
        agreement=agreements(said),
        pace=_paces(counting),
        bands=bands,
        days=days,
        audit=Blocked("audit", sum(entry.act is Act.BLOCK for entry in audited), len(audited)),
    )


def agreements(said: Sequence[Mapping[str, Entry]]) -> list[Agreement]:
    """Agreement of each pair of people who decided about the same items.

    Args:
        said: for each item, who said what.
    """
    together: dict[tuple[str, str], list[tuple[Act, Act]]] = defaultdict(list)
    for opinions in said:
        for one, other in combinations(sorted(opinions), 2):
            together[one, other].append((opinions[one].act, opinions[other].act))
    return [
        Agreement(pair, len(acts), sum(a is b for a, b in acts), cohens_kappa(acts))
        for pair, acts in sorted(together.items())
    ]


def cohens_kappa(acts: Sequence[tuple[Act, Act]]) -> float | None:
    """Agreement beyond chance (Cohen 1960): (observed - by chance) / (1 - by chance).

    Args:
        acts: what two people said about the same items, at least one.
    """
    count = len(acts)
    observed = sum(one is other for one, other in acts) / count
    firsts, seconds = Counter(one for one, _ in acts), Counter(other for _, other in acts)
    chance = sum(firsts[act] * seconds[act] for act in firsts) / count**2
    return None if chance == 1.0 else (observed - chance) / (1.0 - chance)


def band_names(thresholds: Sequence[float]) -> list[str]:
    """Names of the ranges between thresholds, and of no probability at all."""
    shown = [f"{shortest(value):g}" for value in thresholds]
    ends = ["0", *shown, "1"]
    names = [f"{low} to {high}" for low, high in pairwise(ends)]
    return [*names, "no probability"]


def _band(entry: Entry, thresholds: Sequence[float]) -> int:
    if entry.probability is None:
        return len(thresholds) + 1
    return sum(as_float32(entry.probability) >= threshold for threshold in thresholds)


def _blocked(
    named: Iterable[tuple[str, Entry]], names: Sequence[str] | None = None
) -> list[Blocked]:
    counts: dict[str, list[int]] = {name: [0, 0] for name in names or ()}
    for name, entry in named:
        count = counts.setdefault(name, [0, 0])
        count[0] += entry.act is Act.BLOCK
        count[1] += 1
    order = counts if names is not None else sorted(counts)
    return [Blocked(name, *counts[name]) for name in order]


def _paces(entries: Iterable[Entry]) -> list[Pace]:
    by_person: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        if entry.act in (*DECIDING, Act.SKIP):
            by_person[entry.by].append(entry)
    return [
        Pace(
            person,
            sum(entry.act in DECIDING for entry in done),
            sum(entry.act is Act.SKIP for entry in done),
            _seconds(done) / 3600,
        )
        for person, done in sorted(by_person.items())
    ]


def _seconds(entries: Sequence[Entry]) -> float:
    times = sorted(entry.at for entry in entries)
    steps = [(b - a).total_seconds() for a, b in pairwise(times)]
    return sum(step for step in steps if step <= _PAUSE)
