"""Tries to reach a hidden document around the gateway, most of them as no client would send them.

Each is written to a socket as it stands. Whatever comes back, by status 200 or by a refusal, has no
word that only a hidden document has.
"""

from __future__ import annotations

import gzip
import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import pytest
from elasticsearch import Elasticsearch
from engines import ENGINE
from gateways import SAFETY, SHOWN, Served, fill, marker, served

from saferank.settings import Engine

INDEX = "test-gateway-tricks"
OPENSEARCH = ENGINE is Engine.OPENSEARCH
ALL = {"query": {"match_all": {}}}
CRLF = "\r\n"
J = "Content-Type: application/json"
N = "Content-Type: application/x-ndjson"


@pytest.fixture(scope="module")
def gateway(elasticsearch_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with Elasticsearch(elasticsearch_url, request_timeout=60) as client:
        client.indices.delete(index=INDEX, ignore_unavailable=True)
        fill(client, INDEX)
        client.indices.put_alias(index=INDEX, name=f"{INDEX}-alias", filter=ALL["query"])
        folder = tmp_path_factory.mktemp("gateway")
        with served(elasticsearch_url, folder, INDEX, read_timeout=1.0, idle_timeout=1) as made:
            yield made
        client.indices.delete(index=INDEX, ignore_unavailable=True)


@dataclass(frozen=True)
class Try:
    """One try.

    Attributes:
        name: what is tried.
        sent: to the socket.
        statuses: of the answers; any one of these, each. None where it is hung up on.
        shows: whether documents that are not hidden come; None where that depends on what other
            indices the node has.
    """

    name: str
    sent: bytes
    statuses: frozenset[int]
    shows: bool | None = False


def request(
    method: str, target: str, body: Any = None, *headers: str, version: str = "1.1"
) -> bytes:
    """A request as it is written, with a body whose length fits."""
    content = (
        body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    )
    lines = [f"{method} {target} HTTP/{version}", "Host: x", "Connection: close", *headers]
    if content or body is not None:
        lines.append(f"Content-Length: {len(content)}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + content


def lines(*each: Any) -> bytes:
    """A body with one JSON text a line; bytes stand for themselves."""
    return b"".join(
        (line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n" for line in each
    )


def chunked(head: str, *chunks: bytes) -> bytes:
    """A request whose body comes in chunks."""
    parts = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)
    return head.encode() + b"\r\n\r\n" + parts + b"0\r\n\r\n"


def tries() -> Iterator[Try]:
    def one(name: str, sent: bytes, *statuses: int, shows: bool | None = False) -> Try:
        return Try(name, sent, frozenset(statuses), shows)

    i, doc, found = INDEX, f"/{INDEX}/_doc/high", f"/{INDEX}/_search"
    get = lambda target, *more: request("GET", target, None, *more)  # noqa: E731
    post = lambda target, body, *more: request("POST", target, body, J, *more)  # noqa: E731
    source = quote(json.dumps(ALL))

    # The path
    yield one("as it is", get(doc), 404)
    yield one("double slash in front", get("/" + doc), 400)
    yield one("double slash within", get(f"/{i}//_doc/high"), 400)
    yield one("double slash before a search", get(f"/{i}//_search"), 400)
    yield one("slash at the end", get(doc + "/"), 400)
    yield one("slash at the end of a search", get(found + "/"), 400)
    yield one("dots", get(f"/_cat/../{i}/_doc/high"), 400)
    yield one("encoded dots", get(f"/_cat/%2e%2e/{i}/_doc/high"), 400)
    yield one("dots that lead to the index", get(f"/{i}/_doc/.."), 400)
    yield one("encoded dot", get(f"/{i}/_doc/%2E/high"), 400, 403)
    yield one("encoded letter of the call", get(f"/{i}/%5Fdoc/high"), 404)
    yield one("encoded letter of the id", get(f"/{i}/_doc/hig%68"), 404)
    yield one("encoded twice", get(f"/{i}/_doc/hig%2568"), 404)
    yield one("encoded slash", get(f"/{i}%2F_doc%2Fhigh"), 400, 403, 404)
    yield one("encoded slash behind an index", get(f"/{i}%2F_search/_search"), 400, 403, 404)
    yield one("encoded question mark", get(f"/{i}/_doc/high%3Frouting=1"), 404)
    yield one("encoded null", get(f"/{i}/_doc/high%00"), 400)
    yield one("encoded line break", get(f"/{i}/_doc/x%0d%0aHost:%20y"), 400)
    yield one("overlong slash", get(f"/{i}/_doc%c0%afhigh"), 400)
    yield one("broken escape", get(f"/{i}/_doc/high%"), 400)
    yield one("broken escape of a letter", get(f"/{i}/_doc/%zzhigh"), 400)
    yield one("backslash", get(f"/{i}\\_doc\\high"), 400, 403, 404)
    yield one("semicolon", get(f"/{i}/_doc/high;v=1"), 404)
    yield one("absolute address", get(f"http://x{doc}"), 404)
    yield one("absolute address with another host", get(f"http://127.0.0.1:9200{found}"), 200,
              shows=True)  # fmt: skip
    yield one("fragment", get(f"{doc}#x"), 400, 404)
    yield one("no slash in front", get(f"{i}/_doc/high"), 400)
    yield one("star", request("OPTIONS", "*"), 400, 403)
    yield one("upper case", get(f"/{i}/_DOC/high"), 403)
    yield one("upper case of an index", get(f"/{i.upper()}/_doc/high"), 400, 404)
    # Indices
    yield one("all", get("/_all/_search"), 200, 403, shows=None)
    # OpenSearch wants even an index that is left out to be there.
    yield one("all but one", get(f"/*,-{i}x/_search"), 200, 403, 404, shows=None)
    yield one("wildcard", get(f"/{i[:-1]}*/_search"), 200, shows=True)
    yield one("wildcard and hidden ones", get(f"/{i}*/_search?expand_wildcards=all"), 200,
              shows=True)  # fmt: skip
    yield one("an alias", get(f"/{i}-alias/_doc/high"), 404)
    yield one("twice the same index", get(f"/{i},{i}/_search"), 200, shows=True)
    yield one("date math", get(f"/%3C{i}%7Bnow%2Fd%7D%3E/_search"), 400, 404)
    yield one("another cluster", get(f"/x:{i}/_search"), 400, 403, 404)
    yield one("an index in the address", get(f"/_search?index={i}"), 403)
    yield one("wildcard in a read", get(f"/{i[:-1]}*/_doc/high"), 400, 404)
    # Calls that are not covered, and what the engine takes for others
    for path in (
        "/_sql?format=txt", "/_query", f"/{i}/_eql/search", f"/{i}/_async_search", "/_cat/indices",
        f"/{i}/_field_caps?fields=*", f"/{i}/_terms_enum", f"/{i}/_rank_eval", f"/{i}/_stats",
        f"/{i}/_validate/query?explain=true", f"/{i}/_knn_search", f"/{i}/_mvt/place/1/1/1",
        "/_nodes", "/_tasks", f"/{i}/_graph/explore", f"/{i}/_rollup_search", f"/{i}/_segments",
        "/_render/template", "/_scripts/painless/_execute", "/_reindex", f"/{i}/_search_shards",
        "/_msearch/template", f"/{i}/_doc/high/_source", f"/{i}/_doc/high/_update", f"/{i}",
    ):  # fmt: skip
        yield one(f"not covered: {path}", post(path, ALL), 403)
    # Methods
    yield one("HEAD", request("HEAD", doc), 404)
    yield one("HEAD of a search", request("HEAD", found), 403)
    yield one("HEAD of an index", request("HEAD", f"/{i}"), 200)
    yield one("PUT of a search", request("PUT", found, ALL, J), 403)
    yield one("OPTIONS", request("OPTIONS", doc), 403)
    yield one("TRACE", request("TRACE", doc), 403)
    yield one("CONNECT", request("CONNECT", "127.0.0.1:9200"), 400, 403)
    yield one("a method in small letters", request("get", doc), 400)
    for header in ("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"):
        yield one(header, post(doc, {"doc": {"safety": {"probability": 0}}}, f"{header}: PUT"), 403)
    yield one("a method in the address", get(f"{doc}?_method=DELETE"), 403)
    # Parameters
    yield one("body in the address", get(f"{found}?source={source}&source_content_type="
              "application/json"), 200, shows=True)  # fmt: skip
    yield one("body in the address and behind",
              request("GET", f"{found}?source={source}&source_content_type=application/json",
                      {"size": 1}, J), 400)  # fmt: skip
    yield one("body in the address as YAML", get(f"{found}?source=a:%20b&source_content_type="
              "application/yaml"), 406)  # fmt: skip
    yield one("body in the address of a read", get(f"{doc}?source={source}&source_content_type="
              "application/json"), 400)  # fmt: skip
    yield one("parts of a read", get(f"{doc}?filter_path=_source"), 404)
    yield one(
        "parts of several reads",
        post(f"/{i}/_mget?filter_path=docs._source", {"ids": ["high"]}),
        200,
    )
    yield one(
        "parts of several reads in the body",
        post(f"/{i}/_mget", {"ids": ["high"], "filter_path": "docs._source"}),
        403,
    )
    yield one("parts of a search", get(f"{found}?filter_path=hits.hits._source"), 200, shows=True)
    yield one("all but the safety", get(f"{found}?filter_path=-**.safety"), 200, shows=True)
    for kind in ("yaml", "cbor", "smile", "txt"):
        yield one(f"as {kind}", get(f"{found}?format={kind}"), 403)
    yield one("pretty", get(f"{doc}?pretty"), 404)
    yield one("human and pretty", get(f"{found}?pretty=true&human=true"), 200, shows=True)
    yield one("a stack trace", get(f"{found}?error_trace=true"), 403)
    yield one("a stack trace of a read", get(f"{doc}?error_trace=true"), 403)
    yield one("twice a parameter", get(f"{found}?size=1&size=10"), 400)
    yield one("parameters with a semicolon", get(f"{found}?size=1;q=word:{marker('high')}"), 400)
    yield one("a query in the address", get(f"{found}?q=word:{marker('high')}"), 200)
    yield one("a query that names the safety", get(f"{found}?q=safety.probability:%3E0"), 200,
              shows=True)  # fmt: skip
    yield one("a broken parameter", get(f"{found}?q=%ff"), 400)
    yield one(
        "the words of the engine's settings",
        get(f"{found}?preference=_local&request_cache=true"),
        200,
        shows=True,
    )
    yield one("not in real time", get(f"{doc}?realtime=false&refresh=true"), 404)
    yield one("a version", get(f"{doc}?version=1"), 404)
    yield one("stored fields", get(f"{doc}?stored_fields=word,_routing"), 404)
    yield one("without a source", get(f"{doc}?_source=false"), 404)
    yield one("a context in the address", get(f"{found}?context=off"), 403)
    yield one("a level in the address", get(f"{found}?level=off"), 403)
    yield one("a key in the address", get(f"{found}?api_key=x"), 403)
    yield one("headers in the address", get(f"{found}?headers=x"), 403)
    yield one("a pipeline", get(f"{found}?search_pipeline=_none"), 403)
    # Bodies
    yield one("a key twice", post(found, b'{"size":1,"size":10,"query":{"match_all":{}}}'), 400)
    yield one("no object", post(found, [ALL]), 400)
    yield one("two objects", post(found, b'{"size":0}{"query":{"match_all":{}}}'), 400)
    yield one("a comment", post(found, b'{"size":10 /* x */}'), 400)
    yield one("not a number", post(found, b'{"min_score":NaN}'), 400)
    yield one("UTF-16", post(found, json.dumps(ALL).encode("utf-16")), 400)
    yield one("a mark of the byte order", post(found, b"\xef\xbb\xbf" + json.dumps(ALL).encode()),
              400)  # fmt: skip
    yield one("very deep", post(found, b'{"query":' + b'{"bool":{"must":' * 20_000), 400)
    yield one("a very long number", post(found, b'{"size":' + b"9" * 5_000 + b"}"), 400)
    yield one("cbor", request("POST", found, b"\xa1\x64size\x0a", "Content-Type: application/cbor"),
              406)  # fmt: skip
    yield one("smile", request("POST", found, b":)\n\x00", "Content-Type: application/smile"), 406)
    yield one("yaml", request("POST", found, b"size: 10\n", "Content-Type: application/yaml"), 406)
    yield one("a form", request("POST", found, b"size=10",
              "Content-Type: application/x-www-form-urlencoded"), 406)  # fmt: skip
    yield one("no type", request("POST", found, ALL), 406)
    yield one("twice a type", request("POST", found, ALL, J, "Content-Type: application/yaml"), 400)
    yield one("another encoding", request("POST", found, ALL, f"{J}; charset=utf-16"), 406)
    yield one("packed", request("POST", found, gzip.compress(json.dumps(ALL).encode()), J,
              "Content-Encoding: gzip"), 200, shows=True)  # fmt: skip
    yield one("packed with more behind", request("POST", found,
              gzip.compress(b"{}") + gzip.compress(json.dumps(ALL).encode()), J,
              "Content-Encoding: gzip"), 400)  # fmt: skip
    yield one("packed otherwise", post(found, b"x", "Content-Encoding: br"), 415)
    yield one("a body of a read", request("GET", doc, ALL, J), 400)
    yield one("an aggregation over everything",
              post(found, {"size": 0, "aggs": {"a": {"global": {}, "aggs": {"w": {"terms": {
                  "field": "word", "size": 99}}}}}}), 200, shows=True)  # fmt: skip
    yield one("words of a suggester", post(found, {"suggest": {"s": {"prefix": "cat mark",
              "completion": {"field": "suggest", "size": 50}}}}), 200, shows=True)  # fmt: skip
    # The Elasticsearch of the tests runs no scripts, and OpenSearch has no vectors.
    yield one("a script", post(found, {"script_fields": {"x": {"script": "params._source"}}}),
              200 if OPENSEARCH else 400, shows=OPENSEARCH)  # fmt: skip
    yield one("near a vector", post(found, {"knn": {"field": "vector", "query_vector": [3, 1],
              "k": 6, "num_candidates": 10}}), 403 if OPENSEARCH else 200,
              shows=not OPENSEARCH)  # fmt: skip
    yield one("like a document", post(found, {"query": {"more_like_this": {"fields": ["word"],
              "like": [{"_index": i, "_id": "high"}], "min_term_freq": 1, "min_doc_freq": 1}}}),
              200)  # fmt: skip
    yield one("a scroll of the engine's own", post("/_search/scroll", {"scroll_id": "DXF1ZXJ5"}),
              403)  # fmt: skip
    yield one("everybody's scrolls", request("DELETE", "/_search/scroll/_all"), 403)
    yield one("how a document got its score", post(f"/{i}/_explain/high", ALL), 404)
    yield one("the words of a document", post(f"/{i}/_termvectors/high", {"fields": ["title"]}),
              200)  # fmt: skip
    yield one("the words of a made document", post(f"/{i}/_termvectors/x", {"doc": {"word": "x"}}),
              403)  # fmt: skip
    # Several searches
    several = f"/{i}/_msearch"
    many = lambda body: request("POST", several, body, N)  # noqa: E731
    yield one("an empty header", many(lines(b"", ALL)), 200, shows=True)
    yield one("a header of spaces and returns", many(b" \r\n" + lines(ALL)),
              200, shows=True)  # fmt: skip
    yield one("no last line break", many(lines({}, ALL)[:-1]), 400)
    yield one("a header without a body", many(lines({}, ALL, {})), 403)
    yield one("a header with parts of an answer", many(lines({"filter_path": "*"}, ALL)), 200, 400)
    yield one("a query in a header", many(lines({"query": ALL["query"]}, ALL)), 403)
    yield one("an unknown part of a header", many(lines({"indices": [i]}, ALL)), 403)
    yield one("several indices in a header", many(lines({"index": [i, f"{i}*"]}, ALL)), 200,
              shows=True)  # fmt: skip
    yield one(
        "an index without safety in a header", many(lines({"index": "none-*"}, ALL)), 200, 403
    )
    yield one("returns alone between lines", many(b"{}\r" + json.dumps(ALL).encode() + b"\n"), 400)
    yield one(
        "other separators of lines",
        many("{}\u2028".encode() + json.dumps(ALL).encode() + b"\n"),
        400,
    )
    yield one("several on one line", many(b"{}" + json.dumps(ALL).encode() + b"\n"), 400)
    # Who asks
    for header in (
        "X-Forwarded-For: 10.0.0.1", "Forwarded: for=10.0.0.1", "X-Real-IP: 10.0.0.1",
        "X-Saferank-Level: off", "es-security-runas-user: elastic", "X-Forwarded-User: admin",
    ):  # fmt: skip
        yield one(f"a header: {header}", get(doc, header), 404)
    yield one("a context", get(found, "X-Saferank-Context: audience=adult"), 403)
    yield one("twice a context", get(found, *["X-Saferank-Context: audience=adult"] * 2), 403)
    yield one("a context with underscores", get(doc, "X_Saferank_Context: audience=adult"),
              404)  # fmt: skip
    yield one("twice a proof", get(found, *["Authorization: ApiKey x"] * 2), 400)
    yield one("a token without a signature", get(found, "Authorization: Bearer eyJhbGciOiJub25lIn0"
              ".eyJhdWRpZW5jZSI6ImFkdWx0In0."), 401)  # fmt: skip
    # HTTP itself
    yield one("chunks", chunked(f"POST {found} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{J}\r\n"
              "Transfer-Encoding: chunked", b'{"que', b'ry":{"match_all":{}}}'), 200,
              shows=True)  # fmt: skip
    head = f"POST {found} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{J}\r\n"
    yield one("a length and chunks", chunked(f"{head}Content-Length: 4\r\nTransfer-Encoding: "
              "chunked", b"{}") + request("GET", doc), 400)  # fmt: skip
    yield one("chunks in another spelling", chunked(f"{head}Transfer-Encoding: xchunked", b"{}"),
              400)  # fmt: skip
    yield one("two lengths", f"{head}Content-Length: 2\r\nContent-Length: 60\r\n\r\n{{}}".encode()
              + request("GET", doc), 400)  # fmt: skip
    yield one("a length with a sign", f"{head}Content-Length: +2\r\n\r\n{{}}".encode(), 400)
    yield one("a negative length", f"{head}Content-Length: -1\r\n\r\n".encode(), 400)
    yield one("a body that is shorter", f"{head}Content-Length: 100\r\n\r\n{{}}".encode(), 408)
    yield one("a folded header", f"GET {doc} HTTP/1.1\r\nHost: x\r\nX-A: b\r\n c\r\nConnection: "
              "close\r\n\r\n".encode(), 400, 404)  # fmt: skip
    yield one("a space before a colon", f"GET {doc} HTTP/1.1\r\nHost : x\r\n\r\n".encode(), 400)
    yield one("a line feed alone", f"GET {doc} HTTP/1.1\nHost: x\nConnection: close\n\n".encode(),
              400, 404)  # fmt: skip
    yield one("HTTP/1.0", request("GET", doc, version="1.0"), 404)
    yield one("HTTP/0.9", f"GET {doc}\r\n".encode())
    yield one("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400)
    yield one("an upgrade", get(doc, "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"),
              404)  # fmt: skip
    yield one("a web socket", f"GET {doc} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: "
              "Upgrade\r\nSec-WebSocket-Key: x\r\nSec-WebSocket-Version: 13\r\n\r\n".encode(),
              404)  # fmt: skip
    keep = f"GET {found} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    yield one("one behind another", keep + keep + get(doc), 200, 404, shows=True)
    yield one("one behind a body", f"POST {found} HTTP/1.1\r\nHost: x\r\n{J}\r\n"
              "Content-Length: 2\r\n\r\n{}".encode() + get(doc), 200, 404, shows=True)  # fmt: skip
    yield one("one inside a refused body", f"POST /_sql HTTP/1.1\r\nHost: x\r\n{J}\r\n"
              f"Content-Length: {len(get(doc))}\r\n\r\n".encode() + get(doc), 403)  # fmt: skip
    # Framing that two readers could take for two things; nothing behind it is answered apart.
    behind = request("GET", doc)
    framed = lambda *more: f"{head}{''.join(f'{line}{CRLF}' for line in more)}{CRLF}".encode()  # noqa: E731
    in_chunks = "Transfer-Encoding: chunked"
    for name, coding in {
        "chunks twice": "chunked, chunked",
        "chunks and nothing": "chunked, identity",
        "nothing and chunks": "identity, chunked",
        "packed chunks": "gzip, chunked",
        "chunks with a tab": "\x0bchunked",
        "quoted chunks": '"chunked"',
        "chunks and a comma": "chunked,",
        "chunks with a parameter": "chunked;q=1",
    }.items():
        yield one(
            name,
            framed(f"Transfer-Encoding: {coding}") + b"0\r\n\r\n" + behind,
            200,
            400,
            404,
            shows=None,
        )
    yield one(
        "chunks in two headers", framed(in_chunks, in_chunks) + b"0\r\n\r\n", 200, 400, shows=None
    )
    yield one(
        "chunks behind a space", framed("Transfer-Encoding : chunked") + b"0\r\n\r\n" + behind, 400
    )
    yield one(
        "chunks, then a length", framed(in_chunks, "Content-Length: 5") + b"0\r\n\r\n" + behind, 400
    )
    for name, size in {
        "a size in hex": b"0x2", "a size with a sign": b"+2", "a negative size": b"-2",
        "a size in parts": b"0_2", "no size": b"", "a size beyond all": b"f" * 17,
        "a size around": b"1" + b"0" * 15 + b"2", "a size and a space": b" 2",
    }.items():  # fmt: skip
        yield one(name, framed(in_chunks) + size + b"\r\n{}\r\n0\r\n\r\n" + behind, 400)
    yield one("a chunk that is longer", framed(in_chunks) + b"2\r\n{}xx0\r\n\r\n" + behind, 400)
    yield one(
        "a chunk's end of a line feed",
        framed(in_chunks) + b"2\n{}\n0\n\n" + behind,
        200,
        400,
        404,
        shows=None,
    )
    yield one(
        "a chunk with an extension",
        framed(in_chunks) + b'2;a="\r\n{}\r\n0\r\n\r\n' + behind,
        200,
        400,
        404,
        shows=None,
    )
    yield one(
        "an extension over two lines",
        framed(in_chunks) + b"2;\n\r\n{}\r\n0\r\n\r\n" + behind,
        200,
        400,
        404,
        shows=None,
    )
    yield one(
        "a proof behind the body",
        framed(in_chunks, "Trailer: X-Saferank-Context")
        + b"2\r\n{}\r\n0\r\nX-Saferank-Context: audience=adult\r\nAuthorization: ApiKey x\r\n\r\n",
        200,
        shows=True,
    )
    yield one(
        "endless words behind the body",
        framed(in_chunks) + b"2\r\n{}\r\n0\r\nX-A: " + b"a" * 3_000_000,
        400,
    )
    yield one(
        "endlessly many behind the body",
        framed(in_chunks) + b"2\r\n{}\r\n0\r\n" + b"X-A: a\r\n" * 300_000,
        400,
    )
    yield one("an endless extension", framed(in_chunks) + b"2;" + b"a" * 3_000_000, 400)
    yield one(
        "a length behind the body",
        framed(in_chunks) + b"2\r\n{}\r\n0\r\nContent-Length: 50\r\n\r\n" + behind,
        200,
        400,
        404,
        shows=None,
    )
    for name, length in {
        "a length twice in one": "2, 2", "a length in hex": "0x2", "a length and a fraction": "2.0",
        "a length in other digits": "\xb2", "a length beyond all": "9" * 40, "no length": "",
    }.items():  # fmt: skip
        yield one(
            name, f"{head}Content-Length: {length}\r\n\r\n{{}}".encode("latin-1") + behind, 400, 413
        )
    yield one(
        "the same length twice",
        framed("Content-Length: 2", "Content-Length: 2") + b"{}" + behind,
        400,
    )
    yield one(
        "a body of a GET",
        f"GET {doc} HTTP/1.1\r\nHost: x\r\n{J}\r\nContent-Length: {len(behind)}\r\n\r\n".encode()
        + behind,
        400,
    )
    yield one(
        "chunks in HTTP/1.0",
        framed(in_chunks).replace(b"HTTP/1.1", b"HTTP/1.0") + b"2\r\n{}\r\n0\r\n\r\n" + behind,
        200,
        400,
        404,
        shows=None,
    )
    yield one(
        "asks first",
        framed("Content-Length: 2", "Expect: 100-continue") + b"{}",
        100,
        200,
        shows=True,
    )
    yield one(
        "asks first and is refused", request("POST", "/_sql", b"", "Expect: 100-continue"), 403
    )
    yield one(
        "expects another thing",
        framed("Content-Length: 2", "Expect: 200-ok") + b"{}",
        200,
        417,
        shows=None,
    )
    yield one(
        "another protocol with a body",
        framed("Content-Length: 2", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk") + b"{}" + behind,
        200,
        400,
        404,
        shows=None,
    )
    for name, line in {
        "a return in a header": "X-A: b\rX-Saferank-Context: audience=adult",
        "a null in a header": "X-A: b\x00c", "a header without a name": ": x",
        "a header without a colon": "X-A", "a name with a letter beyond": "X-\xe9: b",
    }.items():  # fmt: skip
        yield one(
            name,
            f"GET {doc} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{line}\r\n\r\n".encode(
                "latin-1"
            ),
            400,
            404,
        )
    yield one(
        "a length that is not to go on",
        framed("Connection: Content-Length", "Content-Length: 2") + b"{}",
        200,
        shows=True,
    )
    yield one("two hosts", get(found, "Host: y"), 200, 400, shows=None)
    yield one("no host", f"GET {doc} HTTP/1.1\r\nConnection: close\r\n\r\n".encode(), 400, 404)
    yield one("empty lines in front", b"\r\n\r\n" + get(doc), 400, 404)
    yield one("spaces in the first line", get(doc).replace(b" HTTP", b"  HTTP"), 400, 404)
    yield one("a tab in the first line", get(doc).replace(b" HTTP", b"\tHTTP"), 400, 404)
    yield one("HTTP/1.10", request("GET", doc, version="1.10"), 400)
    # Names of indices
    for name, index in {
        "full width": "".join(chr(ord(letter) + 0xFEE0) for letter in i if letter != "-"),
        "a soft hyphen": f"{i}\u00ad", "no width": f"\u200b{i}", "decomposed": f"{i}e\u0301",
        "from right to left": f"\u202e{i}", "beyond the plane": f"{i}\U0001f600",
        "a dotless i": i.replace("i", "\u0131"),
    }.items():  # fmt: skip
        yield one(f"an index: {name}", get(f"/{quote(index)}/_doc/high"), 403, 404)
    for name, index in {
        "a comma": f"{i}%2C{i}", "a star": f"{i[:-1]}%2A", "a question mark": f"{i[:-1]}%3F",
        "everything": "%5Fall", "another cluster": f"c%3A{i}",
        "date math": f"%3C{i}%7Bnow%2Fd%7D%3E",
        "without itself": f"{i}%2C-{i}", "a space": f"{i}%20", "a plus": f"{i}+",
    }.items():  # fmt: skip
        yield one(f"an escaped index: {name}", get(f"/{index}/_doc/high"), 400, 403, 404)
        yield one(
            f"an escaped index that is searched: {name}",
            get(f"/{index}/_search?q=word:mark*"),
            200,
            400,
            403,
            404,
            shows=None,
        )
    yield one("half of a pair", get(f"/{i}/_doc/%ed%a0%80"), 400)
    yield one("a very long head", get(doc, f"X-A: {'a' * 200_000}"), 400)
    yield one("a very long path", get(f"/{i}/_doc/{'a' * 5_000}"), 400, 404)
    yield one(
        "very many parameters", get(f"{found}?{'&'.join(f'a{n}=1' for n in range(500))}"), 400
    )


TRIES = list(tries())


def send(port: int, sent: bytes) -> bytes:
    """All that comes back until the connection is closed."""
    received = b""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(sent)
        while True:
            try:
                part = connection.recv(65536)
            except ConnectionResetError:  # What it did not read was lost.
                break
            if not part:
                break
            received += part
    return received


def statuses(received: bytes) -> list[int]:
    return [
        int(part.split(b" ", 1)[0])
        for part in received.split(b"HTTP/1.1 ")[1:]
        if part[:3].isdigit()
    ]


def test_there_are_enough_and_each_is_another() -> None:
    assert len(TRIES) >= 150
    assert len({each.sent for each in TRIES}) == len({each.name for each in TRIES}) == len(TRIES)


@pytest.mark.parametrize("tried", TRIES, ids=lambda tried: tried.name)
def test_no_try_shows_a_hidden_document(gateway: Served, tried: Try) -> None:
    received = send(gateway.port, tried.sent)
    assert bool(statuses(received)) is bool(tried.statuses)
    assert set(statuses(received)) <= tried.statuses, received[:300]
    for name in SAFETY.keys() - SHOWN["strict"]:
        # What a try itself asks for may be said of it.
        if marker(name).encode() not in tried.sent:
            assert marker(name).encode() not in received
    assert tried.shows in (None, marker("plain").encode() in received)
