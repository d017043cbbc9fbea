"""The hidden documents as a condition of ES|QL, for queries that are not search bodies."""

from __future__ import annotations

import json
import re

from saferank.ranker.level.decision import Decision
from saferank.ranker.level.level import Treatment
from saferank.ranker.level.states import ALLOW, BLOCK, FAILED, NO_IMAGE
from saferank.ranker.level.thresholds import hide_range


def where(decision: Decision) -> str:
    """A condition that is true for the documents that the level does not hide.

    To be put right behind the source command: ``FROM photos | WHERE {where(decision)} | …``. It
    only hides; a query of rows has no relevance to demote. It is false, not unknown, for hidden
    documents, and fields with several values, which ES|QL cannot compare, count as hidden.
    """
    level, fields = decision.level, decision.fields
    probability, model, status, override = map(_name, fields.deciding)
    hides = set(level.treats(Treatment.HIDE))
    counts = f"{probability} IS NOT NULL"
    if decision.model is not None:
        counts += f' AND COALESCE({model}, "") == {json.dumps(decision.model)}'
    conditions = []
    if (hides_from := hide_range(level)) is not None:
        conditions.append(f"(NOT ({counts}) OR {hides_from.esql_outside(probability)})")
    if "unscored" in hides:
        accounted = f'COALESCE({status}, "") IN ("{FAILED}", "{NO_IMAGE}")'
        conditions.append(f"({counts} OR {accounted})")
    conditions += [
        f'COALESCE({status}, "") != "{state}"' for state in (FAILED, NO_IMAGE) if state in hides
    ]
    visible = " AND ".join(conditions) or "true"
    decision_of = f'COALESCE({override}, "")'
    decided = [f'"{ALLOW}"'] if "blocked" in hides else [f'"{ALLOW}"', f'"{BLOCK}"']
    clauses = [f"({decision_of} IN ({', '.join(decided)}) OR ({visible}))"]
    if "blocked" in hides:
        clauses.append(f'{decision_of} != "{BLOCK}"')
    return " AND ".join(clauses)


def _name(path: str) -> str:
    """A field name, quoted where ES|QL needs it."""
    parts = path.split(".")
    return ".".join(part if re.fullmatch(r"[A-Za-z_]\w*", part) else f"`{part}`" for part in parts)
