#!/usr/bin/env bash
# The asynchronous client, asked to delete the document '..' of an index, deletes the whole index.
#
# Version:  elasticsearch 9.5.1 with aiohttp 3.14.5 (the client's default for asyncio), at
#           Elasticsearch 9.5.0 (Maven: org.elasticsearch.distribution.integ-test-zip), Java 21+.
# Expected: the document with the id '..' is deleted, or there is none: ids are any text. The plain
#           client does that: it sends DELETE /wares/_doc/.. as it is.
# Seen:     the client escapes ids for the path, but dots need no escape; aiohttp resolves them as a
#           browser would, an escape of theirs (%2E) too, and sends DELETE /wares/.
#
# It matters to whoever takes ids from users: one of two dots deletes everything, and a read, a search
# or an index by such a name goes to another address than the client names.
VERSION=9.5.0
source "$(dirname "$0")/lib/elasticsearch_node.sh"

python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q 'elasticsearch[async]==9.5.1' 'aiohttp==3.14.5'
cat > "$folder/dots.py" <<'PYTHON'
import asyncio
import sys

from elasticsearch import AsyncElasticsearch, Elasticsearch


def plain(url):
    with Elasticsearch(url) as client:
        client.index(index="wares", id="..", document={"name": "dots"}, refresh=True)
        client.index(index="wares", id="1", document={"name": "lamp"}, refresh=True)
        client.delete(index="wares", id="..", refresh=True)
        return client.count(index="wares")["count"]


async def delete(url):
    async with AsyncElasticsearch(url) as client:
        await client.delete(index="wares", id="..")
        return bool(await client.indices.exists(index="wares"))


url = sys.argv[1]
left = plain(url)
kept = asyncio.run(delete(url))
print("left by the plain client:", left, "- index kept by the asynchronous one:", kept)
sys.exit((left, kept) != (1, False))
PYTHON
as_described "$folder/venv/bin/python" "$folder/dots.py" "$url"
