"""Python's clients: elasticsearch-py in three ways, opensearch-py and requests."""

from __future__ import annotations

import asyncio
import json
import os
from typing import Any

import requests
from elasticsearch import ApiError, AsyncElasticsearch, Elasticsearch, NotFoundError
from elasticsearch.dsl import Document, Search, Text
from opensearchpy import OpenSearch
from opensearchpy.exceptions import TransportError
from opensearchpy.helpers import scan

URL, INDEX = os.environ["GATEWAY"], os.environ["INDEX"]
IDS: list[str] = json.loads(os.environ["IDS"])
KEYS: dict[str, str] = json.loads(os.environ["KEYS"])
QUERY = {"match": {"title": "cat"}}


def say(client: str, level: str, **seen: Any) -> None:
    print(json.dumps({"client": client, "level": level, **seen}))


def ids(answer: Any) -> list[str]:
    return [hit["_id"] for hit in answer["hits"]["hits"]]


def plain(level: str, key: str) -> None:
    with Elasticsearch(URL, api_key=key) as client:
        found = client.search(index=INDEX, query=QUERY, size=20)
        pages = [
            name
            for start in (0, 2, 4)
            for name in ids(client.search(index=INDEX, query=QUERY, from_=start, size=2))
        ]
        got, texts = [], [str(found.body)]
        for name in IDS:
            try:
                texts.append(str(client.get(index=INDEX, id=name).body))
                got.append(name)
            except NotFoundError:
                assert not client.exists(index=INDEX, id=name)
        many = client.mget(index=INDEX, ids=IDS)["docs"]
        assert [doc["_id"] for doc in many if doc["found"]] == got
        say(
            "elasticsearch-py",
            level,
            search=sorted(ids(found)),
            pages=sorted(pages),
            count=client.count(index=INDEX, query=QUERY)["count"],
            got=sorted(got),
            refused=refused(client),
            text=texts,
        )


def refused(client: Elasticsearch) -> int:
    try:
        client.cat.indices()
    except ApiError as error:
        return error.status_code
    return 200


async def asynchronous(level: str, key: str) -> None:
    async with AsyncElasticsearch(URL, api_key=key) as client:
        found = await client.search(index=INDEX, query=QUERY, size=20)
        opened = await client.open_point_in_time(index=INDEX, keep_alive="1m")
        pages: list[str] = []
        after: dict[str, Any] = {}
        while True:
            page = await client.search(
                pit={"id": opened["id"]}, size=2, sort=[{"word": "asc"}], **after
            )
            if not page["hits"]["hits"]:
                break
            pages += ids(page)
            after = {"search_after": page["hits"]["hits"][-1]["sort"]}
        await client.close_point_in_time(id=opened["id"])
        counted = await client.count(index=INDEX)
        got = [name for name in IDS if await client.exists(index=INDEX, id=name)]
        say(
            "elasticsearch-py, asynchronous",
            level,
            search=sorted(ids(found)),
            pages=sorted(pages),
            count=counted["count"],
            got=sorted(got),
            text=str(found.body),
        )


class Picture(Document):
    title = Text()


def dsl(level: str, key: str) -> None:
    with Elasticsearch(URL, api_key=key) as client:
        search = Search(using=client, index=INDEX).query("match", title="cat")
        found = search.extra(size=20).execute()
        pages = [hit.meta.id for start in (0, 2, 4) for hit in search[start : start + 2]]
        got = []
        for name in IDS:
            document = Picture.get(id=name, using=client, index=INDEX, ignore=404)
            got += [name] if document is not None else []
        scanned = {hit.meta.id for hit in search.scan()}
        assert scanned == {hit.meta.id for hit in found}
        say(
            "elasticsearch.dsl",
            level,
            search=sorted(hit.meta.id for hit in found),
            pages=sorted(pages),
            count=search.count(),
            got=sorted(got),
            text=str(found.to_dict()),
        )


def opensearch(level: str, key: str) -> None:
    with OpenSearch(URL, headers={"Authorization": f"ApiKey {key}"}) as client:
        found = client.search(index=INDEX, body={"query": QUERY, "size": 20})
        pages = [
            name
            for start in (0, 2, 4)
            for name in ids(
                client.search(index=INDEX, body={"query": QUERY, "from": start, "size": 2})
            )
        ]
        scanned = {hit["_id"] for hit in scan(client, index=INDEX, query={"query": QUERY})}
        assert scanned == set(ids(found))
        (several,) = client.msearch(body=[{"index": INDEX}, {"query": QUERY, "size": 20}])[
            "responses"
        ]
        assert set(ids(several)) == scanned
        many = client.mget(index=INDEX, body={"ids": IDS})["docs"]
        opened = client.create_pit(index=INDEX, keep_alive="1m")["pit_id"]
        body = {"pit": {"id": opened}, "sort": ["word"], "size": 20}
        assert set(ids(client.search(body=body))) == scanned
        client.delete_pit(body={"pit_id": [opened]})
        try:
            client.cat.indices()
            status = 200
        except TransportError as error:
            status = error.status_code
        say(
            "opensearch-py",
            level,
            search=sorted(ids(found)),
            pages=sorted(pages),
            count=client.count(index=INDEX, body={"query": QUERY})["count"],
            got=sorted(doc["_id"] for doc in many if doc["found"]),
            refused=status,
            text=str(found) + str(many),
        )


def by_requests(level: str, key: str) -> None:
    session = requests.Session()
    session.headers["Authorization"] = f"ApiKey {key}"
    found = session.get(f"{URL}/{INDEX}/_search", json={"query": QUERY, "size": 20})
    paged = [
        session.get(f"{URL}/{INDEX}/_search?q=title:cat&from={start}&size=2").json()
        for start in (0, 2, 4)
    ]
    got = [name for name in IDS if session.get(f"{URL}/{INDEX}/_doc/{name}").ok]
    say(
        "requests",
        level,
        search=sorted(ids(found.json())),
        pages=sorted(name for page in paged for name in ids(page)),
        count=session.get(f"{URL}/{INDEX}/_count").json()["count"],
        got=sorted(got),
        refused=session.get(f"{URL}/_cat/indices").status_code,
        text=found.text,
    )


for one_level, its_key in KEYS.items():
    plain(one_level, its_key)
    asyncio.run(asynchronous(one_level, its_key))
    dsl(one_level, its_key)
    opensearch(one_level, its_key)
    by_requests(one_level, its_key)
