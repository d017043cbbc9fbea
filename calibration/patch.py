"""A policy file with other thresholds, and all else in it as it was, to the last comment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import yaml

from saferank.errors import PolicyError
from saferank.mappings.float32 import shortest
from saferank.ranker.policy.policy import OneCategoryPolicy, Policy, load_policy

KEYS = ("demote_from", "hide_from")
_MARK = "# calibrated: "
"""Begins the lines that say where thresholds came from; they are replaced the next time."""


def patched(
    text: str, level: str, thresholds: Mapping[str, float | None], remarks: Sequence[str]
) -> str:
    """Give a level other thresholds.

    Args:
        text: a policy that loads.
        level: name of the level.
        thresholds: for each of ``KEYS`` a float32 value, or None: the level shall have none.
        remarks: where they come from, one line each, put above the level as comments.

    Raises:
        PolicyError: there is no such level, it is written in a way that cannot be edited, or the
            policy would not be consistent.
    """
    before = load_policy(text)
    if not isinstance(before, OneCategoryPolicy):
        raise PolicyError(
            "thresholds are written into policies of version 1 only; calibrate one category after "
            "the other without --policy, and put the thresholds under their categories"
        )
    if level not in before.levels:
        raise PolicyError(f"there is no level {level!r}; there are {', '.join(before.levels)}")
    text = "".join(
        line for line in text.splitlines(keepends=True) if not line.lstrip().startswith(_MARK)
    )
    for name in reversed(KEYS):
        start, end, new = _edit(text, _level(text, level)[1], name, thresholds[name])
        text = text[:start] + new + text[end:]
    start = text.rfind("\n", 0, _level(text, level)[0].start_mark.index) + 1
    indent = text[start : len(text) - len(text[start:].lstrip())]
    text = text[:start] + "".join(f"{indent}{_MARK}{one}\n" for one in remarks) + text[start:]
    _check(before, load_policy(text), level, thresholds)
    return text


def new_policy(level: str, thresholds: Mapping[str, float | None], remarks: Sequence[str]) -> str:
    """A policy with this level for all requests, and a loosest one that hides nothing.

    Raises:
        PolicyError: the level's name is none, or its thresholds contradict each other.
    """
    name = level if level != "off" else "strict"
    text = (
        "version: 1\nlevels:                       # from loosest to strictest\n  off: {}\n"
        f"  {name}: {{unscored: hide}}\ncontexts:                     # the first that matches "
        f"decides\n  - {{level: {name}}}\n"
    )
    return patched(text, name, thresholds, remarks)


def _level(text: str, level: str) -> tuple[yaml.ScalarNode, yaml.MappingNode]:
    """The nodes of a level's name and of what it says."""
    top = yaml.compose(text, Loader=yaml.BaseLoader)
    assert top is not None  # It has loaded as a policy.
    levels = next(value for key, value in top.value if key.value == "levels")
    key, node = next((key, value) for key, value in levels.value if key.value == level)
    if not isinstance(node, yaml.MappingNode) or node.start_mark.index < key.end_mark.index:
        raise PolicyError(
            f"level {level!r} is not written out where it stands; write its keys there"
        )
    return key, node


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
    before: Policy, after: Policy, level: str, thresholds: Mapping[str, float | None]
) -> None:
    """See that the text was edited in one place, and to what was wanted."""
    wanted = {**before.model_dump(), "levels": {**before.model_dump()["levels"]}}
    wanted["levels"][level] = {**wanted["levels"][level], **thresholds}
    if after.model_dump() != wanted:
        raise PolicyError(
            f"level {level!r} is written in a way that cannot be edited; set "
            + ", ".join(f"{key} to {value}" for key, value in thresholds.items())
        )
