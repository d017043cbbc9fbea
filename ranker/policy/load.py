"""Policy files: from YAML to a checked policy, or to the line that is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from saferank.errors import PolicyError, fault_of
from saferank.ranker.level.level import Demotion, Level
from saferank.ranker.policy.contexts import ContextRule
from saferank.ranker.policy.policy import (
    CategoriesPolicy,
    CategoryFields,
    OneCategoryPolicy,
    Policy,
)
from saferank.ranker.policy.yaml_lines import nearest_line, read_yaml

_OWN_FAULTS = frozenset({"inconsistent", "unscored_missing", "thresholds_out_of_order"})


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
    if fault["type"] in {"extra_forbidden", "missing"}:
        near = _near(str(fault["loc"][-1])) if fault["type"] == "extra_forbidden" else ""
        return fault_of(location, fault["type"], fault["msg"]) + near
    if location == "version":
        return f"version: it can be 1 or 2, not {fault['input']!r}"
    message = fault["msg"]
    shown = "" if fault["type"] in _OWN_FAULTS else f", not {fault['input']!r}"
    return f"{location}: {message[0].lower()}{message[1:]}{shown}"


def _near(key: str) -> str:
    """The key that a misspelt one may have been, of all that a policy has anywhere."""
    parts = (OneCategoryPolicy, CategoriesPolicy, CategoryFields, Level, Demotion, ContextRule)
    known = {name for part in parts for name in part.model_fields}
    close = [] if key in known else get_close_matches(key, sorted(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _place(location: Sequence[str | int]) -> str:
    """A location in words; entries are counted from 1, as ``policy show`` and explanations do."""
    parts = [part for part in location if part != "[key]"]
    text = "".join(f" (entry {at + 1})" if isinstance(at, int) else f".{at}" for at in parts)
    return text.lstrip(".") or "the policy"
