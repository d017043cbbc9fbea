"""The policy: which level of safe search holds for which request.

A policy file says what the levels are and, by rules on the attributes of a request, which of
them holds. ``docs/reference/policy.md`` describes every key.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

from saferank.errors import ConfigurationError, ContextError, PolicyError, shortened
from saferank.mappings.fields import SafetyFields
from saferank.mappings.float32 import as_probability, shortest
from saferank.ranker.level.category import Category
from saferank.ranker.level.decision import Decision
from saferank.ranker.level.level import Demotion, Level, Treatment
from saferank.ranker.policy.yaml_lines import Location, nearest_line, read_yaml

__all__ = [
    "REQUESTED",
    "CategoriesPolicy",
    "CategoryFields",
    "ContextRule",
    "Decision",
    "OneCategoryPolicy",
    "Policy",
    "load_policy",
]

REQUESTED = "requested"
"""The attribute of a context that carries the user's own choice of level."""

FieldName = Annotated[str, Field(pattern=r"^[A-Za-z_][\w-]*(\.[A-Za-z_][\w-]*)*$")]
LevelName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]*$")]
CategoryName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]*$")]
AttributeName = Annotated[str, Field(min_length=1)]


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


AllowedValues = Annotated[
    tuple[str, ...],
    Field(min_length=1),
    BeforeValidator(_as_list, json_schema_input_type=str | list[str]),
]


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


class ContextRule(BaseModel):
    """One entry under ``contexts``: for requests with these attributes, this level."""

    model_config = ConfigDict(extra="forbid", frozen=True, title="context rule")

    when: Annotated[
        dict[AttributeName, AllowedValues],
        Field(
            description="attribute: value, or list of values. The entry matches when every "
            "attribute has one of its values; an attribute that the context lacks does not match. "
            "Without `when` it matches every request"
        ),
    ] = {}
    level: Annotated[LevelName, Field(description="the level unless the user chose another")]
    at_least: Annotated[
        LevelName | None, Field(description="the loosest level that the user can have here")
    ] = None
    locked: Annotated[bool, Field(strict=True, description="ignore what the user chose")] = False

    def matches(self, context: Mapping[str, str]) -> bool:
        """Whether every attribute under ``when`` has one of its values."""
        return all(context.get(name) in values for name, values in self.when.items())

    def covers(self, other: ContextRule) -> bool:
        """Whether this rule matches every request that the other matches."""
        return all(
            set(other.when.get(name, ())) <= set(values) and name in other.when
            for name, values in self.when.items()
        )


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
        for position, rule in enumerate(self.contexts):
            here = ("contexts", position)
            for key in ("level", "at_least"):
                wanted = getattr(rule, key)
                if wanted is not None and wanted not in self.levels:
                    yield (*here, key), f"there is no level {wanted!r}; {self._known_levels()}"
            for attribute, values in rule.when.items():
                for text in self._attribute_faults(attribute, values):
                    yield (*here, "when", attribute), text
            for earlier, other in enumerate(self.contexts[:position], start=1):
                if other.covers(rule):
                    yield here, f"never reached: entry {earlier} matches all that this one matches"
                    break
        if self.contexts[-1].when:
            yield (
                ("contexts", len(self.contexts) - 1),
                "the last entry must match every request; add one without 'when'",
            )

    def _faults_of_levels(self) -> Iterator[tuple[Location, str]]:
        """Faults in what the levels say, with their places."""
        raise NotImplementedError

    def _attribute_faults(self, name: str, values: tuple[str, ...]) -> Iterator[str]:
        if name == REQUESTED:
            yield f"{REQUESTED!r} is the user's choice, which cannot decide the rule"
        elif self.attributes is not None:
            if name not in self.attributes:
                yield f"{name!r} is not listed under 'attributes'"
                return
            allowed = self.attributes[name]
            for value in values:
                if allowed is not None and value not in allowed:
                    yield f"{value!r} is not among the values of attribute {name!r}"

    def _known_levels(self) -> str:
        return f"the levels are {', '.join(self.levels)}"

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
        self._check_context(context)
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
            raise ContextError(f"there is no level {shortened(level)}; {self._known_levels()}")
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
        """The stricter of two levels, by name."""
        order = list(self.levels)
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

    def _check_context(self, context: Mapping[str, str]) -> None:
        if not isinstance(context, Mapping):
            raise ContextError(f"a context is a mapping of attributes, not {shortened(context)}")
        known = self.known_attributes
        for name, value in context.items():
            if not isinstance(value, str):
                raise ContextError(
                    f"context attribute {name!r} must be text, not {shortened(value)}; leave it "
                    "out when it is not known"
                )
            if name == REQUESTED:
                if value not in self.levels:
                    raise ContextError(
                        f"there is no level {value!r} to request; {self._known_levels()}"
                    )
            elif name not in known:
                names = ", ".join(sorted({*known, REQUESTED}))
                raise ContextError(
                    f"the policy knows no context attribute {name!r}; it knows {names}"
                )
            elif (allowed := known[name]) is not None and value not in allowed:
                raise ContextError(
                    f"context attribute {name!r} cannot be {value!r}; "
                    f"it can be {', '.join(allowed)}"
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
        yield from _out_of_order(self.levels, (), overrides=self.overrides)

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
            yield from _out_of_order(levels, (category,), overrides=self.overrides)


def _out_of_order(
    levels: Mapping[str, Level], within: Location, *, overrides: str | None
) -> Iterator[tuple[Location, str]]:
    """Levels of a category that show what a looser one does not, or cannot be kept.

    Args:
        levels: from loosest to strictest.
        within: place of the category inside of a level.
        overrides: index of overrides outside of the documents, if there is one.
    """
    for (looser_name, looser), (name, level) in pairwise(levels.items()):
        if key := level.hides_less_than(looser):
            yield (
                ("levels", name, *within, key),
                f"level {name!r} shows documents that the looser level {looser_name!r} hides "
                f"(by {key}); list levels from loosest to strictest and hide no less in "
                "each next one",
            )
        if key := level.blurs_less_than(looser):
            yield (
                ("levels", name, *within, key),
                f"level {name!r} neither blurs nor hides documents that the looser level "
                f"{looser_name!r} blurs (by {key}); list levels from loosest to strictest, and "
                "blur or hide no less in each next one",
            )
    for name, level in levels.items() if overrides else ():
        if level.blocked in (Treatment.BLUR, Treatment.DEMOTE):
            yield (
                ("levels", name, *within, "blocked"),
                "overrides that are kept outside of the documents can hide, not blur nor "
                "demote; say 'hide' or 'show', or leave out 'overrides'",
            )


def load_policy(source: str | Path) -> Policy:
    """Read and check a policy.

    Args:
        source: path of the file, or the YAML text itself (any string with a line break).

    Raises:
        PolicyError: the file cannot be read, is not YAML, or is not a consistent policy. The
            message names file and line of the first fault and how many more there are.
    """
    if isinstance(source, str) and "\n" in source:
        return _parse(source, None)
    try:
        text = Path(source).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise PolicyError(f"the policy cannot be read: {reason}", path=str(source)) from error
    return _parse(text, str(source))


def _parse(text: str, path: str | None) -> Policy:
    data, lines = read_yaml(text, path)
    try:
        version = data.get("version") if isinstance(data, dict) else None
        kind = CategoriesPolicy if version == 2 else OneCategoryPolicy
        return kind.model_validate(data)
    except ValidationError as error:
        faults = [
            (nearest_line(lines, fault["loc"]) or 1, _sentence(fault)) for fault in error.errors()
        ]
        line, message = min(faults, key=lambda fault: fault[0])
        more = len(faults) - 1
        also = f" (and {more} more fault{'s' if more > 1 else ''})" if more else ""
        raise PolicyError(message + also, path=path, line=line) from error


def _sentence(fault: ErrorDetails) -> str:
    location = _place(fault["loc"])
    if fault["type"] == "extra_forbidden":
        return f"{location}: there is no such key"
    if fault["type"] == "missing":
        return f"{location} is missing"
    if location == "version":
        return f"version: it can be 1 or 2, not {fault['input']!r}"
    message = fault["msg"]
    shown = "" if fault["type"] in _OWN_FAULTS else f", not {fault['input']!r}"
    return f"{location}: {message[0].lower()}{message[1:]}{shown}"


def _place(location: Sequence[str | int]) -> str:
    """A location in words; entries are counted from 1, as ``policy show`` and explanations do."""
    parts = [part for part in location if part != "[key]"]
    text = "".join(f" (entry {at + 1})" if isinstance(at, int) else f".{at}" for at in parts)
    return text.lstrip(".") or "the policy"


_OWN_FAULTS = frozenset({"inconsistent", "unscored_missing", "thresholds_out_of_order"})
