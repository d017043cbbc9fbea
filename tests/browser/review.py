"""Review documents in Chromium: by keyboard, through a killed server, in two browsers at once.

    python tests/browser/review.py [--axe AXE.MIN.JS] [--pictures FOLDER]

Needs playwright (``pip install --group browser``) and Debian's chromium; axe-core comes from npm.
Prints what was seen, and ends with 1 at the first thing that is not as it must be.
"""

from __future__ import annotations

import argparse
import base64
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from elasticsearch import Elasticsearch
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright
from reviewed import POLICY, document, fill, review_settings

from saferank.local.elasticsearch import start_node
from saferank.local.folders import temporary_folder
from saferank.local.processes import free_port
from saferank.mappings.overrides import override_in
from saferank.review.entries import Act
from saferank.review.log import Log
from saferank.review.people import Role, add_person
from saferank.settings import Settings

QUEUE = "near-0.2"
PATIENCE_MS = 30_000


class Server:
    """``saferank review`` as a process that can be killed."""

    def __init__(self, settings: Settings, index: str, folder: Path) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        policy = folder / "policy.yaml"
        policy.write_text(POLICY)
        review = settings.review
        self._environment = {
            **os.environ,
            "SAFERANK_ELASTICSEARCH_URL": settings.elasticsearch_url,
            "SAFERANK_POLICY": str(policy),
            "SAFERANK_REVIEW__LOG_INDEX": review.log_index,
            "SAFERANK_REVIEW__WORK_INDEX": review.work_index,
            "SAFERANK_REVIEW__REVIEWERS": str(review.reviewers),
            "SAFERANK_REVIEW__LEASE": str(review.lease),
            "SAFERANK_REVIEW__SHOW_FIELDS": "title",
        }
        self._command = [sys.executable, "-m", "saferank.cli", "review", index]
        self._command += ["--port", str(self.port)]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, env=self._environment)

    def kill(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None


def sign_in(context: BrowserContext, server: Server, token: str) -> Page:
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    for _ in range(120):
        try:
            page.goto(f"{server.url}/login")
            break
        except Exception:
            time.sleep(0.5)
    page.fill("#token", token)
    page.keyboard.press("Enter")
    page.wait_for_selector("ul.queues")
    return page


def shown(page: Page) -> str | None:
    """The id of the document on the page, or None when nothing is left."""
    page.wait_for_selector("body[data-ready] #review, body[data-ready] #empty")
    found = page.query_selector("#review")
    return None if found is None else found.get_attribute("data-item")


def press(page: Page, key: str) -> None:
    """Press a key that leads to another page, and wait for that."""
    mark = page.evaluate("() => { const m = Math.random(); window.mark = m; return m; }")
    page.keyboard.press(key)
    page.wait_for_function("m => window.mark !== m && document.body.dataset.ready", arg=mark)


def must(what: str, seen: Any, wanted: Any) -> None:
    print(f"{'ok ' if seen == wanted else 'BAD'} {what}: {seen}", flush=True)
    if seen != wanted:
        raise SystemExit(f"{what}: {seen!r}, and it must be {wanted!r}")


def overrides(client: Elasticsearch, index: str) -> Counter[str]:
    client.indices.refresh(index=index)
    hits = client.search(index=index, size=1000)["hits"]["hits"]
    found = (override_in(hit["_source"], "safety") for hit in hits)
    return Counter(one.override.value for one in found if one is not None)


def fifty_by_keyboard(
    page: Page, server: Server, client: Elasticsearch, index: str, log: Log
) -> None:
    page.goto(f"{server.url}/queue/{QUEUE}")
    seen = []
    for place in range(50):
        seen.append(shown(page))
        if place == 25:
            # The server dies with the decision on its way.
            page.evaluate("() => { window.mark = 1; }")
            page.keyboard.press("b")
            server.kill()
            page.wait_for_timeout(500)
            if page.evaluate("() => window.mark === 1"):
                page.wait_for_function("() => !document.getElementById('alert').hidden")
                print("    it says:", page.inner_text("#alert")[:80], flush=True)
            server.start()
            for _ in range(120):
                try:
                    page.reload()
                    break
                except Exception:
                    time.sleep(0.5)
            # What was kept in the tab is sent again by the page that comes back.
            page.wait_for_function(
                "old => { const r = document.getElementById('review');"
                " return r && r.dataset.item !== old && document.body.dataset.ready; }",
                arg=seen[-1],
            )
            continue
        press(page, "ab"[place % 2])
    must("50 different documents were shown", len(set(seen)), 50)
    entries = list(log.entries(index=index))
    must("entries in the log", len(entries), 50)
    must("documents in the log", len({entry.item for entry in entries}), 50)
    found = overrides(client, index)
    must("overrides", (found["allow"], found["block"]), (25, 25))


def undo_ten(page: Page, client: Elasticsearch, index: str, log: Log) -> None:
    for _ in range(10):
        press(page, "u")
    acts = Counter(entry.act for entry in log.entries(index=index))
    must("undo entries", acts[Act.UNDO], 10)
    must("overrides that are left", overrides(client, index).total(), 40)


def bulk_of_twenty(page: Page, server: Server, client: Elasticsearch, index: str, log: Log) -> None:
    page.goto(f"{server.url}/queue/{QUEUE}/many")
    before = overrides(client, index).total()
    boxes = page.query_selector_all("#many input[type=checkbox]")
    for box in boxes[:20]:
        box.focus()
        page.keyboard.press("Space")
    press(page, "b")
    must("overrides after a bulk of 20", overrides(client, index).total() - before, 20)
    press(page, "u")
    must("overrides after its undo", overrides(client, index).total() - before, 0)
    batches = Counter(entry.batch for entry in log.entries(index=index) if entry.batch)
    must("entries of the batch", list(batches.values()), [20])


def two_browsers(
    browser: Browser, server: Server, tokens: dict[str, str], log: Log, index: str
) -> None:
    pages = {name: sign_in(browser.new_context(), server, tokens[name]) for name in ("ann", "ben")}
    seen: dict[str, list[str]] = {name: [] for name in pages}
    for page in pages.values():
        page.goto(f"{server.url}/queue/{QUEUE}")
    going = dict(pages)
    while going:
        for name, page in list(going.items()):
            id = shown(page)
            if id is None:
                del going[name]
                continue
            seen[name].append(id)
            press(page, "b")
    total = sum(map(len, seen.values()))
    must("documents shown to two browsers", total, 200)
    must("of these to both", len(set(seen["ann"]) & set(seen["ben"])), 0)
    decided = list(log.entries(index=index))
    must("entries", len(decided), 200)
    print("    each had", {name: len(ids) for name, ids in seen.items()})


def closed_in_the_middle(
    browser: Browser, server: Server, tokens: dict[str, str], lease: float
) -> None:
    context = browser.new_context()
    page = sign_in(context, server, tokens["ann"])
    page.goto(f"{server.url}/queue/{QUEUE}")
    left = shown(page)
    context.close()
    other = sign_in(browser.new_context(), server, tokens["ben"])
    other.goto(f"{server.url}/queue/{QUEUE}")
    must("another browser is shown another document", shown(other) != left, True)
    time.sleep(lease + 1)
    other.goto(f"{server.url}/queue/{QUEUE}")
    must("after the lease it comes back", shown(other), left)


def look(
    browser: Browser, server: Server, token: str, axe: Path | None, folder: Path | None
) -> None:
    """Screenshots wide, narrow and with large text, and what axe-core finds."""
    addresses = {
        "home": "/",
        "item": f"/queue/{QUEUE}",
        "many": f"/queue/{QUEUE}/many",
        "log": "/log",
        "facts": "/facts",
        "empty": "/queue/reported",
        "problem": "/queue/nothing",
    }
    serious, passed = [], 0
    for form, width, scheme in (
        ("wide", 1360, "light"),
        ("narrow", 380, "light"),
        ("dark", 1360, "dark"),
    ):
        context = browser.new_context(
            viewport={"width": width, "height": 820}, color_scheme=scheme, bypass_csp=True
        )
        page = sign_in(context, server, token)
        for name, address in addresses.items():
            page.goto(server.url + address)
            page.wait_for_timeout(300)
            over = page.evaluate("() => document.documentElement.scrollWidth - innerWidth")
            must(f"{name} {form} needs no sideways scrolling", over <= 0, True)
            if folder is not None:
                page.screenshot(path=folder / f"{name}-{form}.png")
            if axe is not None:
                page.add_script_tag(path=axe)
                result = page.evaluate("async () => await axe.run()")
                found, passed = result["violations"], passed + len(result["passes"])
                serious += [
                    (name, form, one["id"], one["impact"], one["nodes"][0]["html"][:120])
                    for one in found
                ]
        page.goto(f"{server.url}/login")
        context.close()
    for one in serious:
        print("    axe:", *one)
    if axe is not None:
        print("    axe-core: rules that passed, all pages together:", passed)
        bad = [one for one in serious if one[3] in ("serious", "critical")]
        must("serious faults that axe-core finds", bad, [])
    context = browser.new_context(viewport={"width": 680, "height": 900}, device_scale_factor=2)
    page = sign_in(context, server, token)
    page.goto(f"{server.url}/queue/{QUEUE}")
    page.evaluate("() => { document.documentElement.style.fontSize = '200%'; }")
    over = page.evaluate("() => document.documentElement.scrollWidth - innerWidth")
    must("item at 200 % text needs no sideways scrolling", over <= 0, True)
    if folder is not None:
        page.screenshot(path=folder / "item-200.png")


def for_the_pages(
    browser: Browser,
    server: Server,
    client: Elasticsearch,
    index: str,
    token: str,
    folder: Path,
) -> None:
    """The screenshots of docs/how-to/moderate.md, of harmless pictures."""
    client.delete(index=index, id="0")
    images = Path(__file__).parents[1] / "models" / "data" / "images"
    names = ("sk_chelsea.png", "sk_rocket.jpg", "sk_horse.png", "sk_astronaut.png", "sk_cell.png")
    kinds = {".png": "image/png", ".jpg": "image/jpeg"}
    for place, name in enumerate(names):
        data = base64.b64encode((images / name).read_bytes()).decode()
        values = document(place, 0.2 + place / 100)
        values["image"] = f"data:{kinds[Path(name).suffix]};base64,{data}"
        client.index(index=index, id=name.split(".")[0][3:], document=values, refresh=True)
    context = browser.new_context(viewport={"width": 1200, "height": 640})
    page = sign_in(context, server, token)
    page.goto(f"{server.url}/queue/{QUEUE}")
    page.wait_for_timeout(1500)
    page.screenshot(path=folder / "review-blurred.png")
    page.keyboard.press("v")
    page.wait_for_timeout(500)
    page.screenshot(path=folder / "review-shown.png")
    page.keyboard.press("m")
    page.wait_for_timeout(8000)
    page.screenshot(path=folder / "review-map.png")
    page.goto(f"{server.url}/queue/{QUEUE}/many")
    for box in page.query_selector_all("#many input[type=checkbox]")[1:3]:
        box.check()
    page.wait_for_timeout(2500)
    page.screenshot(path=folder / "review-many.png")


@contextmanager
def review(url: str, count: int, lease: float = 300.0, index: str | None = None) -> Iterator[Any]:
    index = index or f"test-browser-{os.urandom(4).hex()}"
    folder = Path(tempfile.mkdtemp())
    names = {"ann": Role.DECIDE, "ben": Role.DECIDE, "lea": Role.UNDO_OTHERS}
    file = folder / "reviewers.toml"
    tokens = {name: add_person(file, name, role) or "" for name, role in names.items()}
    with review_settings(url, reviewers=file, lease=lease) as (settings, client):
        fill(client, index, [0.2 + place / 10_000 for place in range(count)], size=64)
        server = Server(settings, index, folder)
        server.start()
        try:
            yield server, client, index, tokens, Log(client, settings.review.log_index)
        finally:
            server.kill()
            client.indices.delete(index=index)
            shutil.rmtree(folder)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--axe", type=Path)
    parser.add_argument("--pictures", type=Path)
    parser.add_argument("--only", default="keys two closed look")
    asked = parser.parse_args()
    with sync_playwright() as play, elasticsearch() as url:
        browser = play.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        if "keys" in asked.only:
            with review(url, 120) as (server, client, index, tokens, log):
                page = sign_in(browser.new_context(), server, tokens["ann"])
                fifty_by_keyboard(page, server, client, index, log)
                undo_ten(page, client, index, log)
                bulk_of_twenty(page, server, client, index, log)
        if "two" in asked.only:
            with review(url, 200) as (server, _, index, tokens, log):
                two_browsers(browser, server, tokens, log, index)
        if "closed" in asked.only:
            with review(url, 20, lease=5.0) as (server, _, index, tokens, log):
                closed_in_the_middle(browser, server, tokens, 5.0)
        if "pages" in asked.only and asked.pictures is not None:
            with review(url, 1, index="photos") as (server, client, index, tokens, _):
                for_the_pages(browser, server, client, index, tokens["ann"], asked.pictures)
        if "look" in asked.only:
            with review(url, 40) as (server, client, index, tokens, log):
                page = sign_in(browser.new_context(), server, tokens["lea"])
                page.goto(f"{server.url}/queue/{QUEUE}")
                for key in "abbasb":
                    shown(page)
                    press(page, key)
                look(browser, server, tokens["lea"], asked.axe, asked.pictures)
        browser.close()


@contextmanager
def elasticsearch() -> Iterator[str]:
    if url := os.environ.get("SAFERANK_TEST_ELASTICSEARCH_URL"):
        yield url
        return
    with temporary_folder() as folder:
        node = start_node(folder / "elasticsearch")
        try:
            yield node.url
        finally:
            node.stop()


if __name__ == "__main__":
    main()
