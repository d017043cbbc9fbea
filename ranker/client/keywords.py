"""The keywords that a safe client's calls take: the Elasticsearch client's own, and ``context``.

What a search takes is said here once: for type checkers and editors, and for ``arguments``, which
refuses every keyword that is not listed. Keywords of the Elasticsearch client that are missing
here are not known to be safe.
"""

# No postponed annotations here: which keys are required is read at run time.
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Required, TypedDict

Context = Mapping[str, str]
"""Attributes of a request, and under ``requested`` the level that the user chose."""

_Object = Mapping[str, Any]
_Names = str | Sequence[str]
_Time = str | Literal[-1, 0]


class InContext(TypedDict, total=False):
    """What a safe client takes on top of the Elasticsearch client's keywords."""

    context: Context | None


class ResponseParameters(TypedDict, total=False):
    """How any response is written."""

    error_trace: bool | None
    filter_path: _Names | None
    human: bool | None
    pretty: bool | None


class Common(InContext, ResponseParameters, total=False):
    """What every call of a safe client takes."""


class QueryString(TypedDict, total=False):
    """A query in the address instead of the body."""

    analyze_wildcard: bool | None
    analyzer: str | None
    default_operator: Literal["and", "or"] | str | None
    df: str | None
    lenient: bool | None
    q: str | None


class SourceLists(TypedDict, total=False):
    """Which parts of the documents come back, as parameters of the address."""

    source_excludes: _Names | None
    source_includes: _Names | None


class SearchBody(TypedDict, total=False):
    """The keys of a search body, as keywords: ``from`` is ``from_``, ``_source`` is ``source``."""

    aggregations: Mapping[str, _Object] | None
    aggs: Mapping[str, _Object] | None
    collapse: _Object | None
    docvalue_fields: Sequence[str | _Object] | None
    explain: bool | None
    ext: _Object | None
    fields: Sequence[str | _Object] | None
    from_: int | None
    highlight: _Object | None
    indices_boost: Sequence[Mapping[str, float]] | None
    knn: _Object | Sequence[_Object] | None
    min_score: float | None
    pit: _Object | None
    post_filter: _Object | None
    profile: bool | None
    query: _Object | None
    rank: _Object | None
    rescore: _Object | Sequence[_Object] | None
    retriever: _Object | None
    runtime_mappings: Mapping[str, _Object] | None
    script_fields: Mapping[str, _Object] | None
    search_after: Sequence[str | int | float | bool | None] | None
    seq_no_primary_term: bool | None
    size: int | None
    slice: _Object | None
    sort: str | _Object | Sequence[str | _Object] | None
    source: bool | _Object | _Names | None
    stats: Sequence[str] | None
    stored_fields: _Names | None
    suggest: _Object | None
    terminate_after: int | None
    timeout: str | None
    track_scores: bool | None
    track_total_hits: bool | int | None
    version: bool | None


class Targets(TypedDict, total=False):
    """Parameters that say where and how to search, whatever the form of the search."""

    allow_no_indices: bool | None
    ccs_minimize_roundtrips: bool | None
    expand_wildcards: _Names | None
    ignore_throttled: bool | None
    ignore_unavailable: bool | None
    index: _Names | None
    rest_total_hits_as_int: bool | None
    routing: _Names | None
    search_type: Literal["dfs_query_then_fetch", "query_then_fetch"] | str | None
    typed_keys: bool | None


class SearchParameters(Targets, total=False):
    """All parameters of a search that are no part of what comes back."""

    allow_partial_search_results: bool | None
    batched_reduce_size: int | None
    force_synthetic_source: bool | None
    include_named_queries_score: bool | None
    max_concurrent_shard_requests: int | None
    pre_filter_shard_size: int | None
    preference: str | None
    request_cache: bool | None
    scroll: _Time | None
    source_exclude_vectors: bool | None


class MsearchParameters(Targets, total=False):
    """The same for several searches in one request."""

    include_named_queries_score: bool | None
    max_concurrent_searches: int | None
    max_concurrent_shard_requests: int | None
    pre_filter_shard_size: int | None


class Search(Common, QueryString, SourceLists, SearchBody, SearchParameters, total=False):
    """``search``."""

    body: _Object | None


class Msearch(Common, MsearchParameters, total=False):
    """``msearch``: a header and a body in turn."""

    body: Sequence[_Object] | None
    searches: Sequence[_Object] | None


class SearchTemplate(Common, Targets, total=False):
    """``search_template``; ``source`` is the template."""

    body: _Object | None
    explain: bool | None
    id: str | None
    params: _Object | None
    preference: str | None
    profile: bool | None
    scroll: _Time | None
    source: str | _Object | None


class Count(Common, QueryString, total=False):
    """``count``."""

    allow_no_indices: bool | None
    body: _Object | None
    expand_wildcards: _Names | None
    ignore_throttled: bool | None
    ignore_unavailable: bool | None
    index: _Names | None
    min_score: float | None
    preference: str | None
    query: _Object | None
    routing: _Names | None
    stats: _Names | None
    terminate_after: int | None


class Scroll(Common, total=False):
    """``scroll``."""

    body: _Object | None
    rest_total_hits_as_int: bool | None
    scroll: _Time | None
    scroll_id: str | None


class ClearScroll(Common, total=False):
    """``clear_scroll``."""

    body: _Object | None
    scroll_id: _Names | None


class OpenPointInTime(Common, total=False):
    """``open_point_in_time``."""

    allow_partial_search_results: bool | None
    body: _Object | None
    expand_wildcards: _Names | None
    ignore_unavailable: bool | None
    index: Required[_Names]
    index_filter: _Object | None
    keep_alive: Required[_Time]
    max_concurrent_shard_requests: int | None
    preference: str | None
    routing: _Names | None


class _Read(Common, SourceLists, total=False):
    """Reads of stored documents by id."""

    preference: str | None
    realtime: bool | None
    refresh: bool | None
    routing: _Names | None
    source: bool | _Names | None


class _ReadOne(_Read, total=False):
    """A read of one document."""

    id: Required[str]
    index: Required[str]
    version: int | None
    version_type: Literal["external", "external_gte", "internal"] | str | None


class Get(_ReadOne, total=False):
    """``get``."""

    force_synthetic_source: bool | None
    source_exclude_vectors: bool | None
    stored_fields: _Names | None


class GetSource(_ReadOne, total=False):
    """``get_source``."""


class Exists(_ReadOne, total=False):
    """``exists``."""

    stored_fields: _Names | None


class ExistsSource(_ReadOne, total=False):
    """``exists_source``."""


class Mget(_Read, total=False):
    """``mget``."""

    body: _Object | None
    docs: Sequence[_Object] | None
    force_synthetic_source: bool | None
    ids: _Names | None
    index: str | None
    stored_fields: _Names | None


class Explain(Common, QueryString, SourceLists, total=False):
    """``explain``."""

    body: _Object | None
    id: Required[str]
    index: Required[str]
    preference: str | None
    query: _Object | None
    routing: _Names | None
    source: bool | _Names | None
    stored_fields: _Names | None


class _Vectors(Common, total=False):
    """Term vectors."""

    body: _Object | None
    field_statistics: bool | None
    fields: _Names | None
    offsets: bool | None
    payloads: bool | None
    positions: bool | None
    preference: str | None
    realtime: bool | None
    routing: _Names | None
    term_statistics: bool | None
    version: int | None
    version_type: Literal["external", "external_gte", "internal"] | str | None


class Termvectors(_Vectors, total=False):
    """``termvectors`` of a stored document."""

    filter: _Object | None
    id: Required[str]
    index: Required[str]
    per_field_analyzer: Mapping[str, str] | None


class Mtermvectors(_Vectors, total=False):
    """``mtermvectors`` of stored documents."""

    docs: Sequence[_Object] | None
    ids: Sequence[str] | None
    index: str | None


class _Write(Common, total=False):
    """Writes that could return documents."""

    include_source_on_error: bool | None
    refresh: bool | Literal["false", "true", "wait_for"] | str | None
    require_alias: bool | None
    routing: _Names | None
    timeout: _Time | None
    wait_for_active_shards: int | str | None


class Update(_Write, total=False):
    """``update``, which must not ask for the document back."""

    body: _Object | None
    detect_noop: bool | None
    doc: _Object | None
    doc_as_upsert: bool | None
    id: Required[str]
    if_primary_term: int | None
    if_seq_no: int | None
    index: Required[str]
    lang: str | None
    retry_on_conflict: int | None
    script: _Object | None
    scripted_upsert: bool | None
    upsert: _Object | None


class Bulk(_Write, total=False):
    """``bulk``, in which no update may ask for its document back."""

    body: Sequence[_Object] | str | bytes | None
    index: str | None
    list_executed_pipelines: bool | None
    operations: Sequence[_Object] | str | bytes | None
    pipeline: str | None
    require_data_stream: bool | None


class Options(TypedDict, total=False):
    """``options``: how requests travel, not what they ask for."""

    api_key: str | tuple[str, str]
    basic_auth: str | tuple[str, str]
    bearer_auth: str
    headers: Mapping[str, str]
    ignore_status: int | Sequence[int]
    max_retries: int
    opaque_id: str
    request_timeout: float | None
    retry_on_status: int | Sequence[int]
    retry_on_timeout: bool
