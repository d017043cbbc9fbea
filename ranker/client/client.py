"""A client that is used like Elasticsearch's own, and whose answers obey a policy.

    client = SafeSearch(Elasticsearch(url), load_policy("policy.yaml"))
    client.search(index="images", query=..., context={"audience": "adult"})

Every call that returns documents, or words or counts of them, takes ``context=`` and is made safe
or refused. Calls that write or administer are passed on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, Unpack

from elasticsearch import AsyncElasticsearch, Elasticsearch

from saferank.engines.engine import OpenSearchClient, engine_of
from saferank.errors import ConfigurationError, ContextError, shortened
from saferank.ranker.bodies import names
from saferank.ranker.client import administration, reads, searches
from saferank.ranker.client.flow import Knowledge
from saferank.ranker.client.keywords import Context, Options
from saferank.ranker.client.lookups import reading_documents, reading_documents_of_each
from saferank.ranker.client.methods import (
    AsyncRunner,
    Group,
    Passed,
    PlainRunner,
    Planned,
    Undecided,
    refuse_call,
)
from saferank.ranker.client.reranking import reranked
from saferank.ranker.client.suggestions import suggesting, suggesting_each
from saferank.ranker.level.decision import Decision
from saferank.ranker.policy.file import PolicyFile, current_policy
from saferank.ranker.policy.policy import Policy
from saferank.ranker.rerank import as_hits, rerank

if TYPE_CHECKING:
    # The package has no public names for these.
    from elasticsearch._async.client.cluster import ClusterClient as AsyncClusterClient
    from elasticsearch._async.client.indices import IndicesClient as AsyncIndicesClient
    from elasticsearch._async.client.ingest import IngestClient as AsyncIngestClient
    from elasticsearch._sync.client.cluster import ClusterClient
    from elasticsearch._sync.client.indices import IndicesClient
    from elasticsearch._sync.client.ingest import IngestClient

_Resolve = Callable[[str | None, tuple[tuple[str, str], ...]], Decision]
Client = TypeVar("Client", Elasticsearch, AsyncElasticsearch)

# What libraries read of a client beside its calls: the bulk helpers record their times with it,
# and langchain copies the headers to add its own.
_FOR_LIBRARIES = names("_headers _otel")


class _SafeClient(Generic[Client]):
    """What the plain and the asynchronous client share."""

    bulk = Undecided(reads.bulk)
    clear_scroll = Undecided(searches.clear_scroll)
    create_pit = Planned(searches.open_point_in_time)
    count = Planned(reading_documents(searches.count), searches=True)
    exists = Planned(reads.exists)
    exists_source = Planned(reads.exists_source)
    explain = Planned(reading_documents(reads.explain))
    get = Planned(reads.get)
    get_source = Planned(reads.get_source)
    mget = Planned(reads.mget)
    msearch = Planned(suggesting_each(reading_documents_of_each(searches.msearch)), searches=True)
    mtermvectors = Planned(reads.mtermvectors)
    open_point_in_time = Planned(searches.open_point_in_time)
    scroll = Planned(searches.scroll)
    search = Planned(suggesting(reading_documents(searches.search)), searches=True)
    search_template = Planned(searches.search_template)
    termvectors = Planned(reads.termvectors)
    update = Undecided(reads.update)

    # Calls that return nothing of any document. (Those with "pit" are OpenSearch's names.)
    cluster: Group[ClusterClient, AsyncClusterClient] = Group(
        administration.CLUSTER, administration.CLUSTER_LEFT_OUT
    )
    indices: Group[IndicesClient, AsyncIndicesClient] = Group(
        administration.INDICES, administration.INDICES_LEFT_OUT
    )
    ingest: Group[IngestClient, AsyncIngestClient] = Group(administration.INGEST)
    close = Passed(Elasticsearch.close, AsyncElasticsearch.close)
    close_point_in_time = Passed(
        Elasticsearch.close_point_in_time, AsyncElasticsearch.close_point_in_time
    )
    create = Passed(Elasticsearch.create, AsyncElasticsearch.create)
    delete = Passed(Elasticsearch.delete, AsyncElasticsearch.delete)
    delete_pit = Passed(
        Elasticsearch.close_point_in_time, AsyncElasticsearch.close_point_in_time, "delete_pit"
    )
    delete_by_query = Passed(Elasticsearch.delete_by_query, AsyncElasticsearch.delete_by_query)
    index = Passed(Elasticsearch.index, AsyncElasticsearch.index)
    info = Passed(Elasticsearch.info, AsyncElasticsearch.info)
    ping = Passed(Elasticsearch.ping, AsyncElasticsearch.ping)
    reindex = Passed(Elasticsearch.reindex, AsyncElasticsearch.reindex)
    update_by_query = Passed(Elasticsearch.update_by_query, AsyncElasticsearch.update_by_query)

    def __init__(
        self,
        client: Client | OpenSearchClient,
        policy: Policy | PolicyFile,
        *,
        require_context: bool = False,
        check_all_levels: bool = False,
        context: Context | None = None,
        level: str | None = None,
        secret: str | bytes | None = None,
    ) -> None:
        self._engine = engine_of(client)
        self.client: Client = self._engine.client
        _check_fit(type(self), self._engine.sender, policy)
        self._policy = policy
        self._require_context = require_context
        self._check_all_levels = check_all_levels
        self._context = context
        self._level = level
        self._knowledge = Knowledge() if secret is None else Knowledge(key=_key(secret))
        self._resolved = _resolving(self.policy)
        if level is not None:
            self.policy.decision_for(level)

    @property
    def policy(self) -> Policy:
        """The policy that holds now."""
        return current_policy(self._policy)

    def pinned(self) -> Self:
        """The same client under the policy in use now, even if its file changes.

        For calls of one request that must agree with each other.
        """
        return self._with(_policy=self.policy)

    def bind(self, context: Context) -> Self:
        """The same client for one context; its calls then need no ``context=``."""
        return self._with(_context=context)

    def at_level(self, level: str) -> Self:
        """The same client at one level, whatever the context; for tools that compare levels.

        Raises:
            ContextError: there is no such level.
        """
        self.policy.decision_for(level)
        return self._with(_level=level)

    def options(self, **options: Unpack[Options]) -> Self:
        """The same client with other transport options; see ``Elasticsearch.options``."""
        engine = self._engine.options(**options)
        return self._with(_engine=engine, client=engine.client)

    def decision(self, context: Context | None = None) -> Decision:
        """What holds for a request.

        Raises:
            ContextError: the context does not fit the policy, or is missing and required.
        """
        policy, (resolved, resolve) = self.policy, self._resolved
        if resolved is not policy:
            _, resolve = self._resolved = _resolving(policy)
        if self._level is not None:
            return resolve(self._level, ())
        if context is None:
            context = self._context
        if context is None:
            if self._require_context:
                raise ContextError(
                    "a context is required: give context={...}, or bind the client to one"
                )
            context = {}
        try:
            return resolve(None, tuple(context.items()))
        except (AttributeError, TypeError):  # No context, or of no texts; the policy says so.
            return policy.resolve(context)

    def rerank(
        self, hits: Iterable[Mapping[str, Any]], context: Context | None = None
    ) -> list[dict[str, Any]]:
        """Hits from anywhere, without the hidden ones, the others demoted and in order.

        Raises:
            UnsafeRequest: the policy keeps overrides outside of the documents: it reads nothing.
        """
        return rerank(hits, self.decision(context))

    def cache_key(self, context: Context | None = None) -> str:
        """A part of the key for any cache of responses."""
        return self.decision(context).cache_key

    def _with(self, **changed: Any) -> Self:
        """The same client but for some attributes; all that is known and open is shared."""
        result = object.__new__(type(self))
        vars(result).update(vars(self) | changed)
        return result

    @property
    def transport(self) -> Any:
        """As much of the client's transport as its bulk helpers need; it can send nothing."""
        return self._engine.serializing

    if not TYPE_CHECKING:  # A checker is to know the names that are not there.

        def __getattr__(self, name: str) -> Any:
            return self._refused(name)

    def _refused(self, name: str) -> Any:
        if "client" not in vars(self):  # A copy that is being made looks for methods before that.
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        if name in _FOR_LIBRARIES:
            return getattr(self.client, name)
        return refuse_call(self.client, name, name)


def _check_fit(kind: type[Any], sender: object, policy: object) -> None:
    """Refuse what a type checker would have refused, and where nobody ran one.

    Raises:
        ConfigurationError: the client is asynchronous and the safe client is not, or the other way
            round; or the policy is not one.
    """
    if isinstance(sender, AsyncElasticsearch) is not issubclass(kind, AsyncRunner):
        fitting = "AsyncSafeSearch" if isinstance(sender, AsyncElasticsearch) else "SafeSearch"
        raise ConfigurationError(
            f"{kind.__name__} cannot use this client; make it with {fitting}, or give "
            f"{kind.__name__} {'an asynchronous' if fitting == 'SafeSearch' else 'a plain'} client"
        )
    if not isinstance(policy, Policy | PolicyFile):
        raise ConfigurationError(
            f"a safe client needs a policy, not {shortened(policy)}; read the file with "
            "load_policy or PolicyFile"
        )


def _resolving(policy: Policy) -> tuple[Policy, _Resolve]:
    """A policy, and what remembers its decisions: for a level, or for the items of a context."""

    @lru_cache(maxsize=1024)
    def resolve(level: str | None, context: tuple[tuple[str, str], ...]) -> Decision:
        return policy.resolve(dict(context)) if level is None else policy.decision_for(level)

    return policy, resolve


def _key(secret: str | bytes) -> bytes:
    if not secret:
        raise ConfigurationError(
            "the secret that signs scroll ids is empty; give a long random text, or none"
        )
    return secret.encode(errors="backslashreplace") if isinstance(secret, str) else secret


class SafeSearch(_SafeClient[Elasticsearch], PlainRunner):
    """A safe client over ``elasticsearch.Elasticsearch`` or ``opensearchpy.OpenSearch``.

    Over the latter, answers and errors are those of that client: dictionaries, booleans, and
    ``opensearchpy`` exceptions.

    Args:
        client: sends the requests, with its options (retries, headers, timeouts).
        policy: says which level holds for which context; a ``PolicyFile`` holds from the next call
            on as its file says.
        require_context: refuse a call without a context, instead of using the policy's last rule.
            Calls that return nothing of any document, such as writes, need none.
        check_all_levels: refuse a search at every level if any level of the policy would refuse it,
            so that you see the refusal in development at any level.
        context: holds for calls that give none of their own.
        level: holds for every call, whatever its context; for tools that compare levels.
        secret: signs scroll ids; the same in all processes of an application that scrolls across
            them. Without one a scroll can be read on only through this client and its copies.

    Raises:
        ContextError: there is no such level.
        ConfigurationError: the secret is empty, the client is of no engine that is known or is
            asynchronous, or the policy is not one.
    """

    @property  # type: ignore[misc]
    def __class__(self) -> type[Any]:
        """The class that it is taken for by libraries that insist on a client, as pydantic does."""
        return type(self.client)

    def rerank(
        self, hits: Iterable[Mapping[str, Any]], context: Context | None = None
    ) -> list[dict[str, Any]]:
        """Hits from anywhere, without the hidden ones, the others demoted and in order.

        Raises:
            UnsafeRequest: the policy keeps overrides outside of the documents, and a hit has no
                ``_index`` or ``_id``.
        """
        return self._run(reranked(as_hits(hits), self.decision(context), self._knowledge))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()


class AsyncSafeSearch(_SafeClient[AsyncElasticsearch], AsyncRunner):
    """A safe client over ``elasticsearch.AsyncElasticsearch`` or ``opensearchpy.AsyncOpenSearch``.

    Its calls are awaited.

    It is made like ``SafeSearch`` and has the same methods.
    """

    @property  # type: ignore[misc]
    def __class__(self) -> type[Any]:
        """The class that it is taken for by libraries that insist on a client, as pydantic does."""
        return type(self.client)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.client.close()
