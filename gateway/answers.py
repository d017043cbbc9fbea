"""Answers in the engine's own shapes: what is refused, and what type of content a client takes."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import msgspec
from starlette.responses import Response

from saferank.ranker.bodies import Json

_HEADERS = {
    "X-Elastic-Product": "Elasticsearch",  # Clients refuse to work with what does not say so.
    # One address answers differently by who asks, which no cache between knows.
    "Cache-Control": "private, no-store",
    "X-Content-Type-Options": "nosniff",
}
_JSON = "application/json"
_TYPES_OF_JSON = ("*/*", "application/*", _JSON)
_COMPATIBLE = re.compile(
    r"application/vnd\.elasticsearch\+json(?:\s*;\s*compatible-with\s*=\s*(\d{1,2}))?",
    re.IGNORECASE,
)


class Refused(Exception):
    """A request that is answered with an error of the gateway's own.

    Attributes:
        status: of HTTP.
        kind: as ``error.type`` of the answer has it.
        reason: what is wrong and what to do.
        headers: of the answer.
    """

    def __init__(
        self, status: int, kind: str, reason: str, headers: Mapping[str, str] | None = None
    ) -> None:
        self.status = status
        self.kind = kind
        self.reason = reason
        self.headers = headers or {}
        super().__init__(reason)

    def answer(self, *, pretty: bool = False) -> Response:
        """What the client gets."""
        body = error_body(self.status, self.kind, self.reason)
        return answer(body, self.status, pretty=pretty, headers=self.headers)


def malformed(reason: str) -> Refused:
    """The refusal of what cannot be read."""
    return Refused(HTTPStatus.BAD_REQUEST, "parsing_exception", reason)


def forbidden(reason: str) -> Refused:
    """The refusal of what a caller may not do."""
    return Refused(HTTPStatus.FORBIDDEN, "security_exception", reason)


def unsafe(reason: str) -> Refused:
    """The refusal of a part of a request that is not known to be safe."""
    return Refused(HTTPStatus.FORBIDDEN, "unsafe_request_exception", reason)


def error_body(status: int, kind: str, reason: str) -> Json:
    """An error as Elasticsearch tells one."""
    cause = {"type": kind, "reason": reason}
    return {"error": {"root_cause": [cause], **cause}, "status": status}


def answer(
    body: Any,
    status: int,
    *,
    media_type: str = _JSON,
    pretty: bool = False,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """A response with a JSON body; None is no body."""
    content = b"" if body is None else encoded(body, pretty=pretty)
    return Response(content, status, {**_HEADERS, **(headers or {})}, media_type)


def encoded(body: Any, *, pretty: bool = False) -> bytes:
    """A body as JSON."""
    try:
        if pretty:
            return json.dumps(body, ensure_ascii=False, indent=2).encode()
        return msgspec.json.encode(body)
    except (TypeError, UnicodeEncodeError):
        # Half of a surrogate pair, which only an escape can say.
        return json.dumps(body, indent=2 if pretty else None).encode()


def media_type(accept: str | None) -> str:
    """The content type of an answer, by the header ``Accept``.

    Raises:
        Refused: the client takes no JSON.
    """
    if accept is None or not accept.strip():
        return _JSON
    for wanted in accept.split(","):
        if found := _COMPATIBLE.match(wanted.strip()):
            version = f";compatible-with={found[1]}" if found[1] else ""
            return f"application/vnd.elasticsearch+json{version}"
        if wanted.partition(";")[0].strip().lower() in _TYPES_OF_JSON:
            return _JSON
    raise Refused(
        HTTPStatus.NOT_ACCEPTABLE,
        "media_type_header_exception",
        f"answers are JSON, and {accept!r} accepts none; send 'Accept: application/json'",
    )
