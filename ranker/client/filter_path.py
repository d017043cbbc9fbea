"""``filter_path``, applied here instead of by the engine.

What makes an answer safe is read from the answer: the count of the filter inside a ``global``
aggregation, whether a document was found. The engine would cut that off and leave the rest, a count
over hidden documents for one. So it is asked for the whole answer, and the cut is made here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from elasticsearch import ApiError

from saferank.ranker.client.flow import Plan

_Path = tuple[str, ...]
_ANY_DEPTH = "**"


def cut(plan: Plan[Any], filter_path: str | Sequence[str]) -> Plan[Any]:
    """A plan whose answer is cut at the end; so is one that says that nothing was found."""
    try:
        response = yield from plan
    except ApiError as error:
        if not isinstance(error.body, dict) or "error" in error.body:
            raise  # The engine cuts nothing off these.
        body = filtered(error.body, filter_path)
        raise type(error)(message=str(body), meta=error.meta, body=body) from None
    if not isinstance(response.body, dict):
        return response  # Whether there is a document, for one.
    return type(response)(body=filtered(response.body, filter_path), meta=response.meta)


def filtered(body: Any, filter_path: str | Sequence[str]) -> Any:
    """What Elasticsearch would leave of an answer.

    Args:
        body: of the answer; it is not changed.
        filter_path: paths, in a list or separated by commas; ``*`` stands for any part of a name,
            ``**`` for one name or more. Those with a minus in front are taken out.
    """
    text = filter_path if isinstance(filter_path, str) else ",".join(filter_path)
    names = [name.strip() for name in text.split(",") if name.strip()]
    taken_out = [_path(name[1:]) for name in names if name.startswith("-")]
    wanted = [_path(name) for name in names if not name.startswith("-")]
    if taken_out:
        body = _without(body, taken_out)
    return _only(body, wanted) if wanted else body


def _path(name: str) -> _Path:
    return tuple(name.split("."))


def _only(value: Any, paths: Sequence[_Path]) -> Any:
    """The parts of a value that a path leads to; an empty container if there are none."""
    if isinstance(value, list):
        return [kept for item in value if (kept := _only(item, paths))]
    result = {}
    for name, item in value.items() if isinstance(value, dict) else ():
        ends, rest = _step(name, paths)
        if ends:
            result[name] = item
        elif rest and (kept := _only(item, rest)):
            result[name] = kept
    return result


def _without(value: Any, paths: Sequence[_Path]) -> Any:
    """A value without the parts that a path leads to, and without what is empty for that."""
    if isinstance(value, list):
        return [kept for item in value if not _emptied(item, kept := _without(item, paths))]
    if not isinstance(value, dict):
        return value
    result = {}
    for name, item in value.items():
        ends, rest = _step(name, paths)
        if not ends and not _emptied(item, kept := _without(item, rest) if rest else item):
            result[name] = kept
    return result


def _emptied(before: Any, after: Any) -> bool:
    return after in ({}, []) and before != after


def _step(name: str, paths: Sequence[_Path]) -> tuple[bool, list[_Path]]:
    """Whether a path ends at this name, and what is left of the paths that go on from it."""
    rest = []
    for path in paths:
        first, *others = path
        if not _matches(name, first):
            continue
        if not others:
            return True, []
        rest.append(tuple(others))
        if first == _ANY_DEPTH:
            rest.append(path)
    return False, rest


def _matches(name: str, pattern: str) -> bool:
    if "*" not in pattern:
        return name == pattern
    parts = map(re.escape, pattern.split("*"))
    return re.fullmatch(".*".join(parts), name, re.DOTALL) is not None
