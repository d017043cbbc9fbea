"""Who sends a request, and whether it may: before any page or act."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from urllib.parse import urlsplit

from starlette.exceptions import HTTPException
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from saferank.networks import comes_from
from saferank.review.people import People, Person, Role
from saferank.settings import ReviewSettings

TOKEN_COOKIE, FORM_COOKIE = "saferank_token", "saferank_form"
MOST_BYTES = 256 * 1024
"""Of a request's body; a selection of items with a reason is far smaller."""

FOREIGN_FORM = "This form was not made by this server; load the page again."

_HERE = ("localhost", "127.0.0.1", "::1")
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; img-src 'self'; style-src 'self'; "
    "script-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # With "no-referrer", browsers send forms with an origin of "null".
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
}


class Guard:
    """Tells who sends a request.

    Args:
        people: the reviewers.
        settings: trusted proxies and names of hosts.
    """

    def __init__(self, people: People, settings: ReviewSettings) -> None:
        self._people = people
        self._settings = settings

    def is_host(self, name: str) -> bool:
        """Whether this server may be called so; else a page elsewhere may have led here."""
        try:
            host = urlsplit(f"//{name}").hostname
        except ValueError:
            return False
        return host in (*_HERE, *self._settings.hosts)

    def person(self, request: Request) -> Person | None:
        """Who sends a request, if that is known."""
        if bearer := _bearer(request):
            return self._people.by_token(bearer)
        header = self._settings.user_header
        if header is not None:
            address = None if request.client is None else request.client.host
            # Twice the same header may be one of the visitor's own beside the proxy's.
            names = request.headers.getlist(header)
            if len(names) == 1 and comes_from(address, self._settings.proxies):
                return self._people.by_name(names[0])
        token = request.cookies.get(TOKEN_COOKIE)
        return None if token is None else self._people.by_token(token)

    def check(self, request: Request, role: Role) -> Person:
        """The person who sends a request, if they may do what needs a role.

        Raises:
            HTTPException: 403.
        """
        person = self.person(request)
        if person is None:
            raise HTTPException(403, "Nobody is signed in here. Sign in first.")
        if not person.role.may(role):
            raise HTTPException(403, f"This needs the role “{role}”, and yours is “{person.role}”.")
        return person


def check_form(request: Request, sent: str | None) -> None:
    """See that a form is one of our own pages'.

    Args:
        request: with which it came.
        sent: the form's hidden field.

    Raises:
        HTTPException: 403.
    """
    secret = request.cookies.get(FORM_COOKIE)
    if not _same_origin(request):
        raise HTTPException(403, "This form was sent from another site.")
    if secret is None or sent is None or not hmac.compare_digest(form_field(secret), sent):
        raise HTTPException(403, FOREIGN_FORM)


def form_field(secret: str) -> str:
    """What a page's forms must send, for what its cookie has."""
    return hmac.new(secret.encode(), b"saferank review", hashlib.sha256).hexdigest()


def new_secret() -> str:
    """What a browser's cookie gets."""
    return secrets.token_urlsafe(24)


def is_secure(request: Request) -> bool:
    """Whether the browser speaks TLS, whatever stands between."""
    return request.headers.get("origin", "").startswith("https:") or request.url.scheme == "https"


class Guarded(BaseHTTPMiddleware):
    """Refuses unknown hosts and large bodies, and adds headers to every answer."""

    def __init__(self, app: object, guard: Guard) -> None:
        super().__init__(app)  # type: ignore[arg-type]
        self._guard = guard

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        """Answer one request."""
        response = self._refusal(request) or await call_next(request)
        for name, value in _HEADERS.items():
            response.headers.setdefault(name, value)
        return response

    def _refusal(self, request: Request) -> Response | None:
        if not self._guard.is_host(request.headers.get("host", "")):
            return PlainTextResponse(
                "This server does not go by that name; name it with SAFERANK_REVIEW__HOSTS.", 421
            )
        if request.method == "POST":
            length = request.headers.get("content-length", "")
            if not length.isdecimal() or int(length) > MOST_BYTES:
                return PlainTextResponse("This is too much at once.", 413)
        return None


def _same_origin(request: Request) -> bool:
    origin = request.headers.get("origin")
    site = request.headers.get("sec-fetch-site")
    if site is not None and site != "same-origin":
        return False
    if origin is None:
        return site == "same-origin"
    return urlsplit(origin).netloc.lower() == request.headers.get("host", "").lower()


def _bearer(request: Request) -> str | None:
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if kind.lower() == "bearer" and token.strip() else None
