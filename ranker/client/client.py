"""A client that is used like Elasticsearch's own, and whose answers obey a policy.

    client = SafeSearch(Elasticsearch(url), load_policy("policy.yaml"))
    client.search(index="images", query=..., context={"audience": "adult"})

Every call that returns documents, or words or counts of them, takes ``context=`` and is made safe
or refused. Calls that write or administer are passed on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from types import SimpleNamespace
from typing import Any, Generic, Self, TypeVar

from elasticsearch import AsyncElasticsearch, Elasticsearch

from saferank.errors import ContextError, UnsafeRequest
from saferank.ranker.bodies import names
from saferank.ranker.client import reads, searches
from saferank.ranker.client.flow import Call, Knowledge, Plan
from saferank.ranker.level.decision import Decision
from saferank.ranker.policy.policy import Policy
from saferank.ranker.rerank import rerank

Client = TypeVar("Client", Elasticsearch, AsyncElasticsearch)
T = TypeVar("T")

Context = Mapping[str, str]
"""Attributes of a request, and under ``requested`` the level that the user chose."""

# Calls that return nothing of any document.
_PASSED = names(
    """
    close close_point_in_time cluster create delete delete_by_query index indices
    info ingest ping reindex update_by_query
    """
)

# What the bulk helpers of the Elasticsearch client need beside calls: it records their times.
_FOR_HELPERS = names("_otel")

_Planner = Callable[[Mapping[str, Any], Decision, Knowledge], Plan[Any]]


def _planned(plan: _Planner) -> Callable[..., Any]:
    """A method that takes the keywords of the client's method of that name, and ``context=``."""

    def method(self: _SafeClient[Any], *, context: Context | None = None, **arguments: Any) -> Any:
        return self._run(plan(arguments, self.decision(context), self._knowledge))

    method.__doc__ = plan.__doc__
    return method


class _SafeClient(Generic[Client]):
    """What the plain and the asynchronous client share.

    Args:
        client: does the work; any options on it (retries, headers, timeouts) hold.
        policy: says which level holds for which context.
        require_context: refuse a call without a context, instead of using the policy's last rule.
        context: holds for calls that give none of their own.
        level: holds for every call, whatever its context; for tools that compare levels.

    Raises:
        ContextError: there is no such level.
    """

    bulk = _planned(reads.bulk)
    clear_scroll = _planned(searches.clear_scroll)
    count = _planned(searches.count)
    exists = _planned(reads.exists)
    exists_source = _planned(reads.exists_source)
    explain = _planned(reads.explain)
    get = _planned(reads.get)
    get_source = _planned(reads.get_source)
    mget = _planned(reads.mget)
    msearch = _planned(searches.msearch)
    mtermvectors = _planned(reads.mtermvectors)
    open_point_in_time = _planned(searches.open_point_in_time)
    scroll = _planned(searches.scroll)
    search = _planned(searches.search)
    search_template = _planned(searches.search_template)
    termvectors = _planned(reads.termvectors)
    update = _planned(reads.update)

    def __init__(
        self,
        client: Client,
        policy: Policy,
        *,
        require_context: bool = False,
        context: Context | None = None,
        level: str | None = None,
    ) -> None:
        self.client: Client = client
        self.policy = policy
        self._require_context = require_context
        self._context = context
        self._fixed = None if level is None else policy.decision_for(level)
        self._knowledge = Knowledge()
        self._resolve = lru_cache(maxsize=1024)(self._resolve_items)

    def bind(self, context: Context) -> Self:
        """The same client for one context: its calls need no ``context=`` of their own."""
        return self._copy(context=context)

    def at_level(self, level: str) -> Self:
        """The same client at one level, whatever the context; for tools that compare levels.

        Raises:
            ContextError: there is no such level.
        """
        return self._copy(level=level)

    def options(self, **options: Any) -> Self:
        """The same client with other transport options; see ``Elasticsearch.options``."""
        return self._copy(client=self.client.options(**options))

    def decision(self, context: Context | None = None) -> Decision:
        """What holds for a request.

        Raises:
            ContextError: the context does not fit the policy, or is missing and required.
        """
        if self._fixed is not None:
            return self._fixed
        if context is None:
            context = self._context
        if context is None:
            if self._require_context:
                raise ContextError(
                    "a context is required: give context={...}, or bind the client to one"
                )
            context = {}
        try:
            return self._resolve(tuple(context.items()))
        except TypeError:  # A value that cannot be a key is no text either; the policy says so.
            return self.policy.resolve(context)

    def rerank(
        self, hits: Iterable[Mapping[str, Any]], context: Context | None = None
    ) -> list[dict[str, Any]]:
        """Hits from anywhere: hidden ones taken out, the others demoted and in order."""
        return rerank(hits, self.decision(context))

    def cache_key(self, context: Context | None = None) -> str:
        """A part of the key for any cache of responses."""
        return self.decision(context).cache_key

    def _resolve_items(self, items: tuple[tuple[str, str], ...]) -> Decision:
        return self.policy.resolve(dict(items))

    def _copy(
        self,
        *,
        client: Client | None = None,
        context: Context | None = None,
        level: str | None = None,
    ) -> Self:
        fixed = None if self._fixed is None else self._fixed.level_name
        copy = type(self)(
            client or self.client,
            self.policy,
            require_context=self._require_context,
            context=self._context if context is None else context,
            level=level or fixed,
        )
        copy._knowledge = self._knowledge
        return copy

    @property
    def transport(self) -> Any:
        """As much of the client's transport as its bulk helpers need; it can send nothing."""
        return SimpleNamespace(serializers=self.client.transport.serializers)

    def _run(self, plan: Plan[Any]) -> Any:
        raise NotImplementedError

    def __getattr__(self, name: str) -> Any:
        if name in _PASSED or name in _FOR_HELPERS:
            return getattr(self.client, name)
        if name.startswith("_") or not hasattr(self.client, name):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        raise UnsafeRequest(
            name, "this call is not known to be safe; use '.client' where no user sees the answer"
        )

    def _method(self, call: Call) -> Callable[..., Any]:
        target: Any = self.client
        for part in call.method.split("."):
            target = getattr(target, part)
        return target  # type: ignore[no-any-return]


class SafeSearch(_SafeClient[Elasticsearch]):
    """A safe client over ``elasticsearch.Elasticsearch``."""

    def _run(self, plan: Plan[Any]) -> Any:
        try:
            call = next(plan)
            while True:
                try:
                    response = self._method(call)(**call.arguments)
                except Exception as error:
                    call = plan.throw(error)
                else:
                    call = plan.send(response)
        except StopIteration as stop:
            return stop.value

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()


class AsyncSafeSearch(_SafeClient[AsyncElasticsearch]):
    """A safe client over ``elasticsearch.AsyncElasticsearch``; its calls are awaited."""

    async def _run(self, plan: Plan[Any]) -> Any:
        try:
            call = next(plan)
            while True:
                try:
                    response = await self._method(call)(**call.arguments)
                except Exception as error:
                    call = plan.throw(error)
                else:
                    call = plan.send(response)
        except StopIteration as stop:
            return stop.value

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.client.close()
