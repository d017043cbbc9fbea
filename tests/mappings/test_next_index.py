from typing import Any

import pytest

from saferank.mappings.next_index import matches, template_of


@pytest.mark.parametrize(
    ("name", "pattern", "expected"),
    [
        ("logs-1", "logs-*", True),
        ("logs-1", "logs", False),
        ("my-logs-1", "logs-*", False),
        ("logs-a-1", "logs-*-1", True),
        ("logs-a-12", "logs-*-1", False),
        ("logs.1", "logs.*", True),
        ("logsx1", "logs.*", False),
        ("anything", "*", True),
    ],
)
def test_only_the_star_of_a_pattern_is_special(name: str, pattern: str, expected: bool) -> None:
    assert matches(name, ["other-*", pattern]) is expected


def template(name: str, pattern: str, **rest: Any) -> dict[str, Any]:
    return {"name": name, "index_template": {"index_patterns": [pattern], **rest}}


def test_the_highest_priority_makes_the_index() -> None:
    templates = [
        template("all", "*"),
        template("logs", "logs-*", priority=200),
        template("old", "logs-*", priority=100),
        template("other", "other-*", priority=900),
    ]
    chosen = template_of("logs-1", templates)
    assert chosen is not None
    assert chosen["name"] == "logs"
    assert template_of("logs-1", templates[3:]) is None
