"""Calls of a safe client as plans: what to send, and what to make of the answers.

A plan is a generator. It yields calls of the Elasticsearch client, is sent their responses, and
returns what the application gets. The plain and the asynchronous client differ only in how they
run a plan, so nothing is written twice.

What a client knows of indices comes from a look at them, and holds for a while. Every request says
by itself that an index without the probability is to fail (``StateQueries.unmapped_fails``), and an
answer that does not fit what is known is a reason to look again before it is given out.
"""

from __future__ import annotations

import dataclasses
import secrets
import time
from collections.abc import Callable, Collection, Generator, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

from elastic_transport import ObjectApiResponse
from elasticsearch import ApiError, NotFoundError

from saferank.engines.opensearch import LEAST_TERMINATE_AFTER
from saferank.mappings.fields import DecidingFields
from saferank.mappings.overrides import DOCUMENT, HOLDS, Overrides, no_overrides
from saferank.ranker.bodies import Json
from saferank.ranker.client.indices import (
    Target,
    check_capabilities,
    definition_parts,
    source_tells,
    wanted_fields,
)
from saferank.ranker.client.ways import Experience
from saferank.ranker.level.decision import Decision
from saferank.ranker.rewrite.limits import Limits

T = TypeVar("T")
Document = TypeVar("Document", bound=Mapping[str, Any])


class Call(NamedTuple):
    """One call of the Elasticsearch client.

    Attributes:
        method: its name, with a dot for one of a group (``async_search.submit``).
        arguments: its keywords.
    """

    method: str
    arguments: Json


Plan = Generator[Call, Any, T]

_LOOK_AGAIN_AFTER = 300.0
_REMEMBERED = 10_000
_MOST_NAMES = 50
"""Names of indices in one address, whose length is limited."""


@dataclass(frozen=True, slots=True)
class Known:
    """What a look at the indices of a target has shown; all have the safety fields.

    Attributes:
        indices: their names.
        source_tells: whether hits can be judged by their ``_source``.
        twice: whether they were looked at again, because an answer did not fit.
        at: when, on the monotonic clock.
    """

    indices: frozenset[str]
    source_tells: bool
    twice: bool = False
    at: float = field(default_factory=time.monotonic)


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
    known: dict[tuple[Target, DecidingFields], Known] = field(default_factory=dict)
    limits: dict[str | None, tuple[float, Limits]] = field(default_factory=dict)
    key: bytes = field(default_factory=lambda: secrets.token_bytes(32))

    def recent(self, target: Target, fields: DecidingFields) -> Known | None:
        """What a look has shown that is not long ago."""
        known = self.known.get((target, fields))
        if known is None or time.monotonic() - known.at >= _LOOK_AGAIN_AFTER:
            return None
        return known

    def remember(self, target: Target, fields: DecidingFields, known: Known) -> None:
        """Keep what a look has shown."""
        if len(self.known) >= _REMEMBERED:
            self.known.clear()
        self.known[target, fields] = known


def know_overrides(decision: Decision, knowledge: Knowledge) -> Plan[Decision]:
    """The decision with the overrides of its index, none of them older than ``HOLDS`` seconds.

    Raises:
        MappingError: there is no such index: what people blocked is not known.
    """
    index = decision.overrides_index
    if index is None or not decision.hides_blocked:
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
            if known.version == version_of(found.body):
                return dataclasses.replace(known, read_at=now)
        found = yield Call("get", where)
    except NotFoundError as error:
        raise no_overrides(index) from error
    overrides = Overrides.from_document(found.body["_source"])
    return KnownOverrides(overrides, version_of(found.body), now)


def blocked_elsewhere(found: Mapping[str, Any], decision: Decision) -> Plan[bool]:
    """Whether a document is blocked outside of it, under any name of its index.

    Args:
        found: the document, with ``_index`` and ``_id``.
        decision: as ``know_overrides`` gave it.
    """
    blocked = decision.blocked_elsewhere.items()
    for name in [name for name, ids in blocked if str(found["_id"]) in ids]:
        if name == found["_index"]:
            return True
        # An override is rare, and one of an alias is to be found wherever the alias leads now.
        wanted = {"index": name, "fields": ["_id"], "ignore_unavailable": True}
        led_to = yield Call("field_caps", wanted)
        if found["_index"] in led_to.body["indices"]:
            return True
    return False


def not_blocked_elsewhere(found: Iterable[Document], decision: Decision) -> Plan[list[Document]]:
    """Those documents, each with ``_index`` and ``_id``, that nothing outside of them blocks."""
    shown: list[Document] = []
    for document in found:
        shown += [] if (yield from blocked_elsewhere(document, decision)) else [document]
    return shown


def version_of(found: Json) -> tuple[int, int]:
    """What changes with every write of a document that was read."""
    return found["_primary_term"], found["_seq_no"]


def check_fields(
    target: Target,
    fields: DecidingFields,
    knowledge: Knowledge,
    unexpected: Collection[str] | None = None,
) -> Plan[Known]:
    """See, once in a while, that every index that is read has the safety fields.

    Without them nothing would be hidden, and nothing would tell.

    Args:
        target: what is read.
        fields: names of the safety fields.
        knowledge: what earlier looks have shown.
        unexpected: look now, whatever is known: an answer did not fit. Names of its indices.

    Raises:
        MappingError: an index lacks a field, has it of another type, or in a nested object.
    """
    if unexpected is None and (known := knowledge.recent(target, fields)) is not None:
        return known
    knowledge.known.pop((target, fields), None)
    if target.point_in_time is None:
        looks = [(yield from _look(target, fields))]
    else:
        looks = []
        names = yield from _indices_in(target.point_in_time)
        for start in range(0, len(names), _MOST_NAMES):
            part = Target(",".join(names[start : start + _MOST_NAMES]))
            looks.append((yield from _look(part, fields)))
    known = Known(
        indices=frozenset(unexpected or ()).union(*(look.indices for look in looks)),
        source_tells=all(look.source_tells for look in looks),
        twice=unexpected is not None,
    )
    if known.indices:
        knowledge.remember(target, fields, known)
    return known


def call_checked(
    call: Call,
    target: Target,
    fields: DecidingFields,
    knowledge: Knowledge,
    names_in: Callable[[Json], set[str]] = lambda _: set(),
) -> Plan[ObjectApiResponse[Any]]:
    """Send a call, and once more after another look if its answer does not fit what is known.

    Args:
        call: which fails where the probability is not mapped.
        target: what it reads.
        fields: names of the safety fields.
        knowledge: what earlier looks have shown.
        names_in: the indices of the documents in an answer, if there are any.

    Raises:
        MappingError: see ``check_fields``.
    """
    known = yield from check_fields(target, fields, knowledge)
    names = set[str]()
    try:
        response: ObjectApiResponse[Any] = yield call
        names = names_in(response.body)
        fits = names <= known.indices and not says_unmapped(response.body, fields)
    except ApiError as refused:
        fits = False
        if not says_unmapped({"error": refused.body}, fields):
            raise
    if not fits:
        yield from check_fields(target, fields, knowledge, names)
        response = yield call
    return response


def _look(target: Target, fields: DecidingFields) -> Plan[Known]:
    where: Json = {"index": target.names or "_all", "ignore_unavailable": True}
    if target.expand_wildcards is not None:
        where["expand_wildcards"] = target.expand_wildcards
    asked = {"fields": wanted_fields(fields), "include_unmapped": True}
    try:
        answer = yield Call("field_caps", {**where, **asked})
    except NotFoundError:
        return Known(frozenset(), source_tells=False)  # The request itself says what is missing.
    indices = check_capabilities(answer.body, fields)
    parts = {"features": ["mappings", "settings"], "filter_path": definition_parts(fields)}
    try:
        found = yield Call("indices.get", {**where, **parts})
    except ApiError:  # Not allowed, or on another cluster: the index itself is asked then.
        return Known(indices, source_tells=False)
    definitions = found.body
    tells = all(name in definitions and source_tells(definitions[name], fields) for name in indices)
    return Known(indices, source_tells=tells)


def _indices_in(point_in_time: str) -> Plan[list[str]]:
    """The indices of a point in time that have a document."""
    names = {"terms": {"field": "_index", "size": _REMEMBERED}}
    body = {"pit": {"id": point_in_time}, "size": 0, "track_total_hits": False}
    # A few documents of each shard will do.
    first = {"terminate_after": LEAST_TERMINATE_AFTER, "aggs": {"names": names}}
    answer = yield Call(
        "search", {"body": {**body, **first}, "allow_partial_search_results": False}
    )
    return [bucket["key"] for bucket in answer.body["aggregations"]["names"]["buckets"]]


def says_unmapped(answer: Json, fields: DecidingFields) -> bool:
    """Whether an answer has failed in an index because of the probability's mapping there."""
    failures = answer.get("error") or answer.get("_shards", {}).get("failures")
    return failures is not None and any(
        f"[{probability}]" in str(failures) for probability in fields.probabilities
    )
