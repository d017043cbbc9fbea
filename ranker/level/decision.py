"""The outcome of applying a policy to one request's context, and what it does to documents.

Of several categories one verdict is made: a document is hidden if any category hides it; else the
smallest factor of all holds, and it is blurred if any category blurs it. The queries say the same:
the clauses that hide stand beside each other, and so do the functions, of which the smallest holds.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from saferank.errors import UnsafeRequest
from saferank.mappings.fields import DecidingFields, SafetyFields
from saferank.mappings.overrides import Overrides
from saferank.ranker.bodies import Json, Query
from saferank.ranker.level.category import Category, Judgements, hardest, told
from saferank.ranker.level.demotion import functions, scoring
from saferank.ranker.level.explanation import Explanation
from saferank.ranker.level.level import Demotion, Level, Treatment
from saferank.ranker.level.states import StateQueries, States, any_of, blocked_in


@dataclass(frozen=True)
class Decision:
    """Which level holds for a request, with all that the level needs.

    Attributes:
        level_name: of the effective level.
        categories: what the level does about each category of content, one or more.
        demotion: how far demoted documents fall.
        context_rule: number of the entry under ``contexts`` that decided, from 1; None when the
            level was given by name.
        locked: whether the user's own choice, if there is one, is ignored.
        requested: the user's own choice, or None.
        overrides_index: where people's overrides are kept outside of the documents, if they are.
        overrides: as they were read there; see ``knowing``.
    """

    level_name: str
    categories: tuple[Category, ...]
    demotion: Demotion = field(default_factory=Demotion)
    context_rule: int | None = None
    locked: bool = False
    requested: str | None = None
    overrides_index: str | None = None
    overrides: Overrides | None = None

    @classmethod
    def of(
        cls,
        level_name: str,
        level: Level,
        *,
        demotion: Demotion | None = None,
        fields: SafetyFields | None = None,
        model: str | None = None,
        overrides: Overrides | None = None,
    ) -> Decision:
        """A decision about one category, as a policy of version 1 makes it."""
        category = Category(level, fields=fields or SafetyFields(), model=model)
        return cls(level_name, (category,), demotion or Demotion(), overrides=overrides)

    def knowing(self, overrides: Overrides) -> Decision:
        """The same decision, with the overrides of its ``overrides_index`` as they are now.

        The safe clients do this for each call. If you rewrite bodies yourself, read the overrides
        with ``read_overrides``, and again before they are older than ``HOLDS`` seconds.
        """
        return dataclasses.replace(self, overrides=overrides)

    @cached_property
    def fields(self) -> DecidingFields:
        """The fields that it looks at, of all categories."""
        return DecidingFields.of(*(category.fields for category in self.categories))

    @property
    def unmapped_fails(self) -> list[Query]:
        """No document; but an index in which a category's probability is not mapped fails."""
        return [category.queries.unmapped_fails for category in self.categories]

    @cached_property
    def hides_blocked(self) -> bool:
        """Whether a block outside of the documents hides: it is about no category of its own."""
        return any(one.level.blocked is Treatment.HIDE for one in self.categories)

    @cached_property
    def hidden(self) -> list[Query]:
        """Queries of which a hidden document matches at least one; not to be changed.

        Raises:
            UnsafeRequest: the overrides are not known, see ``knowing``.
        """
        self._check_overrides()
        clauses = [clause for one in self.categories for clause in one.hidden]
        return [*clauses, *blocked_in(self.blocked_elsewhere)]

    @cached_property
    def visible(self) -> Query:
        """Clauses of a ``bool`` that no hidden document matches; not to be changed.

        Where anything is hidden they fail in an index in which nothing could be.

        Raises:
            UnsafeRequest: as ``hidden``.
        """
        self._check_overrides()
        # A filter for each category: the engine asks the next one only what the last one left.
        # All of them in one filter take up to twice as long.
        each = [one.visible for one in self.categories]
        filters, excluded = (
            [clause for clauses in each for clause in clauses.get(name, ())]
            for name in ("filter", "must_not")
        )
        excluded += blocked_in(self.blocked_elsewhere)
        if not (filters or excluded):
            return {}
        return {
            **({"filter": filters} if filters else {}),
            "must_not": [*excluded, *self.unmapped_fails],
        }

    @cached_property
    def blocked_elsewhere(self) -> Mapping[str, Sequence[str]]:
        """By index or alias, ids of documents that are hidden because of overrides outside of them.

        Raises:
            UnsafeRequest: as ``hidden``.
        """
        self._check_overrides()
        if self.overrides is None or not self.hides_blocked:
            return {}
        return self.overrides.blocked

    @cached_property
    def blurs(self) -> bool:
        """Whether any document is to be blurred."""
        return any(category.level.blurs for category in self.categories)

    @cached_property
    def functions(self) -> list[dict[str, Any]]:
        """The demotion as functions of ``function_score``; not to be changed."""
        return functions(self._levels, self.demotion)

    @cached_property
    def scoring(self) -> Query:
        """The demotion as parts of a ``function_score``; not to be changed."""
        return scoring(self.functions, "min")

    @cached_property
    def scoring_few(self) -> Query:
        """The same factors, in the form that costs least for few documents."""
        if len(self.categories) == 1:
            few = self.categories[0].functions_for_few(self.demotion)
            return scoring(few, "first") if few else self.scoring
        return scoring(functions(self._levels, self.demotion, few=True), "min")

    @property
    def _levels(self) -> list[tuple[Level, StateQueries]]:
        return [(one.level, one.queries) for one in self.categories]

    @cached_property
    def demoted(self) -> Query:
        """A query that all demoted documents match, if the level demotes; not to be changed."""
        return any_of([clause for category in self.categories for clause in category.demoted])

    def describe(self, states: Sequence[States]) -> list[Json]:
        """What happens to each of N documents and why, in the form of ``Explanation.to_dict``.

        Made for every hit of every search, so it is fast: probabilities are as the documents have
        them. Each dictionary is the caller's own.

        Args:
            states: for each category, those of all N documents.
        """
        judged = [
            one.judge(found, judgements)
            for one, found, judgements in zip(
                self.categories, states, self._judgements, strict=True
            )
        ]
        names = [one.name for one in self.categories]
        if names == [None]:
            return told(judged[0])
        by_document = list(zip(*judged, strict=True))
        result = told(map(hardest, by_document))
        values = zip(*(found.values for found in states), strict=True)
        for own, each, probabilities in zip(result, by_document, values, strict=True):
            own["probabilities"] = dict(zip(names, probabilities, strict=True))
            if self.blurs and own["factor"] is not None:
                own["blur"] = any(common["blur"] for (common, _, _), _, _ in each)
        return result

    @cached_property
    def _judgements(self) -> list[Judgements]:
        return [one.judgements(self.level_name, self.demotion) for one in self.categories]

    def _check_overrides(self) -> None:
        needed = self.overrides_index is not None and self.hides_blocked
        if needed and self.overrides is None:
            raise UnsafeRequest(
                "overrides",
                f"the policy has them in {self.overrides_index!r}; a search of a safe "
                "client reads them; here read them with 'saferank.read_overrides' and give them "
                "to 'decision.knowing'",
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
            part
            for one in self.categories
            for part in (
                one.name or "",
                one.fields.probability,
                one.fields.override,
                one.fields.matched if one.fields.matches else "",
                one.model or "",
                one.level.model_dump_json(),
            )
        ]
        parts.append(self.demotion.model_dump_json())
        if self.overrides_index is not None:
            parts.append(self.overrides_index)
        digest = hashlib.sha256("\x00".join(parts).encode()).hexdigest()
        return f"{self.level_name}-{digest[:16]}"


def explain(records: Iterable[Mapping[str, Any]], decision: Decision) -> list[Explanation]:
    """Explain what the decision does to documents.

    Args:
        records: one a document, as ``States.of`` takes them; where categories have names, one such
            record for each, by name. ``deciding_record`` reads one from a hit.
        decision: the level that holds.
    """
    given = list(records)
    states = [
        States.of(given if one.name is None else [record[one.name] for record in given], one.model)
        for one in decision.categories
    ]
    return [Explanation.from_dict(told) for told in decision.describe(states)]
