"""A safe client for each request, and answers to what it raises."""

from __future__ import annotations

import logging
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from django.apps import apps
from django.http import HttpRequest, HttpResponse
from elastic_transport import TransportError
from elasticsearch import ApiError

from gallery.apps import GalleryConfig
from saferank import SaferankError, SafeSearch
from saferank.web import level_choices, request_context, status_of

log = logging.getLogger(__name__)


class SafeRequest(HttpRequest):
    """A request that went through the middleware.

    Attributes:
        context: what the policy may know of it.
        safe: the client for it.
    """

    context: dict[str, str]
    safe: SafeSearch


class SafeSearchMiddleware:
    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: SafeRequest) -> HttpResponse:
        gallery = apps.get_app_config("gallery")
        assert isinstance(gallery, GalleryConfig)
        client = gallery.client
        request.context = request_context(
            client.policy,
            request.COOKIES.get("safesearch"),
            audience=request.session.get("audience"),  # Put there by your log-in.
        )
        request.safe = client.bind(request.context)
        response = self.get_response(request)
        response["Cache-Control"] = "private"  # Another visitor may see another page.
        return response

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        if not isinstance(error, SaferankError | ApiError | TransportError):
            return None
        status = HTTPStatus(status_of(error))
        if status >= 500:
            log.error("%s failed", request.path, exc_info=error)
        elif status == HTTPStatus.BAD_REQUEST:
            log.warning("%s was refused: %s", request.path, error)
        return HttpResponse(status.phrase, status=status)


def levels(request: SafeRequest) -> dict[str, Any]:
    """For every template: the levels that this visitor may choose among."""
    return {"levels": level_choices(request.safe.policy, request.context)}
