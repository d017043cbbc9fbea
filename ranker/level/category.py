"""What a level does about one category of content: one probability, thresholds and treatments.

A policy of version 1 has one category, without a name. Of several, ``decision`` makes one verdict.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

from saferank.mappings.fields import SafetyFields
from saferank.ranker.bodies import Json, Query
from saferank.ranker.level.demotion import Band, demoted, functions, functions_for_few
from saferank.ranker.level.explanation import Explanation
from saferank.ranker.level.level import Demotion, Level
from saferank.ranker.level.states import StateQueries, States
from saferank.ranker.level.thresholds import ranges_of
from saferank.ranker.level.verdicts import Action, Verdict, blurred, hidden, verdicts, visible

Templates = list[list[tuple[Json, Callable[[float], float] | None]]]
"""By code of ``States`` and by range: what hits are told, and the factor where it varies."""


@dataclass(frozen=True)
class Category:
    """One category at one level.

    Attributes:
        level: its thresholds and treatments.
        name: what the policy calls it; None in a policy of version 1.
        fields: names of the fields that hold its scores and people's decisions about it.
        model: identity that scores must have to count, or None when any counts.
    """

    level: Level
    name: str | None = None
    fields: SafetyFields = field(default_factory=SafetyFields)
    model: str | None = None

    @cached_property
    def queries(self) -> StateQueries:
        """Queries for the states that documents can be in."""
        return StateQueries(self.fields, self.model)

    @cached_property
    def hidden(self) -> list[Query]:
        """Queries of which a document matches one if it is hidden by what is in it."""
        return hidden(self.level, self.queries)

    @cached_property
    def visible(self) -> Query:
        """Clauses of a ``bool`` that only documents match that this category does not hide."""
        return visible(self.level, self.queries)

    @cached_property
    def demoted(self) -> list[Query]:
        """Queries of which a demoted document matches one; a hidden one may, too."""
        return demoted(self.level, self.queries)

    @cached_property
    def blurred(self) -> list[Query]:
        """Queries of which a document to be blurred matches one; a hidden one may, too."""
        return blurred(self.level, self.queries)

    def functions(self, demotion: Demotion, *, few: bool = False) -> list[Json]:
        """The demotion as functions of ``function_score``, of which the smallest holds."""
        return functions(self.level, demotion, self.queries, few=few)

    def functions_for_few(self, demotion: Demotion) -> list[Json]:
        """The same factors for few visible documents, of which the first that applies holds."""
        return functions_for_few(self.level, demotion, self.queries)

    def describe(self, states: States, templates: Templates) -> list[Json]:
        """What the level does to each of N documents because of this category, and why.

        Args:
            states: of the documents.
            templates: as ``templates`` gives them.
        """
        probabilities = states.probabilities
        ranges = ranges_of(probabilities, self.level)
        name = self.name
        result = []
        for code, found, value, rounded in zip(
            states.codes, ranges, states.values, probabilities, strict=True
        ):
            template, factor = templates[code][found]
            told = template.copy()  # Twice as fast as made of parts.
            told["probability"] = value
            if name is not None:
                told["probabilities"] = {name: value}
            if factor is not None:
                told["factor"] = factor(rounded)
            result.append(told)
        return result

    def templates(self, level_name: str, demotion: Demotion) -> Templates:
        """By code and range: what is the same for all documents, and the factor where it is not."""
        factors = {Action.DEMOTED: demotion.floor, Action.HIDDEN: None}
        band = Band.of(self.level, demotion)

        def template(verdict: Verdict) -> Json:
            return Explanation(
                action=verdict.action,
                blur=verdict.blur,
                rule=verdict.rule,
                factor=factors.get(verdict.action, 1.0),
                probability=None,
                blur_from=self.level.blur_from,
                demote_from=self.level.demote_from,
                hide_from=self.level.hide_from,
                level_name=level_name,
                category=self.name,
            ).to_dict()

        def curve(verdict: Verdict) -> Callable[[float], float] | None:
            return band.factor if band and verdict.by_probability else None

        return [
            [(template(verdict), curve(verdict)) for verdict in row] for row in verdicts(self.level)
        ]
