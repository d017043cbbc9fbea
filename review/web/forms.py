"""What the pages' forms and addresses say, and how an answer leads on."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

from starlette.background import BackgroundTask
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from saferank.review.entries import Item
from saferank.review.web.guard import FOREIGN_FORM, is_secure

MONTH = 30 * 24 * 3600.0
"""Seconds for which a cookie is kept."""


def item_address(queue: str, item: Item) -> str:
    """Where an item of a queue is shown."""
    return f"/queue/{queue}/item?{urlencode(_named(item))}"


def picture_address(item: Item, place: int, frame: int = 0, *more: str) -> str:
    """Where a picture of an item is."""
    asked = {**_named(item), "place": str(place), "frame": str(frame)}
    return f"/picture?{urlencode({**asked, **dict.fromkeys(more, '1')})}"


def _named(item: Item) -> dict[str, str]:
    return {"id": item.id} if item.routing is None else {"id": item.id, "routing": item.routing}


def led_to(request: Request, address: str, then: BackgroundTask | None = None) -> Response:
    """Lead to the next page: a redirect for browsers, its address for the pages' script."""
    if "application/json" in request.headers.get("accept", ""):
        return JSONResponse({"next": address}, background=then)
    return RedirectResponse(address, 303, background=then)


def set_cookie(
    response: Response, request: Request, name: str, value: str, *, seconds: float = MONTH
) -> None:
    """Set a cookie that only this server reads."""
    response.set_cookie(
        name,
        value,
        max_age=int(seconds),
        path="/",
        httponly=True,
        samesite="strict",
        secure=is_secure(request),
    )


def sent_of(form: FormData, name: str, **kinds: type) -> list[dict[str, Any]]:
    """The items or entries that a form names, each a JSON object as our own pages have it."""
    try:
        found = [json.loads(text) for text in form.getlist(name) if isinstance(text, str)]
        for one in found:
            right = all(isinstance(one[key], kind) for key, kind in kinds.items())
            if not right or not isinstance(one["routing"], str | None):
                raise TypeError
    except (ValueError, TypeError, KeyError) as error:
        raise HTTPException(403, FOREIGN_FORM) from error
    return found


def text_of(form: FormData, name: str) -> str:
    """A text field; empty when it is not there."""
    value = form.get(name, "")
    return value if isinstance(value, str) else ""


def number_of(text: str | None) -> int:
    """A place in a list, from an address; 0 when it is none."""
    return int(text) if text is not None and text.isdecimal() and len(text) < 6 else 0
