"""The policy: which level of safe search holds for which request.

A policy file says what the levels are and, by rules on the attributes of a request, which of
them holds. ``docs/reference/policy.md`` describes every key.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from saferank.errors import ConfigurationError, ContextError, shortened
from saferank.mappings.fields import SafetyFields
from saferank.mappings.float32 import as_probability, shortest
from saferank.ranker.level.category import Category
from saferank.ranker.level.decision import Decision
from saferank.ranker.level.level import Demotion, Level
from saferank.ranker.policy.contexts import (
    REQUESTED,
    AllowedValues,
    AttributeName,
    ContextRule,
    LevelName,
    check_context,
    faults_of_rules,
    known_levels,
)
from saferank.ranker.policy.order import faults_of_order
from saferank.ranker.policy.yaml_lines import Location

FieldName = Annotated[str, Field(pattern=r"^[A-Za-z_][\w-]*(\.[A-Za-z_][\w-]*)*$")]
CategoryName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]*$")]
OverrideField = Annotated[
    FieldName | None,
    Field(
        description="object field that holds people's decisions; as `field` unless given. It "
        "lets a second object hold the scores of a new model while the decisions stay where "
        "they are"
    ),
]
Model = Annotated[
    str | None,
    Field(
        min_length=1,
        description="the `safety.model` that scores must have. A document scored by another "
        "counts as unscored. Without it any score counts",
    ),
]


class Policy(BaseModel):
    """A checked policy of either version. ``resolve`` says what holds for a request."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    overrides: Annotated[
        str | None,
        Field(min_length=1, description="index of people's overrides outside of the documents"),
    ] = None
    matched: Annotated[
        bool,
        Field(
            strict=True,
            description="whether a decision about a copy of a document's image counts for the "
            "document, unless a person decided about the document itself",
        ),
    ] = True
    levels: Annotated[
        Mapping[LevelName, Any],
        Field(min_length=1, description="the levels, from loosest to strictest"),
    ]
    demotion: Annotated[Demotion, Field(description="how far demoted documents fall")] = Demotion()
    attributes: Annotated[
        dict[AttributeName, AllowedValues | None] | None,
        Field(
            description="what a context may contain: attribute: its values, or nothing for any. "
            "Without it: the attributes that occur under `when`"
        ),
    ] = None
    contexts: Annotated[
        tuple[ContextRule, ...],
        Field(
            min_length=1,
            description="which level holds for which request: the first entry that matches "
            "decides, and the last one must match everything",
        ),
    ]

    _decisions: dict[tuple[int, str | None], Decision] = PrivateAttr(default_factory=dict)

    def by_category(self) -> Mapping[str | None, OneCategoryPolicy]:
        """The policy for each category alone, by its name, which is None in version 1."""
        raise NotImplementedError

    @model_validator(mode="after")
    def _consistent(self) -> Policy:
        faults = [
            InitErrorDetails(
                type=PydanticCustomError("inconsistent", "{text}", {"text": text}),
                loc=location,
                input=None,
            )
            for location, text in self._faults()
        ]
        if faults:
            raise ValidationError.from_exception_data("Policy", faults)
        return self

    def _faults(self) -> Iterator[tuple[Location, str]]:
        yield from self._faults_of_levels()
        yield from faults_of_rules(self.contexts, self.levels, self.attributes)

    def _faults_of_levels(self) -> Iterator[tuple[Location, str]]:
        """Faults in what the levels say, with their places."""
        raise NotImplementedError

    @cached_property
    def known_attributes(self) -> Mapping[str, tuple[str, ...] | None]:
        """Attributes that a context may have, each with its values, or None if it takes any.

        Those listed under ``attributes``; without such a list, those used under ``when``.
        """
        if self.attributes is not None:
            return self.attributes
        return {name: None for rule in self.contexts for name in rule.when}

    def about(self, fields: SafetyFields) -> OneCategoryPolicy:
        """What it says about the category that has its scores and decisions in these fields.

        Raises:
            ConfigurationError: none has.
        """
        return self.by_category()[self.category_of(fields)]

    def category_of(self, fields: SafetyFields) -> str | None:
        """The name of the category that is in these fields; None in a policy of version 1.

        Raises:
            ConfigurationError: none is.
        """
        each = self.by_category().items()
        found = [name for name, one in each if one.fields.objects == fields.objects]
        if not found:
            read = ", ".join(repr(one.fields.override) for one in self.by_category().values())
            raise ConfigurationError(
                f"the policy reads {read} and the settings write {fields.override!r}; name the "
                "same fields in both"
            )
        return found[0]

    def resolve(self, context: Mapping[str, str] | None = None) -> Decision:
        """Decide the level of a request.

        Args:
            context: attributes of the request, and under ``requested`` the level that the user
                chose, if any. None and an empty mapping mean that nothing is known of the request.

        Raises:
            ContextError: the policy does not know an attribute, its value, or the chosen level.
        """
        context = {} if context is None else context
        check_context(context, self.levels, self.known_attributes)
        number, rule = next(
            (number, rule)
            for number, rule in enumerate(self.contexts, start=1)
            if rule.matches(context)
        )
        requested = context.get(REQUESTED)
        chosen = rule.level if rule.locked or requested is None else requested
        level = self.stricter(chosen, rule.at_least or chosen)
        key = (number, requested)
        if key not in self._decisions:
            self._decisions[key] = self._decide(level, number, rule.locked, requested)
        return self._decisions[key]

    def decision_for(self, level: str) -> Decision:
        """The decision for a level given by name, whatever the contexts say.

        Raises:
            ContextError: there is no such level.
        """
        if not isinstance(level, str) or level not in self.levels:
            raise ContextError(f"there is no level {shortened(level)}; {known_levels(self.levels)}")
        key = (0, level)  # The context rules have numbers from 1.
        if key not in self._decisions:
            self._decisions[key] = self._decide(level, None, False, None)
        return self._decisions[key]

    def cache_key(self, context: Mapping[str, str] | None = None) -> str:
        """A part of the key for any cache of results: equal keys mean equal hits.

        Raises:
            ContextError: as ``resolve``.
        """
        return self.resolve(context).cache_key

    def stricter(self, one: str, other: str) -> str:
        """The stricter of two levels, by name.

        Raises:
            ContextError: there is no such level.
        """
        order = list(self.levels)
        for level in (one, other):
            if level not in order:
                raise ContextError(f"there is no level {shortened(level)}; {known_levels(order)}")
        return max(one, other, key=order.index)

    def _decide(
        self, level: str, number: int | None, locked: bool, requested: str | None
    ) -> Decision:
        return Decision(
            level_name=level,
            categories=tuple(
                Category(policy.levels[level], name, policy.fields, policy.model)
                for name, policy in self.by_category().items()
            ),
            demotion=self.demotion,
            context_rule=number,
            locked=locked,
            requested=requested,
            overrides_index=self.overrides,
        )


class OneCategoryPolicy(Policy):
    """A policy of version 1: about one category, which needs no name."""

    version: Annotated[Literal[1], Field(description="version of this format")]
    field: Annotated[
        FieldName, Field(description="object field of the documents that holds the scores")
    ] = "safety"
    override_field: OverrideField = None
    model: Model = None
    levels: Annotated[
        dict[LevelName, Level],
        Field(min_length=1, description="the levels, from loosest to strictest"),
    ]

    def by_category(self) -> Mapping[str | None, OneCategoryPolicy]:
        """Itself, under no name."""
        return {None: self}

    def _faults_of_levels(self) -> Iterator[tuple[Location, str]]:
        yield from faults_of_order(self.levels, (), overrides=self.overrides)

    @cached_property
    def fields(self) -> SafetyFields:
        """Names of the safety fields."""
        return SafetyFields(self.field, self.override_field, self.matched)

    def thresholds_within(self, margin: float) -> list[str]:
        """Thresholds that scores with a cheap first pass do not decide exactly.

        Args:
            margin: below it a stored probability may be inexact; see ``margin_of`` in
                ``saferank.models.description``.

        Returns:
            A sentence for each threshold that is not above the margin.
        """
        return [
            f"level {name!r} has {key} {shortest(value)}, which is not above the margin "
            f"{shortest(margin)} of the model, below which probabilities are not exact; raise the "
            "threshold, or score with a model of a lower margin or without a first pass"
            for name, level in self.levels.items()
            for key, value in level.thresholds.items()
            if value <= as_probability(margin)
        ]


class CategoryFields(BaseModel):
    """Where the documents have what is known of one category."""

    model_config = ConfigDict(extra="forbid", frozen=True, title="category")

    field: Annotated[
        FieldName, Field(description="object field of the documents that holds the scores")
    ]
    override_field: OverrideField = None
    model: Model = None


class CategoriesPolicy(Policy):
    """A policy of version 2: about several categories of content, each with thresholds of its own.

    A document is hidden if any category hides it; else the smallest factor of all holds, and it is
    blurred if any category blurs it.
    """

    version: Annotated[Literal[2], Field(description="version of this format")]
    categories: Annotated[
        dict[CategoryName, CategoryFields],
        Field(min_length=1, description="the categories of content, in the order of explanations"),
    ]
    levels: Annotated[
        dict[LevelName, dict[CategoryName, Level]],
        Field(
            min_length=1,
            description="the levels, from loosest to strictest, each with what it says about a "
            "category; of one that it does not name it hides what people blocked, and no more",
        ),
    ]

    def by_category(self) -> Mapping[str | None, OneCategoryPolicy]:
        """A policy of version 1 for each category, under its name."""
        return self.parts

    @cached_property
    def parts(self) -> dict[str | None, OneCategoryPolicy]:
        """See ``by_category``."""
        shared = {
            key: getattr(self, key)
            for key in ("overrides", "matched", "demotion", "attributes", "contexts")
        }
        return {
            name: OneCategoryPolicy.model_construct(
                version=1,
                field=fields.field,
                override_field=fields.override_field,
                model=fields.model,
                levels=self._levels_of(name),
                **shared,
            )
            for name, fields in self.categories.items()
        }

    def _levels_of(self, category: str) -> dict[str, Level]:
        return {name: level.get(category, Level()) for name, level in self.levels.items()}

    def _faults_of_levels(self) -> Iterator[tuple[Location, str]]:
        for name, level in self.levels.items():
            for unknown in level.keys() - self.categories.keys():
                yield (
                    ("levels", name, unknown),
                    f"there is no category {unknown!r}; the categories are "
                    f"{', '.join(self.categories)}",
                )
        owners: dict[str, str] = {}
        for category, fields in self.categories.items():
            if (owner := owners.setdefault(fields.field, category)) != category:
                yield (
                    ("categories", category, "field"),
                    f"category {owner!r} has the scores of {fields.field!r}; give each category "
                    "an object of its own",
                )
            levels = self._levels_of(category)
            yield from faults_of_order(levels, (category,), overrides=self.overrides)
