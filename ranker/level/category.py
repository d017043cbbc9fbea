"""What a level does about one category of content: one probability, thresholds and treatments.

A policy of version 1 has one category, without a name. Of several, ``decision`` makes one verdict.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from saferank.mappings.fields import SafetyFields
from saferank.ranker.bodies import Json, Query
from saferank.ranker.level.demotion import Band, demoted, functions_for_few
from saferank.ranker.level.explanation import Explanation
from saferank.ranker.level.level import Demotion, Level
from saferank.ranker.level.states import StateQueries, States
from saferank.ranker.level.thresholds import Ranges
from saferank.ranker.level.verdicts import (
    Action,
    Rule,
    Verdict,
    blurred,
    hidden,
    verdicts,
    visible,
)

Hardness = tuple[int, float, bool]
"""For comparison: by action, then by how far a document falls (its factor, negative; 0 when
hidden), then by whether the rule tells more than that nothing is known."""

Judgement = tuple[Json, Callable[[float], float] | None, Hardness]
"""What one category says of documents in the same state and range.

What hits are told but for the probability, not to be changed; what gives the factor of a
probability, where that varies; and how hard it is.
"""

_ACTIONS = tuple(Action)
_SAY_LITTLE = (Rule.UNSCORED, Rule.BELOW_THRESHOLDS)

Judgements = list[list[Judgement]]
"""By code of ``States``, then as ``Ranges`` has them."""

Judged = tuple[Judgement, float | None, float]
"""A document: the judgement on it, its probability as it counts, and that as the engine has it."""


def told(judged: Iterable[Judged]) -> list[Json]:
    """What hits are told of documents; each dictionary is the caller's own."""
    result = []
    for (common, curve, _), value, probability in judged:
        own = common.copy()  # Twice as fast as made of parts.
        own["probability"] = value
        if curve is not None:
            own["factor"] = curve(probability)
        result.append(own)
    return result


def hardest(judged: Sequence[Judged]) -> Judged:
    """Of what several categories say of a document, the hardest; of equally hard ones the first.

    What hides for another reason than that there is no score comes before what hides for that, so
    that the reason is the best known.
    """
    return max(judged, key=_hardness)


def _hardness(judged: Judged) -> Hardness:
    (_, curve, hardness), _, probability = judged
    if curve is None:
        return hardness
    action, _, tells = hardness
    return action, -curve(probability), tells


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

    def functions_for_few(self, demotion: Demotion) -> list[Json]:
        """The same factors for few visible documents, of which the first that applies holds."""
        return functions_for_few(self.level, demotion, self.queries)

    def judge(self, states: States, judgements: Judgements) -> Iterable[Judged]:
        """What the level does to each of N documents because of this category.

        Args:
            states: of the documents.
            judgements: as ``judgements`` gives them.
        """
        starts, probabilities = self._ranges.starts, states.probabilities
        found = [
            judgements[code][bisect_right(starts, probability)]
            for code, probability in zip(states.codes, probabilities, strict=True)
        ]
        return zip(found, states.values, probabilities, strict=True)

    @cached_property
    def _ranges(self) -> Ranges:
        return Ranges.of(self.level)

    def judgements(self, level_name: str, demotion: Demotion) -> Judgements:
        """All that the level can do because of this category."""
        factors = {Action.DEMOTED: demotion.floor, Action.HIDDEN: None}
        band = Band.of(self.level, demotion)

        def judgement(verdict: Verdict) -> Judgement:
            action, rule = verdict.action, verdict.rule
            factor = factors.get(action, 1.0)
            told = Explanation(
                action=action,
                blur=verdict.blur,
                rule=rule,
                factor=factor,
                probability=None,
                blur_from=self.level.blur_from,
                demote_from=self.level.demote_from,
                hide_from=self.level.hide_from,
                level_name=level_name,
                category=self.name,
            ).to_dict()
            curve = band.factor if band and verdict.by_probability else None
            hardness = (_ACTIONS.index(action), -(factor or 0.0), rule not in _SAY_LITTLE)
            return told, curve, hardness

        return [
            [judgement(row[reached]) for reached in self._ranges.ranges]
            for row in verdicts(self.level)
        ]
