"""A policy file with other thresholds, and all else in it as it was, to the last comment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import yaml

from saferank.errors import PolicyError
from saferank.mappings.fields import SafetyFields
from saferank.mappings.float32 import shortest
from saferank.ranker.policy.load import load_policy
from saferank.ranker.policy.policy import OneCategoryPolicy, Policy

KEYS = ("demote_from", "hide_from")
_MARK = "# calibrated: "
"""Begins the lines that say where thresholds came from; they are replaced the next time."""


def patched(
    text: str,
    level: str,
    thresholds: Mapping[str, float | None],
    remarks: Sequence[str],
    fields: SafetyFields | None = None,
) -> str:
    """Give a level other thresholds; of several categories, for one.

    Args:
        text: a policy that loads.
        level: name of the level.
        thresholds: for each of ``KEYS`` a float32 value, or None: the level shall have none.
        remarks: where they come from, one line each, put above what they are about as comments, in
            the place of those of an earlier time.
        fields: names of those of the category whose thresholds they are; ``safety`` unless given,
            and of no meaning for a policy of version 1.

    Raises:
        PolicyError: there is no such level, it says nothing of the category, it is written in a
            way that cannot be edited, or the policy would not be consistent.
        ConfigurationError: the policy has no category in these fields.
    """
    before, place = load_policy(text), place_of(text, level, fields)
    text = _without_remarks(text, place)
    for name in reversed(KEYS):
        start, end, new = _edit(text, _at(text, place)[1], name, thresholds[name])
        text = text[:start] + new + text[end:]
    start = _line_of(text, place)
    indent = text[start : len(text) - len(text[start:].lstrip())]
    text = text[:start] + "".join(f"{indent}{_MARK}{one}\n" for one in remarks) + text[start:]
    _check(before, load_policy(text), place, thresholds)
    return text


def place_of(text: str, level: str, fields: SafetyFields | None = None) -> list[str]:
    """Which keys lead to where a level's thresholds stand; see ``patched``.

    Raises:
        PolicyError: there is no such level, it says nothing of the category, or it is written in a
            way that cannot be edited.
        ConfigurationError: the policy has no category in these fields.
    """
    policy = load_policy(text)
    if level not in policy.levels:
        raise PolicyError(f"there is no level {level!r}; there are {', '.join(policy.levels)}")
    place = ["levels", level]
    if not isinstance(policy, OneCategoryPolicy):
        place += filter(None, [policy.category_of(fields or SafetyFields())])
    _at(text, place)
    return place


def new_policy(
    level: str,
    thresholds: Mapping[str, float | None],
    remarks: Sequence[str],
    fields: SafetyFields | None = None,
) -> str:
    """A policy with this level for all requests, and a loosest one that hides nothing.

    Args:
        level: name of the level.
        thresholds: as ``patched`` takes them.
        remarks: where they come from.
        fields: names of the safety fields, where they are not the usual ones.

    Raises:
        PolicyError: the level's name is none, or its thresholds contradict each other.
    """
    name = level if level != "off" else "strict"
    read = ""
    if fields is not None and fields.objects != SafetyFields().objects:
        read = f"field: {fields.root}\noverride_field: {fields.override_object}\n"
    text = (
        f"version: 1\n{read}levels:                       # from loosest to strictest\n"
        f"  off: {{}}\n  {name}: {{unscored: hide}}\n"
        f"contexts:                     # the first that matches decides\n  - {{level: {name}}}\n"
    )
    return patched(text, name, thresholds, remarks)


def _at(text: str, place: Sequence[str]) -> tuple[yaml.ScalarNode, yaml.MappingNode]:
    """The nodes of a key, by the keys that lead there from the top, and of what stands under it."""
    found: tuple[yaml.ScalarNode, yaml.MappingNode] | None = None
    node = yaml.compose(text, Loader=yaml.BaseLoader)
    for name in place:
        assert isinstance(node, yaml.MappingNode)  # It has loaded as a policy.
        found = next(((key, under) for key, under in node.value if key.value == name), None)
        if found is None:
            raise PolicyError(
                f"level {place[1]!r} says nothing about the category {name!r}; write "
                f"'{name}: {{}}' there"
            )
        key, node = found
        if not isinstance(node, yaml.MappingNode) or node.start_mark.index < key.end_mark.index:
            raise PolicyError(
                f"level {place[1]!r} is not written out where it stands; write its keys there"
            )
    assert found is not None
    return found


def _line_of(text: str, place: Sequence[str]) -> int:
    """Where the line begins that a key stands in."""
    return text.rfind("\n", 0, _at(text, place)[0].start_mark.index) + 1


def _without_remarks(text: str, place: Sequence[str]) -> str:
    """The text without the remarks right above a key."""
    start = _line_of(text, place)
    above = text[:start].splitlines(keepends=True)
    while above and above[-1].lstrip().startswith(_MARK):
        above.pop()
    return "".join(above) + text[start:]


def _edit(
    text: str, node: yaml.MappingNode, name: str, value: float | None
) -> tuple[int, int, str]:
    """Start and end of a part of the text, and what is to stand there."""
    place = next((at for at, (key, _) in enumerate(node.value) if key.value == name), None)
    if place is None:
        return _added(node, name, value)
    key, old = node.value[place]
    if value is not None:
        return old.start_mark.index, old.end_mark.index, str(shortest(value))
    if not node.flow_style:
        ends = text.find("\n", old.end_mark.index) + 1
        return key.start_mark.index - key.start_mark.column, ends or len(text), ""
    if place + 1 < len(node.value):
        return key.start_mark.index, node.value[place + 1][0].start_mark.index, ""
    start = node.value[place - 1][1].end_mark.index if place else key.start_mark.index
    return start, old.end_mark.index, ""


def _added(node: yaml.MappingNode, name: str, value: float | None) -> tuple[int, int, str]:
    """A key before all others."""
    start = node.start_mark.index + (1 if node.flow_style else 0)
    if value is None:
        return start, start, ""
    entry = f"{name}: {shortest(value)}"
    if not node.flow_style:
        return start, start, f"{entry}\n{' ' * node.start_mark.column}"
    return start, start, f"{entry}, " if node.value else entry


def _check(
    before: Policy, after: Policy, place: Sequence[str], thresholds: Mapping[str, float | None]
) -> None:
    """See that the text was edited in one place, and to what was wanted."""
    wanted = before.model_dump()
    under = wanted
    for name in place:
        under[name] = {**under[name]}
        under = under[name]
    under.update(thresholds)
    if after.model_dump() != wanted:
        raise PolicyError(
            f"level {place[1]!r} is written in a way that cannot be edited; set "
            + ", ".join(f"{key} to {value}" for key, value in thresholds.items())
        )
