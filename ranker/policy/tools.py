"""Looking at policies: the schema of the file, why a request gets its level, what edits change."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from math import prod
from typing import Annotated, Any

from pydantic import BaseModel, Field, TypeAdapter

from saferank.errors import ContextError, PolicyError
from saferank.mappings.overrides import Overrides
from saferank.ranker.level.decision import Decision
from saferank.ranker.policy.contexts import REQUESTED, ContextRule
from saferank.ranker.policy.policy import CategoriesPolicy, OneCategoryPolicy, Policy

ABSENT = "(absent)"
"""In a change: the request does not have the attribute."""
OTHER = "(any other value)"
"""In a change: a value that neither policy names."""
MOST_CONTEXTS = 200_000
"""Most combinations of attribute values that ``diff`` looks at."""


def json_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of the policy file, for editors that check YAML while it is typed."""
    either: TypeAdapter[Any] = TypeAdapter(
        Annotated[OneCategoryPolicy | CategoriesPolicy, Field(discriminator="version")]
    )
    schema = either.json_schema(mode="validation")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


@dataclass(frozen=True)
class ContextExplanation:
    """Why a request gets its level, and what that means for its queries.

    Attributes:
        decision: what the policy decided.
        rule: the entry under ``contexts`` that matched.
        passed_over: the entries before it, each with the attributes that did not fit.
        steps: how the level came about, one sentence each.
        must_not: query clauses; a document that matches one of them is hidden.
        blurred: query clauses; a document that matches one, and is not hidden, is to be blurred.
        functions: of ``function_score``; the smallest that applies demotes a document.
    """

    decision: Decision
    rule: ContextRule
    passed_over: list[tuple[ContextRule, list[str]]]
    steps: list[str]
    must_not: list[dict[str, Any]]
    blurred: list[dict[str, Any]]
    functions: list[dict[str, Any]]


def explain_context(policy: Policy, context: Mapping[str, str] | None = None) -> ContextExplanation:
    """Explain what ``policy.resolve`` decides.

    Raises:
        ContextError: as ``Policy.resolve``.
    """
    context = context or {}
    decision = policy.resolve(context).knowing(Overrides())
    number = decision.context_rule or 1
    rule = policy.contexts[number - 1]
    return ContextExplanation(
        decision=decision,
        rule=rule,
        passed_over=[
            (
                other,
                [name for name, values in other.when.items() if context.get(name) not in values],
            )
            for other in policy.contexts[: number - 1]
        ],
        steps=list(_steps(rule, number, decision)),
        must_not=decision.hidden,
        blurred=[query for category in decision.categories for query in category.blurred],
        functions=decision.functions,
    )


def _steps(rule: ContextRule, number: int, decision: Decision) -> Iterator[str]:
    conditions = ", ".join(f"{name} is {' or '.join(v)}" for name, v in rule.when.items())
    reason = f"because {conditions}" if rule.when else "which matches every request"
    yield f"entry {number} under contexts decides, {reason}; its level is {rule.level!r}"
    if decision.requested is not None and rule.locked:
        yield f"the user asked for {decision.requested!r}, which is ignored: the entry is locked"
    elif decision.requested is not None:
        yield f"the user asked for {decision.requested!r}"
    if rule.at_least is not None:
        yield f"it has to be at least {rule.at_least!r}"
    yield f"so the level is {decision.level_name!r}"


@dataclass(frozen=True)
class ContextChange:
    """Requests whose level changes.

    Attributes:
        context: the attributes that matter, ``requested`` among them; all others may be anything.
        before: name of the level, or None when the policy refused such a request.
        after: likewise.
    """

    context: dict[str, str]
    before: str | None
    after: str | None


@dataclass(frozen=True)
class PolicyDiff:
    """What changes from one policy to another.

    Attributes:
        settings: name -> (before, after), of what holds at all levels.
        levels: level -> rule -> (before, after); None for a level that one of them lacks.
        contexts: requests whose level changes.
    """

    settings: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    levels: dict[str, dict[str, tuple[Any, Any]]] = field(default_factory=dict)
    contexts: list[ContextChange] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.settings or self.levels or self.contexts)


def diff(before: Policy, after: Policy) -> PolicyDiff:
    """Compare two policies by what they do, not by how they are written.

    The category of a policy of version 1 is compared with the one that has its fields in the other.

    Raises:
        PolicyError: more combinations of attribute values than can be looked at.
    """
    return PolicyDiff(
        settings=_differences(_settings(before, after), _settings(after, before)),
        levels={
            name: changes
            for name in {**before.levels, **after.levels}
            if (changes := _differences(_rules(before, name, after), _rules(after, name, before)))
        },
        contexts=_context_changes(before, after),
    )


def _by_category(policy: Policy, other: Policy) -> Mapping[str | None, OneCategoryPolicy]:
    """What the policy says by category; one without a name has it from the other policy."""
    found = policy.by_category()
    if None not in found:
        return found
    of_objects = {one.fields.objects: name for name, one in other.by_category().items()}
    return {of_objects.get(found[None].fields.objects): found[None]}


def _settings(policy: Policy, other: Policy) -> dict[str, Any]:
    found = {
        _named(category, key): value
        for category, one in _by_category(policy, other).items()
        for key, value in (
            ("field", one.field),
            ("override_field", one.override_field or one.field),
            ("model", one.model),
        )
    }
    return {
        **found,
        "overrides": policy.overrides,
        "matched": policy.matched,
        **{f"demotion.{name}": value for name, value in _flat(policy.demotion).items()},
    }


def _rules(policy: Policy, level: str, other: Policy) -> dict[str, Any]:
    """What a level says, by category and key; nothing where there is no such level."""
    return {
        _named(category, key): value
        for category, one in _by_category(policy, other).items()
        for key, value in _flat(one.levels.get(level)).items()
    }


def _named(category: str | None, key: str) -> str:
    return key if category is None else f"{category}.{key}"


def _flat(model: BaseModel | None) -> dict[str, Any]:
    return {} if model is None else model.model_dump(mode="json")


def _differences(before: dict[str, Any], after: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    return {
        name: (before.get(name), after.get(name))
        for name in {**before, **after}
        if before.get(name) != after.get(name)
    }


def _context_changes(before: Policy, after: Policy) -> list[ContextChange]:
    values = _values(before, after)
    combinations = prod(len(choices) for choices in values.values())
    if combinations > MOST_CONTEXTS:
        raise PolicyError(
            f"the policies tell {combinations} kinds of request apart, more than the "
            f"{MOST_CONTEXTS} that can be compared; compare them with fewer attributes"
        )
    groups: dict[tuple[str | None, str | None], set[tuple[str, ...]]] = defaultdict(set)
    for combination in product(*values.values()):
        context = {
            name: value for name, value in zip(values, combination, strict=True) if value != ABSENT
        }
        change = (_level(before, context), _level(after, context))
        if change[0] != change[1]:
            groups[change].add(combination)
    return [
        ContextChange(
            {name: v for name, v in zip(values, merged, strict=True) if v != _ANYTHING}, *change
        )
        for change, combinations_ in groups.items()
        for merged in sorted(_merged(combinations_, list(values.values())))
    ]


def _values(*policies: Policy) -> dict[str, list[str]]:
    """Every attribute with the values that are worth telling apart."""
    found: dict[str, list[str]] = {}
    for policy in policies:
        for name, allowed in policy.known_attributes.items():
            named = [v for rule in policy.contexts for v in rule.when.get(name, ())]
            choices = found.setdefault(name, [ABSENT])
            choices += [*named, *(allowed or (OTHER,))]
    found[REQUESTED] = [ABSENT, *(name for policy in policies for name in policy.levels)]
    return {name: list(dict.fromkeys(choices)) for name, choices in found.items()}


def _level(policy: Policy, context: Mapping[str, str]) -> str | None:
    try:
        return policy.resolve(context).level_name
    except ContextError:
        return None


_ANYTHING = ""


def _merged(
    combinations: Iterable[tuple[str, ...]], values: list[list[str]]
) -> set[tuple[str, ...]]:
    """Fewer combinations that mean the same: an attribute that may be anything is left open."""
    current = set(combinations)
    for position, choices in enumerate(values):
        by_rest: dict[tuple[tuple[str, ...], tuple[str, ...]], set[str]] = defaultdict(set)
        for item in current:
            by_rest[item[:position], item[position + 1 :]].add(item[position])
        current = {
            (*head, value, *tail)
            for (head, tail), found in by_rest.items()
            for value in ([_ANYTHING] if len(found) == len(choices) else found)
        }
    return current
