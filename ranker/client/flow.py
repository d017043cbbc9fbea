"""Calls of a safe client as plans: what to send, and what to make of the answers.

A plan is a generator. It yields calls of the Elasticsearch client, is sent their responses, and
returns what the application gets. The plain and the asynchronous client differ only in how they
run a plan, so nothing is written twice.
"""

from __future__ import annotations

import dataclasses
import secrets
import time
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from elasticsearch import ApiError, NotFoundError

from saferank.errors import MappingError
from saferank.mappings.fields import SafetyFields
from saferank.mappings.overrides import DOCUMENT, HOLDS, Overrides, no_overrides
from saferank.mappings.template import types_of
from saferank.ranker.bodies import Json
from saferank.ranker.client.ways import Experience
from saferank.ranker.level.decision import Decision
from saferank.ranker.level.level import Treatment
from saferank.ranker.rewrite.limits import Limits

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
class KnownOverrides:
    """The overrides of one index, as they were read.

    Attributes:
        overrides: all of them.
        version: of the document that they were read from.
        read_at: when, on the monotonic clock.
        decisions: by the id of a decision, it and the same one that knows the overrides.
    """

    overrides: Overrides
    version: tuple[int, int]
    read_at: float
    decisions: dict[int, tuple[Decision, Decision]] = field(default_factory=dict)

    def told(self, decision: Decision) -> Decision:
        """The decision, knowing the overrides; made once, since its queries are."""
        if id(decision) not in self.decisions:
            self.decisions[id(decision)] = (decision, decision.knowing(self.overrides))
        return self.decisions[id(decision)][1]


@dataclass
class Knowledge:
    """What a client and its copies share: what was learned, and the key that signs scroll ids."""

    experience: Experience = field(default_factory=Experience)
    overrides: dict[str, KnownOverrides] = field(default_factory=dict)
    checked: dict[tuple[str, SafetyFields], float] = field(default_factory=dict)
    limits: dict[str | None, tuple[float, Limits]] = field(default_factory=dict)
    key: bytes = field(default_factory=lambda: secrets.token_bytes(32))


def know_overrides(decision: Decision, knowledge: Knowledge) -> Plan[Decision]:
    """The decision with the overrides of its index, none of them older than ``HOLDS`` seconds.

    Raises:
        MappingError: there is no such index: what people blocked is not known.
    """
    index = decision.overrides_index
    if index is None or decision.level.blocked is not Treatment.HIDE:
        return decision
    now, known = time.monotonic(), knowledge.overrides.get(index)
    if known is None or now - known.read_at >= HOLDS:
        known = yield from _read_overrides(index, known, now)
        knowledge.overrides[index] = known
    return known.told(decision)


def _read_overrides(index: str, known: KnownOverrides | None, now: float) -> Plan[KnownOverrides]:
    """Read the overrides if they have changed: mostly only their version goes over the wire."""
    where = {"index": index, "id": DOCUMENT}
    try:
        if known is not None:
            found = yield Call("get", {**where, "source": False})
            if known.version == _version(found.body):
                return dataclasses.replace(known, read_at=now)
        found = yield Call("get", where)
    except NotFoundError as error:
        raise no_overrides(index) from error
    version = _version(found.body)
    if version is None:  # The application's client takes a 404 for an answer.
        raise no_overrides(index)
    return KnownOverrides(Overrides.from_document(found.body["_source"]), version, now)


def blocked_elsewhere(found: Json, decision: Decision) -> Plan[bool]:
    """Whether a document is blocked outside of it, under any name of its index.

    Args:
        found: the document, with ``_index`` and ``_id``.
        decision: as ``know_overrides`` gave it.
    """
    blocked = {} if decision.overrides is None else decision.overrides.blocked
    for name in [name for name, ids in blocked.items() if found["_id"] in ids]:
        if name == found["_index"]:
            return True
        # An override is rare, and one of an alias is to be found wherever the alias leads now.
        wanted = {"index": name, "fields": ["_id"], "ignore_unavailable": True}
        led_to = yield Call("field_caps", wanted)
        if found["_index"] in led_to.body["indices"]:
            return True
    return False


def _version(found: Json) -> tuple[int, int] | None:
    return (found["_primary_term"], found["_seq_no"]) if found.get("found") else None


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
    types = types_of(fields.deciding)
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
