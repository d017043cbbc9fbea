"""The pages of the review as a browser uses them."""

from __future__ import annotations

import html
import re
from typing import Any

from starlette.testclient import TestClient

ORIGIN = {"Origin": "http://127.0.0.1"}
JSON = {**ORIGIN, "Accept": "application/json"}


def signed_in(app: Any, token: str | None = None) -> TestClient:
    """A browser of its own, signed in where there is a token."""
    browser = TestClient(app, base_url="http://127.0.0.1", follow_redirects=True)
    if token is not None:
        sent = {"form": form_of(browser.get("/login").text), "token": token}
        assert browser.post("/login", data=sent, headers=ORIGIN).status_code == 200
    return browser


def fields(page: str, action: str) -> dict[str, list[str]]:
    """The hidden fields and boxes of the first form that goes somewhere."""
    form = re.search(rf'<form[^>]*action="{action}".*?</form>', page, re.S)
    assert form is not None, page
    found: dict[str, list[str]] = {}
    for name, value in re.findall(r'<input[^>]*name="(\w+)"[^>]*value="([^"]*)"', form[0]):
        found.setdefault(name, []).append(html.unescape(value))
    return found


def form_of(page: str) -> str:
    found = re.search(r'name="form" value="([0-9a-f]{64})"', page)
    assert found is not None
    return found[1]


def decide(browser: TestClient, act: str, queue: str = "near-0.2", **more: Any) -> Any:
    """Say something about the next item of a queue."""
    sent = {**fields(browser.get(f"/queue/{queue}").text, "/decide"), "act": act, **more}
    return browser.post("/decide", data=sent, headers=JSON)
