"""The outcome of applying a policy to one request's context."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property

from saferank.mappings.fields import SafetyFields
from saferank.ranker.levels import Demotion, Level


@dataclass(frozen=True)
class Decision:
    """Which level holds for a request, with all that the level needs.

    Attributes:
        level: name of the effective level.
        rules: thresholds and treatments of that level.
        demotion: how far demoted documents fall.
        fields: names of the safety fields.
        model: identity that scores must have to count, or None when any counts.
        context_rule: number of the entry under ``contexts`` that decided, from 1; None when the
            level was given by name.
        locked: whether the user's own choice was ignored.
        requested: the user's own choice, or None.
    """

    level: str
    rules: Level
    demotion: Demotion = field(default_factory=Demotion)
    fields: SafetyFields = field(default_factory=SafetyFields)
    model: str | None = None
    context_rule: int | None = None
    locked: bool = False
    requested: str | None = None

    @cached_property
    def cache_key(self) -> str:
        """Equal for decisions that lead to the same results, different for all others."""
        parts = (
            self.fields.probability,
            self.fields.override,
            self.model or "",
            self.rules.model_dump_json(),
            self.demotion.model_dump_json(),
        )
        digest = hashlib.sha256("\x00".join(parts).encode()).hexdigest()
        return f"{self.level}-{digest[:16]}"
