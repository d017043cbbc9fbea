"""Contexts: what is known of a request, and the rules that choose a level by it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from saferank.errors import ContextError, shortened
from saferank.ranker.policy.yaml_lines import Location

REQUESTED = "requested"
"""The attribute of a context that carries the user's own choice of level."""

LevelName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]*$")]
AttributeName = Annotated[str, Field(min_length=1)]


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


AllowedValues = Annotated[
    tuple[str, ...],
    Field(min_length=1),
    BeforeValidator(_as_list, json_schema_input_type=str | list[str]),
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


Attributes = Mapping[str, tuple[str, ...] | None]
"""Attributes that a context may have, each with its values, or None when any will do."""


def known_levels(levels: Iterable[str]) -> str:
    """The names of levels, in words."""
    return f"the levels are {', '.join(levels)}"


def check_context(
    context: Mapping[str, str], levels: Mapping[str, object], known: Attributes
) -> None:
    """See that a policy knows all that a context says.

    Args:
        context: of a request.
        levels: those that a user can choose.
        known: the attributes that a context may have.

    Raises:
        ContextError: it does not.
    """
    if not isinstance(context, Mapping):
        raise ContextError(f"a context is a mapping of attributes, not {shortened(context)}")
    for name, value in context.items():
        if not isinstance(value, str):
            raise ContextError(
                f"context attribute {name!r} must be text, not {shortened(value)}; leave it "
                "out when it is not known"
            )
        if name == REQUESTED:
            if value not in levels:
                raise ContextError(
                    f"there is no level {value!r} to request; {known_levels(levels)}"
                )
        elif name not in known:
            names = ", ".join(sorted({*known, REQUESTED}))
            raise ContextError(f"the policy knows no context attribute {name!r}; it knows {names}")
        elif (allowed := known[name]) is not None and value not in allowed:
            raise ContextError(
                f"context attribute {name!r} cannot be {value!r}; it can be {', '.join(allowed)}"
            )


def faults_of_rules(
    rules: Sequence[ContextRule], levels: Mapping[str, object], attributes: Attributes | None
) -> Iterator[tuple[Location, str]]:
    """What is wrong with the rules of a policy, with the places.

    Args:
        rules: in their order.
        levels: of the policy.
        attributes: those that the policy lists, if it does.
    """
    for position, rule in enumerate(rules):
        here = ("contexts", position)
        for key in ("level", "at_least"):
            wanted = getattr(rule, key)
            if wanted is not None and wanted not in levels:
                yield (*here, key), f"there is no level {wanted!r}; {known_levels(levels)}"
        for attribute, values in rule.when.items():
            for text in _attribute_faults(attribute, values, attributes):
                yield (*here, "when", attribute), text
        for earlier, other in enumerate(rules[:position], start=1):
            if other.covers(rule):
                yield here, f"never reached: entry {earlier} matches all that this one matches"
                break
    if rules[-1].when:
        yield (
            ("contexts", len(rules) - 1),
            "the last entry must match every request; add one without 'when'",
        )


def _attribute_faults(
    name: str, values: tuple[str, ...], attributes: Attributes | None
) -> Iterator[str]:
    if name == REQUESTED:
        yield f"{REQUESTED!r} is the user's choice, which cannot decide the rule"
    elif attributes is not None:
        if name not in attributes:
            yield f"{name!r} is not listed under 'attributes'"
            return
        allowed = attributes[name]
        for value in values:
            if allowed is not None and value not in allowed:
                yield f"{value!r} is not among the values of attribute {name!r}"
