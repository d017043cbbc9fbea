from __future__ import annotations

import pytest

from saferank.ranker.level.decision import Decision
from saferank.ranker.level.level import Level


@pytest.fixture(scope="session")
def hiding() -> Decision:
    """A level that only hides."""
    return Decision.of(level_name="strict", level=Level(hide_from=0.5, unscored="show"))


@pytest.fixture(scope="session")
def demoting() -> Decision:
    """A level that hides and demotes."""
    rules = Level(demote_from=0.25, hide_from=0.5, unscored="show")
    return Decision.of(level_name="moderate", level=rules)


@pytest.fixture(scope="session")
def open_level() -> Decision:
    """A level that hides nothing at all."""
    return Decision.of(level_name="open", level=Level(blocked="show"))
