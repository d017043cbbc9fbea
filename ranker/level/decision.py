"""The outcome of applying a policy to one request's context, and what it does to documents."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from saferank.errors import UnsafeRequest
from saferank.mappings.fields import SafetyFields
from saferank.mappings.float32 import shortest
from saferank.mappings.overrides import Overrides
from saferank.ranker.bodies import Json, Query
from saferank.ranker.level.demotion import Band, demoted, functions, functions_for_few, scoring
from saferank.ranker.level.level import Demotion, Level, Treatment
from saferank.ranker.level.states import StateQueries, States, any_of
from saferank.ranker.level.thresholds import ranges_of
from saferank.ranker.level.verdicts import Action, Rule, Verdict, hidden, verdicts, visible


@dataclass(frozen=True, slots=True)
class Explanation:
    """What was done to one document, and why.

    Attributes:
        action: what happens to it.
        blur: whether it is to be blurred, as a demoted document can be, too.
        rule: which part of the level decided.
        factor: on its relevance, in (0, 1]; None when hidden.
        probability: its probability, 0..1; None without one that counts.
        blur_from, demote_from, hide_from: the thresholds of the level, None where it has none.
        level_name: of the level.
    """

    action: Action
    blur: bool
    rule: Rule
    factor: float | None
    probability: float | None
    blur_from: float | None
    demote_from: float | None
    hide_from: float | None
    level_name: str

    def to_dict(self) -> dict[str, Any]:
        """As put into a hit, under the key ``saferank``; numbers as short as float32 allows."""
        return {
            "action": str(self.action),
            "blur": self.blur,
            "rule": str(self.rule),
            "factor": self.factor,
            "probability": _short(self.probability),
            "blur_from": _short(self.blur_from),
            "demote_from": _short(self.demote_from),
            "hide_from": _short(self.hide_from),
            "level": self.level_name,
        }

    @classmethod
    def from_dict(cls, told: Mapping[str, Any]) -> Explanation:
        """Read what ``to_dict`` gave."""
        values = dict(told)
        name, action, rule = values.pop("level"), values.pop("action"), values.pop("rule")
        return cls(action=Action(action), rule=Rule(rule), level_name=name, **values)


@dataclass(frozen=True)
class Decision:
    """Which level holds for a request, with all that the level needs.

    Attributes:
        level_name: of the effective level.
        level: its thresholds and treatments.
        demotion: how far demoted documents fall.
        fields: names of the safety fields.
        model: identity that scores must have to count, or None when any counts.
        context_rule: number of the entry under ``contexts`` that decided, from 1; None when the
            level was given by name.
        locked: whether the user's own choice, if there is one, is ignored.
        requested: the user's own choice, or None.
        overrides_index: where people's overrides are kept outside of the documents, if they are.
        overrides: as they were read there; see ``knowing``.
    """

    level_name: str
    level: Level
    demotion: Demotion = field(default_factory=Demotion)
    fields: SafetyFields = field(default_factory=SafetyFields)
    model: str | None = None
    context_rule: int | None = None
    locked: bool = False
    requested: str | None = None
    overrides_index: str | None = None
    overrides: Overrides | None = None

    def knowing(self, overrides: Overrides) -> Decision:
        """The same decision, with the overrides of its ``overrides_index`` as they are now.

        The safe clients do this for each call. Whoever rewrites bodies alone reads the overrides
        with ``read_overrides``, and again before they are older than ``HOLDS`` seconds.
        """
        return dataclasses.replace(self, overrides=overrides)

    @cached_property
    def queries(self) -> StateQueries:
        """Queries for the states that documents can be in."""
        return StateQueries(self.fields, self.model, self.overrides)

    @cached_property
    def hidden(self) -> list[Query]:
        """Queries of which a hidden document matches at least one; not to be changed.

        Raises:
            UnsafeRequest: the overrides are not known, see ``knowing``.
        """
        self._check_overrides()
        return hidden(self.level, self.queries)

    @cached_property
    def visible(self) -> Query:
        """Clauses of a ``bool`` that no hidden document matches; not to be changed.

        Where anything is hidden they fail in an index in which nothing could be.

        Raises:
            UnsafeRequest: as ``hidden``.
        """
        self._check_overrides()
        clauses = visible(self.level, self.queries)
        if not clauses:
            return clauses
        return {**clauses, "must_not": [*clauses.get("must_not", ()), self.queries.unmapped_fails]}

    @cached_property
    def blocked_elsewhere(self) -> Mapping[str, Sequence[str]]:
        """By index or alias, ids of documents that are hidden because of overrides outside of them.

        Raises:
            UnsafeRequest: as ``hidden``.
        """
        self._check_overrides()
        if self.overrides is None or self.level.blocked is not Treatment.HIDE:
            return {}
        return self.overrides.blocked

    @property
    def blurs(self) -> bool:
        """Whether any document is to be blurred."""
        return self.level.blurs

    @cached_property
    def functions(self) -> list[dict[str, Any]]:
        """The demotion as functions of ``function_score``; not to be changed."""
        return functions(self.level, self.demotion, self.queries)

    @cached_property
    def scoring(self) -> Query:
        """The demotion as parts of a ``function_score``; not to be changed."""
        return scoring(self.functions, "min")

    @cached_property
    def scoring_few(self) -> Query:
        """The same factors, in the form that costs least for few documents."""
        few = functions_for_few(self.level, self.demotion, self.queries)
        return scoring(few, "first") if few else self.scoring

    @cached_property
    def demoted(self) -> Query:
        """A query that all demoted documents match, if the level demotes; not to be changed."""
        return any_of(demoted(self.level, self.queries))

    def describe(self, states: States) -> list[Json]:
        """What happens to each of N documents and why, in the form of ``Explanation.to_dict``.

        Made for every hit of every search, so it is fast: probabilities are as the documents have
        them. Each dictionary is the caller's own.
        """
        templates = self._templates
        probabilities = states.probabilities
        ranges = ranges_of(probabilities, self.level)
        result = []
        for code, found, value, rounded in zip(
            states.codes, ranges, states.values, probabilities, strict=True
        ):
            template, factor = templates[code][found]
            told = template.copy()  # Twice as fast as made of parts.
            told["probability"] = value
            if factor is not None:
                told["factor"] = factor(rounded)
            result.append(told)
        return result

    @cached_property
    def _templates(self) -> list[list[tuple[Json, Callable[[float], float] | None]]]:
        """By code and range: what is the same for all documents, and the factor where it is not."""
        factors = {Action.DEMOTED: self.demotion.floor, Action.HIDDEN: None}
        band = Band.of(self.level, self.demotion)

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
                level_name=self.level_name,
            ).to_dict()

        def curve(verdict: Verdict) -> Callable[[float], float] | None:
            return band.factor if band and verdict.by_probability else None

        return [
            [(template(verdict), curve(verdict)) for verdict in row] for row in verdicts(self.level)
        ]

    def _check_overrides(self) -> None:
        needed = self.overrides_index is not None and self.level.blocked is Treatment.HIDE
        if needed and self.overrides is None:
            raise UnsafeRequest(
                "overrides",
                f"the policy has them in {self.overrides_index!r}; use a safe client, or read them "
                "with 'read_overrides' and give them to 'decision.knowing'",
            )

    def __getstate__(self) -> dict[str, Any]:
        """What it was made of; the rest is computed again, and not all of it can be pickled."""
        return {item.name: getattr(self, item.name) for item in dataclasses.fields(self)}

    @cached_property
    def cache_key(self) -> str:
        """Decisions with equal keys show the same hits, in the same order, with the same scores.

        What a response says of the context rule may differ.
        """
        parts = [
            self.fields.probability,
            self.fields.override,
            self.fields.matched if self.fields.matches else "",
            self.model or "",
            self.level.model_dump_json(),
            self.demotion.model_dump_json(),
        ]
        if self.overrides_index is not None:
            parts.append(self.overrides_index)
        digest = hashlib.sha256("\x00".join(parts).encode()).hexdigest()
        return f"{self.level_name}-{digest[:16]}"


def explain(records: Iterable[Mapping[str, Any]], decision: Decision) -> list[Explanation]:
    """Explain what the decision does to documents.

    Args:
        records: one a document, as ``States.of`` takes them; ``deciding_values`` reads one from
            a hit.
        decision: the level that holds.
    """
    return [
        Explanation.from_dict(told)
        for told in decision.describe(States.of(list(records), decision.model))
    ]


def _short(value: float | None) -> float | None:
    return None if value is None else shortest(value)
