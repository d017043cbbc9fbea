"""Calls of a safe client as plans: what to send, and what to make of the answers.

A plan is a generator. It yields calls of the Elasticsearch client, is sent their responses, and
returns what the application gets. The plain and the asynchronous client differ only in how they
run a plan, so nothing is written twice.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from elasticsearch import ApiError

from saferank.errors import MappingError
from saferank.mappings.fields import SafetyFields
from saferank.ranker.bodies import Json
from saferank.ranker.client.ways import Experience

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Call:
    """One call of the Elasticsearch client.

    Attributes:
        method: its name, with a dot for one of a group (``async_search.submit``).
        arguments: its keywords.
    """

    method: str
    arguments: Json


Plan = Generator[Call, Any, T]

_CHECK_AGAIN_AFTER = 300.0


@dataclass
class Knowledge:
    """What a client and its copies share: what was learned, and the key that signs scroll ids."""

    experience: Experience = field(default_factory=Experience)
    checked: dict[tuple[str, SafetyFields], float] = field(default_factory=dict)
    key: bytes = field(default_factory=lambda: secrets.token_bytes(32))


def check_fields(index: str | None, fields: SafetyFields, knowledge: Knowledge) -> Plan[None]:
    """See, once in a while, that every index searched has the safety fields.

    Without them nothing would be hidden, and nothing would tell.

    Raises:
        MappingError: an index lacks one, or has it of another type.
    """
    if index is None:
        return  # A point in time, whose indices were checked when it was opened; or all indices.
    key, now = (index, fields), time.monotonic()
    if now - knowledge.checked.get(key, -_CHECK_AGAIN_AFTER) < _CHECK_AGAIN_AFTER:
        return
    types = {
        fields.probability: "float",
        fields.model: "keyword",
        fields.status: "keyword",
        fields.override: "keyword",
    }
    wanted = {"index": index, "fields": list(types), "include_unmapped": True}
    try:
        response = yield Call("field_caps", {**wanted, "ignore_unavailable": True})
    except ApiError:
        return  # The search itself says better what is wrong.
    indices = response.body["indices"]
    for path, expected in types.items() if indices else ():
        _check_field(path, expected, response.body["fields"].get(path), indices)
    if len(knowledge.checked) > 10_000:
        knowledge.checked.clear()
    knowledge.checked[key] = now


def _check_field(path: str, expected: str, found: Mapping[str, Any] | None, indices: Any) -> None:
    for kind, capability in (found or {"unmapped": {}}).items():
        names = capability.get("indices") or indices
        where = names if isinstance(names, str) else names[0]
        if kind == "unmapped":
            raise MappingError(
                f"index {where!r} has no field {path!r}, so nothing could be hidden; "
                f"run 'saferank mapping install --index {where}'"
            )
        if kind != expected:
            raise MappingError(
                f"index {where!r} has {path!r} as {kind!r}, and it must be {expected!r}; "
                "name another object as 'field' in the policy, or re-index with the right mapping"
            )
        if not (capability["searchable"] and capability["aggregatable"]):
            raise MappingError(
                f"index {where!r} has {path!r} without an index or doc values; re-index it with "
                "the mapping that 'saferank mapping show' prints"
            )
