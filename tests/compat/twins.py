"""Transports that put a twin beside every document that is written.

A twin has the same content, in which each text has a second one with a mark, another id with the
mark, and a probability so high that every level that hides anything hides it. Where twins are
hidden, an answer in which anything differs from what it would be without them is a leak.

Relevance depends on the words of all documents, hidden ones among them. So there is a third
kind of world, in which twins are written and deleted again: the engine goes on counting their
words, and relevance is the same as where they are hidden.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from itertools import count
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from elastic_transport import AsyncTransport, Transport, TransportApiResponse

from saferank.mappings.template import component_template

__all__ = ["MARK", "World", "Writer", "asynchronous_twins", "twins"]

Json = dict[str, Any]

MARK = "zztwin"
_SAFETY = {"probability": 0.99}
_JSON = {"accept": "application/json", "content-type": "application/x-ndjson"}


class World(Enum):
    """What is beside each document."""

    ALONE = auto()
    TWIN_DELETED = auto()
    TWIN_HIDDEN = auto()


class _Document(NamedTuple):
    """A document that a request writes; ``place`` is its number among the items of a bulk."""

    place: int
    index: str
    id: Any
    routing: Any
    source: Json


@dataclass
class _Write:
    """A request that writes documents, taken apart."""

    target: str
    body: Any
    parameters: dict[str, str]
    documents: list[_Document] = field(default_factory=list)
    indices: set[str] = field(default_factory=set)

    @property
    def url(self) -> str:
        """The target without what is done at the end instead."""
        kept = {key: value for key, value in self.parameters.items() if key != "refresh"}
        return f"{self.target}?{urlencode(kept)}" if kept else self.target


@dataclass
class Writer:
    """Makes the requests that go along with a write.

    Attributes:
        world: what to put beside each document.
        safety: what to put into documents themselves; None leaves them, and their ids, alone.
    """

    world: World
    safety: Json | None = None
    _numbers: Iterator[int] = field(default_factory=count)

    def steps(
        self, method: str, target: str, body: Any, options: Mapping[str, Any]
    ) -> Generator[tuple[str, str, Any, Any], TransportApiResponse, TransportApiResponse]:
        """Yields requests, is sent their responses, and returns that of the request given."""
        write = self._parse(method, target, body)
        if write is None:
            return (yield method, target, body, options)
        response = yield method, write.url, write.body, options
        documents = list(_written(write.documents, response))
        if documents and self.world is not World.ALONE:
            answer = yield "POST", "/_bulk", self._beside(documents, marked), {"headers": _JSON}
            # A field can be of a kind that takes no second text.
            failed = [
                documents[number // 2]
                for number, item in enumerate(answer.body["items"])
                if "error" in next(iter(item.values()))
            ]
            if failed:
                yield "POST", "/_bulk", self._beside(failed, dict), {"headers": _JSON}
        if write.parameters.get("refresh", "false") != "false":
            indices = ",".join(map(quote, sorted(write.indices)))
            yield "POST", f"/{indices}/_refresh", None, {"headers": {"accept": _JSON["accept"]}}
        return response

    def _beside(self, documents: Sequence[_Document], content: Any) -> list[Json]:
        """Lines of a bulk that write a twin of each document; in every world equally many."""
        lines = []
        for document in documents:
            where = {"_index": document.index, "_id": f"{document.id}{MARK}"}
            if document.routing is not None:
                where["routing"] = document.routing
            index = [{"index": where}, {**content(document.source), "safety": _SAFETY}]
            delete = [{"delete": where}]
            lines += index + delete if self.world is World.TWIN_DELETED else delete + index
        return lines

    def _parse(self, method: str, target: str, body: Any) -> _Write | None:
        """Take a request apart; None for one that writes no documents."""
        url = urlsplit(target)
        write = _Write(url.path, body, dict(parse_qsl(url.query, keep_blank_values=True)))
        match [unquote(part) for part in url.path.strip("/").split("/")]:
            case [*_, "_bulk"] as parts:
                return self._parse_bulk(write, parts[0] if len(parts) > 1 else None)
            case ["_index_template", _] if isinstance(body, dict):
                write.body = _with_safety_fields(body)
                return write
            case [index, "_update", _] if isinstance(body, dict):
                write.indices.add(index)
                write.body = self._scored_update(body)
                return write
            case [index, "_doc" | "_create" as kind, *ids] if method in ("PUT", "POST"):
                if not isinstance(body, dict):
                    return None
                write.indices.add(index)
                write.body = self._scored(body)
                name = self._name(ids[0] if ids else None)
                if not ids and name is not None:
                    write.target = f"/{quote(index)}/{kind}/{name}"
                routing = write.parameters.get("routing")
                write.documents.append(_Document(0, index, name, routing, write.body))
                return write
        return None

    def _parse_bulk(self, write: _Write, default_index: str | None) -> _Write | None:
        try:
            lines = [json.loads(line) for line in _lines(write.body)]
        except ValueError:
            return None  # A test of how bad requests fail.
        given, write.body, rest = write.body, [], iter(lines)
        for place, action in enumerate(rest):
            if not isinstance(action, dict) or len(action) != 1:
                return None
            ((operation, where),) = action.items()
            where = dict(where or {})
            index = str(where.get("_index", default_index))
            write.indices.add(index)
            write.body.append({operation: where})
            if operation != "delete":
                source = next(rest, None)
                if not isinstance(source, dict):
                    return None
                if operation == "update":
                    write.body.append(self._scored_update(source))
                else:
                    name = self._name(where.get("_id"))
                    if name is not None:
                        where["_id"] = name
                    write.body.append(self._scored(source))
                    routing = where.get("routing", write.parameters.get("routing"))
                    document = _Document(place, index, name, routing, write.body[-1])
                    write.documents.append(document)
        if self.safety is None:
            write.body = given
        return write

    def _name(self, given: Any) -> Any:
        """An id that is the same in every world."""
        if given is None and self.safety is not None:
            return f"auto-{next(self._numbers)}"
        return given

    def _scored(self, source: Json) -> Json:
        return source if self.safety is None else {**source, "safety": self.safety}

    def _scored_update(self, body: Json) -> Json:
        parts = ("doc", "upsert")
        return {
            key: self._scored(value) if key in parts and isinstance(value, dict) else value
            for key, value in body.items()
        }


def _with_safety_fields(template: Json) -> Json:
    """An index template that has them, as ``composed_of`` would give it."""
    fields = component_template()["template"]["mappings"]["properties"]
    content = template.get("template") or {}
    mappings = content.get("mappings") or {}
    mappings = {**mappings, "properties": {**mappings.get("properties", {}), **fields}}
    return {**template, "template": {**content, "mappings": mappings}}


def marked(value: Any) -> Any:
    """The same content, in which each text that begins with a letter has a second, marked one."""
    if isinstance(value, dict):
        return {key: marked(item) for key, item in value.items()}
    if isinstance(value, list):
        texts = [item for item in value if _is_word(item)]
        more = [f"{texts[-1]}{MARK}"] if texts else []
        return [marked(item) if isinstance(item, dict) else item for item in value] + more
    return [value, f"{value}{MARK}"] if _is_word(value) else value


def _is_word(value: Any) -> bool:
    return isinstance(value, str) and value[:1].isalpha()


def _lines(body: Any) -> Iterator[str | bytes]:
    """Lines of a bulk, whatever form they were given in, as JSON."""
    for part in [body] if isinstance(body, str | bytes) else body:
        if isinstance(part, str | bytes):
            yield from (line for line in part.splitlines() if line.strip())
        else:
            yield json.dumps(part, default=str)


def _written(documents: Sequence[_Document], response: TransportApiResponse) -> Iterator[_Document]:
    """Those that the engine took, with the ids that it gave them."""
    if not isinstance(response.body, dict):
        return
    results = [next(iter(item.values())) for item in response.body.get("items", ())]
    for document in documents:
        result = results[document.place] if results else response.body
        if result.get("result") in ("created", "updated"):
            yield document._replace(id=result["_id"])


def twins(writer: Writer, base: type[Transport] = Transport) -> type[Transport]:
    """A class of transports for ``Elasticsearch(transport_class=)``, which send as a base does."""

    class TwinTransport(base):  # type: ignore[misc,valid-type]
        def perform_request(
            self, method: str, target: str, *, body: Any = None, **options: Any
        ) -> TransportApiResponse:
            steps = writer.steps(method, target, body, options)
            request = next(steps)
            while True:
                method, target, body, more = request
                response = super().perform_request(method, target, body=body, **more)
                try:
                    request = steps.send(response)
                except StopIteration as stop:
                    return stop.value

    return TwinTransport


def asynchronous_twins(
    writer: Writer, base: type[AsyncTransport] = AsyncTransport
) -> type[AsyncTransport]:
    """The same for ``AsyncElasticsearch(transport_class=)``."""

    class AsyncTwinTransport(base):  # type: ignore[misc,valid-type]
        async def perform_request(
            self, method: str, target: str, *, body: Any = None, **options: Any
        ) -> TransportApiResponse:
            steps = writer.steps(method, target, body, options)
            request = next(steps)
            while True:
                method, target, body, more = request
                response = await super().perform_request(method, target, body=body, **more)
                try:
                    request = steps.send(response)
                except StopIteration as stop:
                    return stop.value

    return AsyncTwinTransport
