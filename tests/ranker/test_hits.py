from __future__ import annotations

from typing import Any

from saferank.mappings.fields import SafetyFields
from saferank.ranker.hits import HitReader
from saferank.ranker.level.decision import Decision
from saferank.ranker.level.level import Level

MODERATE = Decision(level="x", rules=Level(demote_from=0.2, hide_from=0.8, unscored="demote"))


def hit(index: str, **safety: Any) -> dict[str, Any]:
    return {"_index": index, "_source": {"safety": safety}}


def unsure(reader: HitReader, hits: list[dict[str, Any]]) -> list[int]:
    told = reader.describe(hits, MODERATE)
    return reader.unsure(hits, told)


def test_a_hit_without_a_probability_is_sure_where_another_of_its_index_shows_one() -> None:
    hits = [hit("a", probability=0.1), hit("a"), hit("b"), hit("b", status="failed"), hit("a")]
    reader = HitReader.of({}, SafetyFields())
    assert unsure(reader, hits) == [2]
    assert unsure(reader, hits[1:]) == [0, 1, 3]
    assert unsure(reader, hits[:2]) == []


def test_doc_values_leave_nothing_out() -> None:
    reader = HitReader.of({"_source": False}, SafetyFields())
    assert unsure(reader, [{"_index": "a"}]) == []
