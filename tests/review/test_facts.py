"""Agreement, pace and shares, by hand."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from saferank.mappings.float32 import as_float32
from saferank.review.entries import Act, Entry, Item
from saferank.review.facts import band_names, cohens_kappa, facts_of
from saferank.review.labels import label_rows, to_csv

A, B = Act.ALLOW, Act.BLOCK
AT = datetime(2026, 3, 1, 23, 55, tzinfo=UTC)


def entry(id: str, number: int, by: str, act: Act, seconds: float = 0, **more: object) -> Entry:
    at = AT + timedelta(seconds=seconds)
    made = Entry(item=Item("x", id), act=act, by=by, token="t", number=number, at=at)
    return replace(made, **more)  # type: ignore[arg-type]


def test_kappa_is_as_in_cohens_own_terms() -> None:
    # 20 + 15 of 50 alike; by chance 0.5 * 0.6 + 0.5 * 0.4 = 0.5.
    acts = [(A, A)] * 20 + [(A, B)] * 5 + [(B, A)] * 10 + [(B, B)] * 15
    kappa = cohens_kappa(acts)
    assert kappa is not None
    assert abs(kappa - 0.4) < 1e-12
    assert cohens_kappa([(A, A), (B, B)]) == 1.0
    assert cohens_kappa([(A, B), (B, A)]) == -1.0
    assert cohens_kappa([(A, A)] * 9) is None


def test_only_what_counts_is_counted() -> None:
    entries = [
        entry("1", 1, "ann", B, 0, probability=0.9, queue="audit"),
        entry("1", 2, "ben", A, 60, probability=0.9, queue="second", opinions=2),
        entry("2", 1, "ann", B, 120),
        entry("2", 2, "ann", Act.UNDO, 180, undoes=1),
        entry("3", 1, "ann", B, 400, probability=as_float32(0.2), queue="audit"),
        entry("4", 1, "ann", Act.SKIP, 430),
        entry("5", 1, "ann", A, 5000, probability=0.2, queue="audit"),
    ]
    facts = facts_of(entries, [as_float32(0.2), as_float32(0.8)])
    assert facts.items == 3
    assert [(one.people, one.items, one.same) for one in facts.agreement] == [
        (("ann", "ben"), 1, 0)
    ]
    ann, ben = facts.pace
    assert (ann.decisions, ann.skipped) == (3, 1)
    assert abs(ann.hours - 430 / 3600) < 1e-9  # the pause before the last is none of it
    assert ben.per_hour is None
    # At a threshold is beyond it; the last word about an item counts.
    assert [(band.name, band.blocked, band.of) for band in facts.bands] == [
        ("0 to 0.2", 0, 0),
        ("0.2 to 0.8", 1, 2),
        ("0.8 to 1", 0, 1),
        ("no probability", 0, 0),
    ]
    assert [(day.name, day.blocked, day.of) for day in facts.days] == [
        ("2026-03-01", 0, 1),
        ("2026-03-02", 1, 2),
    ]
    assert (facts.audit.blocked, facts.audit.of) == (1, 2)
    assert facts.audit.interval.low < 0.5 < facts.audit.interval.high


def test_no_thresholds_make_one_band() -> None:
    assert band_names([]) == ["0 to 1", "no probability"]


def test_labels_are_of_what_is_settled() -> None:
    entries = [
        entry("=1", 1, "ann", A, opinions=2, queue="audit", probability=0.25),
        entry("=1", 2, "ben", A, opinions=2, queue="second", probability=0.25),
        entry("2", 1, "ann", A, opinions=2, queue="audit"),
        entry("3", 1, "ann", B, queue="near-0.2"),
        entry("4", 1, "ann", B),
        entry("4", 2, "ann", Act.UNDO, undoes=1),
        entry("5", 1, "app", Act.REPORT),
    ]
    lines = "".join(to_csv(label_rows(entries))).splitlines()
    assert lines[0].startswith("id,label,probability,drawn,")
    assert [line.split(",")[:4] for line in lines[1:]] == [
        ["'=1", "allow", "0.25", "random"],
        ["3", "block", "", "near_threshold"],
    ]
