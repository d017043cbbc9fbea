"""What type checkers see of the front door; never run, checked by ``make types``.

A line that must not pass carries the checkers' ignores, which they report when it does pass.
"""

from __future__ import annotations

from typing import Any, assert_type

from elastic_transport import HeadApiResponse, ObjectApiResponse
from elasticsearch import AsyncElasticsearch, Elasticsearch

from saferank import (
    AsyncSafeSearch,
    Decision,
    Policy,
    SafeSearch,
    UnsafeRequest,
    check_request,
    load_policy,
    rewrite_search,
)

policy = load_policy("policy.yaml")
assert_type(policy, Policy)

client = SafeSearch(Elasticsearch("http://localhost:9200"), policy)
context = {"audience": "adult", "requested": "moderate"}

found = client.search(index="photos", query={"match_all": {}}, size=20, context=context)
assert_type(found, ObjectApiResponse[Any])
assert_type(client.exists(index="photos", id="1"), HeadApiResponse)
assert_type(client.bind(context).at_level("strict").options(request_timeout=5), SafeSearch)
assert_type(client.decision(context), Decision)
assert_type(client.index(index="photos", document={}), ObjectApiResponse[Any])
assert_type(client.indices.exists(index="photos"), HeadApiResponse)
assert_type(rewrite_search({}, policy.resolve(context)), dict[str, Any])
assert_type(check_request({"query": {"match_all": {}}}, policy), dict[str, UnsafeRequest])

client.search(contxt=context)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
client.search(qery={"match_all": {}})  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
client.search(indx="photos")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
client.search(size="20")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
client.get(index="photos")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
client.srch()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue,reportUnknownMemberType]


async def asynchronous(plain: AsyncElasticsearch) -> None:
    async with AsyncSafeSearch(plain, policy, require_context=True) as safe:
        answer = await safe.search(index="photos", context=context)
        assert_type(answer, ObjectApiResponse[Any])
        assert_type(await safe.ping(), bool)
        safe.search(index="photos")  # type: ignore[unused-coroutine]  # pyright: ignore[reportUnusedCoroutine]
        assert_type(safe.rerank(answer["hits"]["hits"], context), list[dict[str, Any]])
