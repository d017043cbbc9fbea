"""Re-ranking of hits from anywhere, by what people blocked outside of documents, too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from saferank.ranker.client.flow import Knowledge, Plan, know_overrides, not_blocked_elsewhere
from saferank.ranker.level.decision import Decision
from saferank.ranker.rerank import Hit, check_named, put_in_order


def reranked(
    hits: Sequence[Mapping[str, Any]], decision: Decision, knowledge: Knowledge
) -> Plan[list[Hit]]:
    """``rerank``, which reads the overrides, and where an alias leads that one of them names.

    Raises:
        UnsafeRequest: there are overrides, and a hit does not say which document it is.
    """
    known = yield from know_overrides(decision, knowledge)
    check_named(hits, known)
    return put_in_order((yield from not_blocked_elsewhere(hits, known)), known)
