"""A request of HTTP → a call of the safe client → what the client of HTTP gets."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from operator import attrgetter
from typing import Any

from elastic_transport import ApiResponse, HeadApiResponse

from saferank.gateway.answers import malformed, unsafe
from saferank.gateway.routes import ALL, KEYWORDS, ROUTES, Route, Takes
from saferank.ranker.bodies import Json, as_list, as_object, names
from saferank.ranker.client.client import AsyncSafeSearch
from saferank.ranker.client.methods import Planned
from saferank.ranker.hits import KEY
from saferank.ranker.level.decision import Decision
from saferank.ranker.policy.policy import Policy

_NAMES = {keyword: name for name, keyword in KEYWORDS.items()}
# Calls whose answers are explained; that of get_source is a document's own.
_EXPLAINED = names("get mget msearch scroll search search_template")


@dataclass(frozen=True, slots=True)
class Call:
    """One call of the safe client.

    Attributes:
        route: which call.
        arguments: its keywords.
    """

    route: Route
    arguments: Json


@dataclass(frozen=True, slots=True)
class Result:
    """What a call gave.

    Attributes:
        body: JSON; None where there is none.
        status: of HTTP.
    """

    body: Any
    status: int

    @property
    def told(self) -> list[Json]:
        """What the answer says of each document in it: what was done, and why."""
        return [part[KEY] for part in _explained_parts(self.body) if "action" in part.get(KEY, ())]

    def unexplained(self) -> None:
        """Take out what was done to the documents, and why, but for what is to be blurred."""
        for part in _explained_parts(self.body):
            if part.pop(KEY, {}).get("blur"):
                part[KEY] = {"blur": True}


def strictest_level(policy: Policy) -> str:
    """The strictest level that any rule of a policy gives, by name."""
    levels = [policy.stricter(rule.level, rule.at_least or rule.level) for rule in policy.contexts]
    return reduce(policy.stricter, levels)


def read_call(
    route: Route,
    in_path: Mapping[str, str],
    in_address: Mapping[str, str],
    body: Json | list[Json] | None,
) -> Call:
    """The call that a request means.

    Args:
        route: which call.
        in_path: the arguments in the path.
        in_address: the parameters behind it.
        body: of the request, read as the route takes it; None for none.

    Raises:
        Refused: a parameter, or a key of the body, is not known to be safe.
    """
    given: Json = dict(in_path)
    for name, text in in_address.items():
        if name not in route.parameters:
            raise unsafe(f"parameter {name!r} of {route.call!r} is not known to be safe")
        given[KEYWORDS.get(name, name)] = route.parameters[name](name, text)
    if isinstance(body, dict):
        for key in () if route.body_keys is None else body.keys() - route.body_keys:
            raise unsafe(f"{key!r} in the body of {route.call!r} is not known to be safe")
        body = body if route.read_body is None else route.read_body(body)
        if route.body_as == "body":
            # What the address says holds, as in Elasticsearch.
            body = {key: item for key, item in body.items() if key not in map(_name, given)}
    if body is None and (route.takes is Takes.LINES or route.body_as != "body"):
        raise malformed(f"a call of {route.call!r} has a body")
    if body is not None:
        given[route.body_as] = body
    if route.call == "clear_scroll":
        _check_own_scrolls(given)
    return Call(route, given)


def _name(keyword: str) -> str:
    return _NAMES.get(keyword, keyword)


def _check_own_scrolls(arguments: Json) -> None:
    """See that no scroll of anybody else is ended."""
    ids = arguments.get("scroll_id", as_object(arguments.get("body")).get("scroll_id"))
    if not ids or ALL in (ids.split(",") if isinstance(ids, str) else as_list(ids)):
        raise unsafe("the scrolls to end are named by their ids: others have scrolls, too")


class Calls:
    """Makes calls, each at the level that holds for it.

    Args:
        client: safe, over Elasticsearch.
    """

    def __init__(self, client: AsyncSafeSearch) -> None:
        self._client = client
        self._under = self._clients()

    def _clients(self) -> tuple[Policy, AsyncSafeSearch, AsyncSafeSearch]:
        """The policy that holds now, a client under it, and the same at the strictest level."""
        client = self._client.pinned()
        return client.policy, client, client.at_level(strictest_level(client.policy))

    def at(self, context: Mapping[str, str]) -> tuple[AsyncSafeSearch, Decision]:
        """The client for a request, under one policy to its end, and what holds for it.

        Args:
            context: what is known of the request. Where nothing is, the strictest level holds that
                any rule of the policy gives.

        Raises:
            ContextError: it does not fit the policy.
        """
        if self._client.policy is not self._under[0]:
            self._under = self._clients()
        _, pinned, strictest = self._under
        client = pinned.bind(context) if context else strictest
        return client, client.decision()

    async def make(self, call: Call, client: AsyncSafeSearch) -> Result:
        """Make one call.

        Args:
            call: which.
            client: as ``at`` gave it.

        Raises:
            SaferankError: it cannot be made safe.
            ApiError: Elasticsearch refuses it, or there is no such document.
            TransportError: Elasticsearch does not answer.
        """
        response: ApiResponse[Any] = await attrgetter(call.route.call)(client)(**call.arguments)
        body = None if isinstance(response, HeadApiResponse | bool) else response.body
        if call.route.told is not None and body is not None:
            body = call.route.told(body, call.arguments)
        return Result(body, response.meta.status)


def is_explained(route: Route) -> bool:
    """Whether answers to a call say what was done to documents."""
    return route.call in _EXPLAINED


def is_made_safe(route: Route) -> bool:
    """Whether the level decides about a call; the others say nothing of any document."""
    return route.call in _MADE_SAFE


_MADE_SAFE = {
    route.call
    for route in ROUTES
    if isinstance(inspect.getattr_static(AsyncSafeSearch, route.call, None), Planned)
}


def _explained_parts(body: Any) -> Iterator[Json]:
    """The parts of an answer that can say what was done."""
    yield body
    yield from as_object(body.get("hits")).get("hits", ())
    yield from body.get("docs", ())
    for entries in as_object(body.get("suggest")).values():
        for entry in entries:
            yield from entry.get("options", ())
    for response in body.get("responses", ()):
        yield from _explained_parts(response)
