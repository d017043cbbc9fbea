"""The hidden documents as a condition of ES|QL, for queries that are not search bodies."""

from __future__ import annotations

import json
import re

from saferank.errors import UnsafeRequest
from saferank.ranker.level.category import Category
from saferank.ranker.level.decision import Decision
from saferank.ranker.level.level import Treatment
from saferank.ranker.level.states import ALLOW, FAILED, SCORED, STATUSES
from saferank.ranker.level.thresholds import hide_range


def where(decision: Decision) -> str:
    """A condition that is true for the documents that the level does not hide.

    Put it right after the source command: ``FROM photos | WHERE {where(decision)} | …``. It
    only hides; a query of rows has no relevance to demote. It is false, not unknown, for hidden
    documents, and fields with several values, which ES|QL cannot compare, count as hidden.

    Raises:
        UnsafeRequest: the policy has overrides outside of the documents.
    """
    if decision.overrides_index is not None and decision.hides_blocked:
        raise UnsafeRequest(
            "overrides", "ES|QL cannot look at overrides outside of the documents; use a search"
        )
    return " AND ".join(map(_where, decision.categories))


def _where(category: Category) -> str:
    """The same for what the level says about one category."""
    level, fields = category.level, category.fields
    probability, model, status, override, *matched = map(_name, fields.deciding)
    decided = f"COALESCE({override}, {matched[0]})" if matched else override
    hides = set(level.treats(Treatment.HIDE))
    counts = f"{probability} IS NOT NULL"
    if category.model is not None:
        counts += f' AND COALESCE({model}, "") == {json.dumps(category.model)}'
    # A document without a status is one whose probability tells.
    known = f'COALESCE({status}, "{SCORED}")'
    conditions = []
    if (hides_from := hide_range(level)) is not None:
        conditions.append(f"(NOT ({counts}) OR {hides_from.esql_outside(probability)})")
    if "unscored" in hides:
        conditions.append(f'({counts} OR {known} != "{SCORED}")')
    if FAILED in hides:
        readable = [status for status in STATUSES if status not in hides]
        conditions.append(f"{known} IN ({', '.join(map(json.dumps, readable))})")
    elif statuses := [status for status in STATUSES if status in hides]:
        conditions.append(f"{known} NOT IN ({', '.join(map(json.dumps, statuses))})")
    visible = " AND ".join(conditions) or "true"
    if "blocked" not in hides:
        return f"({decided} IS NOT NULL OR ({visible}))"
    return f'(COALESCE({decided}, "") == "{ALLOW}" OR ({decided} IS NULL AND {visible}))'


def _name(path: str) -> str:
    """A field name, quoted where ES|QL needs it."""
    parts = path.split(".")
    return ".".join(part if re.fullmatch(r"[A-Za-z_]\w*", part) else f"`{part}`" for part in parts)
