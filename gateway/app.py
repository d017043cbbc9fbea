"""The gateway as an ASGI application: a request in, an answer out, a line in the log."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, TypeVar

from elastic_transport import ConnectionTimeout, TransportError
from elasticsearch import ApiError, AsyncElasticsearch, UnsupportedProductError
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from saferank.errors import ContextError, MappingError, ServiceUnavailable, UnsafeRequest
from saferank.gateway.answers import Refused, answer, forbidden, malformed, media_type
from saferank.gateway.callers import CONTEXT_HEADER, Callers
from saferank.gateway.calls import Calls, Result, is_explained, is_made_safe, read_call
from saferank.gateway.figures import Figures
from saferank.gateway.gate import Gate
from saferank.gateway.reading import (
    check_type,
    json_lines,
    json_object,
    parameters,
    segments,
    too_large,
    unpacked,
    wants_pretty,
)
from saferank.gateway.routes import Takes, find_route
from saferank.gateway.upstream import OPAQUE_ID
from saferank.mappings.float32 import shortest
from saferank.ranker.bodies import Json
from saferank.ranker.client.client import AsyncSafeSearch
from saferank.ranker.level.decision import Decision
from saferank.ranker.policy.file import PolicyFile
from saferank.ranker.policy.policy import Policy
from saferank.settings import GatewaySettings

LIVE, READY = "/_saferank/live", "/_saferank/ready"
"""Addresses at which it says that it runs, and that Elasticsearch answers."""

LEVEL_HEADER = "X-Saferank-Level"
"""The level that an answer was made at."""

SOURCE_TYPE = "source_content_type"
"""Parameter that goes with a body in the address."""

_GONE = 499
"""In the log, for a client that did not wait; as others call it."""
_MOST_SAID = 500
"""Characters of a reason that the log has: it may quote what a stranger sent."""
_READY_WITHIN = 2.0

_log = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass
class Note:
    """What the log says of a request.

    Attributes:
        call: which call it is, once that is known.
        index: that it names.
        caller: who sends it.
        decision: what holds for it.
        told: what the answer says of each of its documents.
        refused: kind of the error that it was refused with.
        reason: what its caller was told of that.
        body_read: whether its body was read to the end.
    """

    call: str = "none"
    index: str | None = None
    caller: str | None = None
    decision: Decision | None = None
    told: list[Json] | None = None
    refused: str | None = None
    reason: str | None = None
    body_read: bool = False

    def fields(self) -> dict[str, Any]:
        """As fields of a line."""
        found: dict[str, Any] = {"call": self.call, "caller": self.caller}
        if self.index is not None:
            found["index"] = self.index
        if self.decision is not None:
            found |= {
                # 'level' is how grave the line is.
                "policy_level": self.decision.level_name,
                "context_rule": self.decision.context_rule,
            }
            for one in self.decision.categories:
                key = "hide_from" if one.name is None else f"{one.name}.hide_from"
                hides = one.level.hide_from
                found[key] = None if hides is None else shortest(hides)
        if self.told is not None:
            counts = Counter(item["action"] for item in self.told)
            found |= {action: counts[action] for action in ("shown", "blurred", "demoted")}
        if self.refused is not None:
            found |= {"refused": self.refused, "reason": self.reason}
        return found


class Gateway:
    """Answers requests as Elasticsearch would, with the safe part of what it would say.

    Args:
        client: of Elasticsearch, with the gateway's own credentials and ``OneTry`` as its
            transport; it is closed with it.
        policy: what it searches under.
        callers: who may ask.
        settings: its limits.
    """

    def __init__(
        self,
        client: AsyncElasticsearch,
        policy: Policy | PolicyFile,
        callers: Callers,
        settings: GatewaySettings,
    ) -> None:
        secret = settings.scroll_secret
        safe = AsyncSafeSearch(
            client, policy, secret=None if secret is None else secret.get_secret_value()
        )
        self._client = client
        self._calls = Calls(safe)
        self._callers = callers
        self._settings = settings
        self._gate = Gate(settings.concurrency, settings.waiting, settings.per_caller)
        self.figures = Figures(lambda: self._gate.inside, lambda: _outdated(policy))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or begin and end."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        path = scope["path"]
        if path in (LIVE, READY):
            response = await self._health(path)
            await response(scope, receive, send)
        else:
            await self._noted(Request(scope, receive), send)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self._client.close()
        await send({"type": "lifespan.shutdown.complete"})

    async def _health(self, path: str) -> Response:
        ready = path == LIVE or await self._elasticsearch_answers()
        status = HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE
        return answer({"status": "ok" if ready else "Elasticsearch does not answer"}, status)

    async def _elasticsearch_answers(self) -> bool:
        try:
            await self._client.options(request_timeout=_READY_WITHIN).cluster.health()
        except ApiError as error:
            return error.status_code < HTTPStatus.INTERNAL_SERVER_ERROR
        except TransportError:
            return False
        return True

    async def _noted(self, request: Request, send: Send) -> None:
        """Answer a request, if its client is still there, and write down what was done."""
        begun, note = time.perf_counter(), Note()
        try:
            response = await self._answered(request, note)
        except ClientDisconnect:
            response = None
        seconds = time.perf_counter() - begun
        try:
            if response is not None:
                await response(request.scope, request.receive, send)
        finally:
            status = _GONE if response is None else response.status_code
            self._write_down(request, note, status, seconds)

    def _write_down(self, request: Request, note: Note, status: int, seconds: float) -> None:
        level = "none" if note.decision is None else note.decision.level_name
        self.figures.calls.labels(note.call, level, str(status)).inc()
        self.figures.seconds.labels(note.call).observe(seconds)
        if note.refused is not None:
            self.figures.refused.labels(note.refused).inc()
        if _log.isEnabledFor(logging.INFO):
            told = {"status": int(status), "seconds": round(seconds, 6), **note.fields()}
            if (opaque := request.headers.get("x-opaque-id")) is not None:
                told["opaque_id"] = opaque[:200]
            _log.info("answered", extra=told)

    async def _answered(self, request: Request, note: Note) -> Response:
        """The answer to a request, whatever goes wrong."""
        pretty = wants_pretty(request.scope["query_string"])
        try:
            response = await self._safe_answer(request, note)
        except ClientDisconnect:
            raise
        except ApiError as error:
            response = _engine_error(error, pretty=pretty)
        except Exception as error:
            refused = _as_refused(error)
            note.refused, note.reason = refused.kind, refused.reason[:_MOST_SAID]
            response = refused.answer(pretty=pretty)
        if request.method == "HEAD":
            response.body = b""
            del response.headers["Content-Length"]
        if not note.body_read and _has_body(request):
            response.headers["Connection"] = "close"  # Nobody reads the rest of the body.
        return response

    async def _safe_answer(self, request: Request, note: Note) -> Response:
        headers, settings = request.headers, self._settings
        address = None if request.client is None else request.client.host
        caller = await self._callers.who(headers.getlist("authorization"), address)
        note.caller = caller.name
        context = caller.context_of(headers.getlist(CONTEXT_HEADER))
        route, in_path = find_route(request.method, segments(request.scope["raw_path"]))
        note.call, note.index = route.call, in_path.get("index")
        if route.writes and not caller.writes:
            raise forbidden("this caller may not change documents")
        kind = media_type(_only(request, "accept"))
        in_address = parameters(request.scope["query_string"])
        pretty = in_address.pop("pretty", "false") != "false"
        lines = route.takes is Takes.LINES
        content = self._content(request, await self._body(request), in_address, lines=lines)
        note.body_read = True
        if content and route.takes is Takes.NOTHING:
            raise malformed(f"a call of {route.call!r} has no body")
        read = json_lines if lines else json_object
        call = read_call(route, in_path, in_address, read(content) if content else None)
        client, decision = self._calls.at(context)
        if is_made_safe(route):
            note.decision = decision
        who = caller.name if caller.name != "nobody" else f"nobody at {address}"
        # Also where there is none: the next request of a connection begins with what this one set.
        OPAQUE_ID.set(headers.get("x-opaque-id"))
        async with asyncio.timeout(settings.timeout), self._gate.place(who):
            made = self._calls.make(call, client)
            result = await (made if route.writes else _unless_gone(made, request))
        if is_explained(route):
            note.told = result.told
            if not caller.explained:
                result.unexplained()
        return _response(result, kind, note, pretty=pretty)

    async def _body(self, request: Request) -> bytes:
        """The body of a request, as it comes."""
        most = self._settings.max_body
        length = request.headers.get("content-length", "0")
        if length.isdecimal() and int(length) > most:
            raise too_large(most)
        chunks, size = [], 0
        try:
            async with asyncio.timeout(self._settings.read_timeout):
                async for chunk in request.stream():
                    size += len(chunk)
                    if size > most:
                        raise too_large(most)
                    chunks.append(chunk)
        except TimeoutError:
            reason = "the body did not come in time; send it faster, or less"
            raise Refused(HTTPStatus.REQUEST_TIMEOUT, "timeout_exception", reason) from None
        return b"".join(chunks)

    def _content(
        self, request: Request, body: bytes, in_address: dict[str, str], *, lines: bool
    ) -> bytes:
        """What a request asks, from where it stands: behind the head, or in the address."""
        content = unpacked(body, _only(request, "content-encoding"), self._settings.max_body)
        kind = _only(request, "content-type")
        source, its_kind = in_address.pop("source", None), in_address.pop(SOURCE_TYPE, None)
        if source is not None:
            if content:
                raise malformed("there is a body both in the address, as 'source', and behind it")
            content, kind = source.encode(), its_kind
        if content:
            check_type(kind, lines=lines)
        return content


def _outdated(policy: Policy | PolicyFile) -> bool:
    """Whether the policy's file, as it is now, cannot be used."""
    if not isinstance(policy, PolicyFile):
        return False
    policy.current()
    return policy.fault is not None


def _only(request: Request, name: str) -> str | None:
    """A header that may be given once.

    Raises:
        Refused: it is given twice.
    """
    found = request.headers.getlist(name)
    if len(found) > 1:
        raise malformed(f"the header {name!r} is given twice")
    return found[0] if found else None


def _has_body(request: Request) -> bool:
    headers = request.headers
    return headers.get("content-length", "0") != "0" or "transfer-encoding" in headers


async def _unless_gone(made: Awaitable[T], request: Request) -> T:
    """What is awaited, unless the client goes away first: then Elasticsearch need not finish it.

    Raises:
        ClientDisconnect: it did.
    """
    task, waits, has_gone = asyncio.current_task(), True, False
    assert task is not None

    def stop(_: object) -> None:
        nonlocal has_gone
        if waits:
            has_gone = task.cancel()

    gone = asyncio.ensure_future(request.receive())
    gone.add_done_callback(stop)
    try:
        return await made
    except asyncio.CancelledError:
        if not has_gone:
            raise
        task.uncancel()
        raise ClientDisconnect from None
    finally:
        waits = False
        gone.cancel()


def _response(result: Result, kind: str, note: Note, *, pretty: bool) -> Response:
    level = {} if note.decision is None else {LEVEL_HEADER: note.decision.level_name}
    return answer(result.body, result.status, media_type=kind, pretty=pretty, headers=level)


def _engine_error(error: ApiError, *, pretty: bool) -> Response:
    """What Elasticsearch says is wrong; not with the request, if it is with the gateway."""
    status = error.status_code
    if isinstance(error, UnsupportedProductError) or not _is_of_the_engine(error):
        _log.error("what answers does not say that it is Elasticsearch: status %d", status)
        return _bad_upstream().answer(pretty=pretty)
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        # It names the gateway's own user and privileges.
        _log.error("Elasticsearch refuses the gateway: %s", error.message)
        return forbidden("Elasticsearch does not let this gateway do that").answer(pretty=pretty)
    return answer(error.body or None, status, pretty=pretty)


def _is_of_the_engine(error: ApiError) -> bool:
    """Whether an error is the engine's own word, and not that of a proxy before it."""
    product = error.meta.headers.get("x-elastic-product")
    is_error = error.status_code >= HTTPStatus.BAD_REQUEST
    return is_error and product == "Elasticsearch" and isinstance(error.body, dict | None)


def _bad_upstream() -> Refused:
    reason = "Elasticsearch does not answer this gateway; try again in a moment"
    return Refused(HTTPStatus.BAD_GATEWAY, "connect_transport_exception", reason)


def _as_refused(error: Exception) -> Refused:
    """What a client is told of an error."""
    match error:
        case Refused():
            return error
        case UnsafeRequest():
            return Refused(HTTPStatus.FORBIDDEN, "unsafe_request_exception", str(error))
        case MappingError():
            return Refused(HTTPStatus.FORBIDDEN, "unsafe_index_exception", str(error))
        case ContextError():
            return Refused(HTTPStatus.FORBIDDEN, "context_exception", str(error))
        case TimeoutError() | ConnectionTimeout():
            reason = "Elasticsearch did not answer in time; ask for less, or try again"
            return Refused(HTTPStatus.GATEWAY_TIMEOUT, "timeout_exception", reason)
        case TransportError() | ServiceUnavailable():
            _log.error("Elasticsearch does not answer: %.500s", error)
            return _bad_upstream()
    _log.error("a request failed", exc_info=error)
    reason = "this gateway failed; its log has the details"
    return Refused(HTTPStatus.INTERNAL_SERVER_ERROR, "internal_error", reason)
