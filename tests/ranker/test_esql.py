"""The condition is evaluated by SQLite, whose three-valued logic is that of ES|QL."""

from __future__ import annotations

import sqlite3
from itertools import product

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from saferank.mappings.fields import SafetyFields
from saferank.ranker.esql import where
from saferank.ranker.level.decision import Decision, explain
from saferank.ranker.level.level import Level

PROBABILITIES = (None, 0.0, -0.0, 0.1999999, 0.2, 0.5, 1.0, -1.0, 2.0, -1e-30)
MODELS = (None, "m", 'other "one"')
STATUSES = (None, "scored", "failed", "not_read", "no_image", "FAILED", "")
OVERRIDES = (None, "allow", "block", "BLOCK", "")
MATCHES = (None, "allow", "block")
ROWS = [
    {"probability": p, "model": m, "status": s, "override": o, "matched": c}
    for p, m, s, o, c in product(PROBABILITIES, MODELS, STATUSES, OVERRIDES, MATCHES)
]


def test_the_condition() -> None:
    rules = Level(hide_from=0.5, unscored="hide", failed="show", not_read="hide", no_image="hide")
    assert where(Decision.of(level_name="x", level=rules)) == (
        '(COALESCE(COALESCE(safety.override, safety.matched), "") == "allow" OR '
        "(COALESCE(safety.override, safety.matched) IS NULL AND "
        "(NOT (safety.probability IS NOT NULL)"
        " OR (safety.probability >= 0 AND safety.probability < 0.5))"
        " AND (safety.probability IS NOT NULL"
        ' OR COALESCE(safety.status, "scored") != "scored")'
        ' AND COALESCE(safety.status, "scored") NOT IN ("not_read", "no_image")))'
    )


def test_names_are_quoted_where_needed() -> None:
    fields = SafetyFields("image-safety.v2", "people")
    rules = Level(hide_from=0.5, unscored="show")
    found = where(Decision.of(level_name="x", level=rules, fields=fields))
    assert "`image-safety`.v2.probability < 0.5" in found
    assert "COALESCE(people.override" in found


treatments = st.sampled_from(["show", "demote", "hide"])
levels = st.builds(
    lambda hide, **kinds: Level(hide_from=hide, **kinds),
    st.none() | st.sampled_from([0.0, 0.2, 0.5, 1.0]),
    unscored=treatments,
    failed=treatments,
    not_read=treatments,
    no_image=treatments,
    blocked=treatments,
)


@given(levels, st.sampled_from(MODELS))
def test_it_hides_what_the_level_hides(rules: Level, model: str | None) -> None:
    decision = Decision.of(level_name="x", level=rules, model=model)
    condition = where(decision).replace("safety.", "").replace(r"\"", '""')
    database = sqlite3.connect(":memory:")
    # The index stores the probability as float32.
    stored = [
        tuple(float(np.float32(v)) if isinstance(v, float) else v for v in row.values())
        for row in ROWS
    ]
    database.execute("CREATE TABLE rows (probability, model, status, override, matched)")
    database.executemany("INSERT INTO rows VALUES (?, ?, ?, ?, ?)", stored)
    found = [bool(value) for (value,) in database.execute(f"SELECT {condition} FROM rows")]
    assert found == [item.action != "hidden" for item in explain(ROWS, decision)]
