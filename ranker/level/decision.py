"""The outcome of applying a policy to one request's context."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from saferank.mappings.fields import SafetyFields
from saferank.ranker.level.demotion import Band, demoted, functions, functions_for_few, scoring
from saferank.ranker.level.explain import Explanation
from saferank.ranker.level.hiding import hidden, visible
from saferank.ranker.level.level import Demotion, Level
from saferank.ranker.level.states import Query, StateQueries, States, any_of
from saferank.ranker.level.verdicts import Action, Verdicts


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

    def describe(self, states: States) -> Iterator[dict[str, Any]]:
        """What happens to each of N documents and why, in the form of ``Explanation.to_dict``.

        Made for every hit of every search, so it is fast: probabilities are as the documents have
        them. Each dictionary is the caller's own.
        """
        templates, curves = self._templates
        probabilities = states.probabilities
        places = self.verdicts.find(states.codes, probabilities)
        for place, value, rounded in zip(places, states.values, probabilities, strict=True):
            told = templates[place].copy()  # Twice as fast as made of parts.
            told["probability"] = value
            if (factor := curves[place]) is not None:
                told["factor"] = factor(rounded)
            yield told

    @cached_property
    def _templates(self) -> tuple[list[dict[str, Any]], list[Callable[[float], float] | None]]:
        """By verdict: what is the same for all its documents, and the factor where it is not."""
        table = self.verdicts.table
        factors = {Action.SHOWN: 1.0, Action.DEMOTED: self.demotion.floor, Action.HIDDEN: None}
        templates = [
            Explanation(
                action=verdict.action,
                rule=verdict.rule,
                factor=factors[verdict.action],
                probability=None,
                demote_from=self.rules.demote_from,
                hide_from=self.rules.hide_from,
                level=self.level,
            ).to_dict()
            for verdict in table
        ]
        band = Band.of(self.rules, self.demotion)
        curve = band.factor if band else None
        return templates, [curve if verdict.by_probability else None for verdict in table]

    def __getstate__(self) -> dict[str, Any]:
        """What it was made of; the rest is computed again, and not all of it can be pickled."""
        return {item.name: getattr(self, item.name) for item in dataclasses.fields(self)}

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
