"""The outcome of applying a policy to one request's context."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from saferank.mappings.fields import SafetyFields
from saferank.ranker.demotion import demoted, factors, functions, functions_for_few, scoring
from saferank.ranker.hiding import hidden, visible
from saferank.ranker.levels import Demotion, Level
from saferank.ranker.states import Query, StateQueries, States, any_of
from saferank.ranker.verdicts import Verdicts


@dataclass(frozen=True)
class Judgement:
    """What a level does to N documents.

    Attributes:
        verdict: the place of each document's verdict in the level's table, (N,).
        hidden: bool (N,).
        demoted: bool (N,).
        factor: float64 (N,) in (0, 1], on the relevance; 1 unless demoted.
    """

    verdict: NDArray[np.uint8]
    hidden: NDArray[np.bool_]
    demoted: NDArray[np.bool_]
    factor: NDArray[np.float64]


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
    def queries(self) -> StateQueries:
        """Queries for the states that documents can be in."""
        return StateQueries(self.fields, self.model)

    @cached_property
    def hidden(self) -> list[Query]:
        """Queries of which a hidden document matches at least one; not to be changed."""
        return hidden(self.rules, self.queries)

    @cached_property
    def visible(self) -> Query:
        """Clauses of a ``bool`` that no hidden document matches; not to be changed."""
        return visible(self.rules, self.queries)

    @cached_property
    def functions(self) -> list[dict[str, Any]]:
        """The demotion as functions of ``function_score``; not to be changed."""
        return functions(self.rules, self.demotion, self.queries)

    @cached_property
    def scoring(self) -> Query:
        """The demotion as parts of a ``function_score``; not to be changed."""
        return scoring(self.functions, "min")

    @cached_property
    def scoring_few(self) -> Query:
        """The same factors, in the form that costs least for few documents."""
        few = functions_for_few(self.rules, self.demotion, self.queries)
        return scoring(few, "first") if few else self.scoring

    @cached_property
    def demoted(self) -> Query:
        """A query that all demoted documents match, if the level demotes; not to be changed."""
        return any_of(demoted(self.rules, self.queries))

    @cached_property
    def verdicts(self) -> Verdicts:
        """What the level does to a document in any state."""
        return Verdicts.of(self.rules)

    def judge(self, states: States) -> Judgement:
        """Judge N documents."""
        verdict = self.verdicts.find(states)
        by_probability = self.verdicts.by_probability[verdict]
        to_the_floor = self.verdicts.to_the_floor[verdict]
        factor = factors(
            states.probability,
            self.rules,
            self.demotion,
            by_probability=by_probability,
            to_the_floor=to_the_floor,
        )
        hidden = self.verdicts.hides[verdict]
        return Judgement(verdict, hidden, by_probability | to_the_floor, factor)

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
