"""The review over HTTP: who may what, what is stored, and that what others wrote stays text."""

import csv
import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from brightness import data_uri, png
from elasticsearch import Elasticsearch
from forms import JSON, ORIGIN, decide, fields, form_of, signed_in
from PIL import Image
from reviewed import document, fill, policy_of, review_settings
from starlette.testclient import TestClient

from saferank.review.entries import Act, Entry
from saferank.review.log import Log
from saferank.review.people import Role, add_person
from saferank.review.web.serve import make_app
from saferank.settings import Settings


@dataclass
class Site:
    """A review that is served, and who may use it."""

    client: Elasticsearch
    settings: Settings
    index: str
    tokens: dict[str, str]
    app: Any
    opened: list[TestClient] = field(default_factory=list)

    def browser(self, person: str | None = None) -> TestClient:
        """A browser of its own, signed in as somebody."""
        browser = signed_in(self.app, None if person is None else self.tokens[person])
        self.opened.append(browser)
        return browser

    def entries(self) -> list[Entry]:
        return list(Log(self.client, self.settings.review.log_index).entries())


@pytest.fixture
def site(
    client: Elasticsearch, elasticsearch_url: str, index_name: str, tmp_path: Path
) -> Iterator[Site]:
    fill(client, index_name, [0.2 + place / 1000 for place in range(30)])
    people = {
        "ann": Role.DECIDE,
        "ben": Role.DECIDE,
        "vic": Role.VIEW,
        "lea": Role.UNDO_OTHERS,
        "shop": Role.REPORT,
    }
    file = tmp_path / "reviewers.toml"
    tokens = {name: add_person(file, name, role) or "" for name, role in people.items()}
    proxies = {"user_header": "X-User", "proxies": ["192.0.2.0/24"]}
    with review_settings(elasticsearch_url, reviewers=file, **proxies) as (settings, _):
        app = make_app(client, index_name, settings, policy_of(settings))
        made = Site(client, settings, index_name, tokens, app)
        yield made
        for browser in made.opened:
            browser.close()


def test_a_decision_over_http_is_stored_and_leads_on(site: Site) -> None:
    ann = site.browser("ann")
    answer = decide(ann, "block", reason="rude")
    assert answer.json() == {"next": "/queue/near-0.2"}
    (entry,) = site.entries()
    assert (entry.by, entry.act, entry.item.id, entry.reason) == ("ann", Act.BLOCK, "0", "rude")
    page = ann.get("/queue/near-0.2").text
    assert 'data-item="1"' in page
    undone = ann.post("/undo", data=fields(page, "/undo"), headers=JSON)
    assert undone.json() == {"next": "/queue/near-0.2/item?id=0"}
    # Sent again, for the answer was lost, it takes back nothing else.
    assert ann.post("/undo", data=fields(page, "/undo"), headers=JSON).status_code == 200
    assert [one.act for one in site.entries()] == [Act.BLOCK, Act.UNDO]
    assert "override" not in ann.get("/queue/near-0.2/item?id=0").text


def test_the_last_decision_of_a_queue_can_be_taken_back_where_nothing_is_left(site: Site) -> None:
    report = {"id": "3", "reason": "rude", "by": "user 7"}
    headers = {"Authorization": f"Bearer {site.tokens['shop']}"}
    assert site.browser().post("/reports", json=report, headers=headers).json()["new"]
    site.client.indices.refresh(index=site.settings.review.work_index)
    ann = site.browser("ann")
    assert "/undo" not in ann.get("/queue/failed").text
    assert decide(ann, "block", queue="reported").status_code == 200
    page = ann.get("/queue/reported").text
    assert "Nothing is left here for you" in page
    undone = ann.post("/undo", data=fields(page, "/undo"), headers=JSON)
    assert undone.json() == {"next": "/queue/reported/item?id=3"}
    assert [one.act for one in site.entries()] == [Act.REPORT, Act.BLOCK, Act.UNDO]


def test_without_a_script_forms_lead_on_by_themselves(site: Site) -> None:
    ann = site.browser("ann")
    sent = {**fields(ann.get("/queue/near-0.2").text, "/decide"), "act": "allow"}
    assert 'data-item="1"' in ann.post("/decide", data=sent, headers=ORIGIN).text
    late = {**sent, "item": [sent["item"][0].replace('"token": "', '"token": "other')]}
    answer = ann.post("/decide", data=late, headers=ORIGIN)
    assert answer.status_code == 409
    assert "ann allowed this document meanwhile" in answer.text
    assert "This was not stored" in answer.text


def test_a_selection_is_decided_and_undone_together(site: Site) -> None:
    ann = site.browser("ann")
    page = ann.get("/queue/near-0.2/many").text
    sent = fields(page, "/decide")
    assert len(sent["item"]) == 24
    sent["item"] = sent["item"][:20]
    assert ann.post("/decide", data={**sent, "act": "block"}, headers=JSON).status_code == 200
    assert len(site.entries()) == 20
    again = ann.get("/queue/near-0.2/many").text
    undo = fields(again, "/undo")
    assert len(undo["entry"]) == 20
    assert ann.post("/undo", data=undo, headers=JSON).status_code == 200
    acts = [entry.act for entry in site.entries()]
    assert (acts.count(Act.BLOCK), acts.count(Act.UNDO)) == (20, 20)
    site.client.indices.refresh(index=site.index)
    exists = {"exists": {"field": "safety.override"}}
    assert site.client.count(index=site.index, query=exists)["count"] == 0
    nothing = ann.post("/decide", data={**sent, "act": "block", "item": []}, headers=JSON)
    assert nothing.json() == {"error": "nothing is selected; select documents first"}


@pytest.mark.parametrize(
    ("name", "change", "headers"),
    [
        ("no form field", {"form": None}, JSON),
        ("another form field", {"form": "0" * 64}, JSON),
        ("another site", {}, {**JSON, "Origin": "http://evil.example"}),
        ("another port", {}, {**JSON, "Origin": "http://127.0.0.1:1"}),
        ("a page of nowhere", {}, {**JSON, "Origin": "null"}),
        ("no origin", {}, {"Accept": "application/json"}),
        ("cross-site by its own word", {}, {**JSON, "Sec-Fetch-Site": "cross-site"}),
        ("a queue that is none", {"queue": "nothing"}, JSON),
        ("an act that is none", {"act": "undo"}, JSON),
        ("an item that is none", {"item": "{}"}, JSON),
        ("an item that is no JSON", {"item": "x"}, JSON),
    ],
)
def test_a_forged_form_is_refused_and_nothing_is_written(
    site: Site, name: str, change: dict[str, Any], headers: dict[str, str]
) -> None:
    ann = site.browser("ann")
    sent: dict[str, Any] = {**fields(ann.get("/queue/near-0.2").text, "/decide"), "act": "block"}
    sent = {key: value for key, value in {**sent, **change}.items() if value is not None}
    assert ann.post("/decide", data=sent, headers=headers).status_code == 403, name
    assert site.entries() == []


def test_a_token_that_is_missing_or_has_too_small_a_role_writes_nothing(site: Site) -> None:
    ann = site.browser("ann")
    sent = {**fields(ann.get("/queue/near-0.2").text, "/decide"), "act": "block"}
    del ann.cookies["saferank_token"]
    assert ann.post("/decide", data=sent, headers=JSON).status_code == 403
    vic = site.browser("vic")
    mine = {**sent, "form": form_of(vic.get("/").text)}
    assert vic.post("/decide", data=mine, headers=JSON).status_code == 403
    assert vic.get("/queue/near-0.2").status_code == 403
    assert vic.get("/log").status_code == 200
    shop = {"Authorization": f"Bearer {site.tokens['shop']}", **JSON}
    nobody = site.browser()
    assert nobody.post("/decide", data=sent, headers=shop).status_code == 403
    assert nobody.get("/picture?id=0").status_code == 403
    assert nobody.get("/labels.csv").status_code == 403
    assert nobody.get("/").url.path == "/login"
    wrong = {"form": form_of(nobody.get("/login").text), "token": site.tokens["shop"]}
    assert nobody.post("/login", data=wrong, headers=ORIGIN).status_code == 403
    assert site.entries() == []


def test_only_who_may_takes_back_what_others_said(site: Site) -> None:
    ann, ben, lea = (site.browser(name) for name in ("ann", "ben", "lea"))
    decide(ann, "block")
    undo = fields(ann.get("/queue/near-0.2").text, "/undo")
    theirs = {**undo, "form": form_of(ben.get("/").text)}
    assert ben.post("/undo", data=theirs, headers=JSON).status_code == 403
    assert 'action="/undo"' not in ben.get("/log").text
    assert len(site.entries()) == 1
    assert lea.post("/undo", data=fields(lea.get("/log").text, "/undo"), headers=JSON).json() == {
        "next": "/log"
    }
    assert [(one.act, one.by) for one in site.entries()] == [
        (Act.BLOCK, "ann"),
        (Act.UNDO, "lea"),
    ]


def test_who_is_taken_out_of_the_file_is_out(site: Site) -> None:
    ann = site.browser("ann")
    file = site.settings.review.reviewers
    text = file.read_text()
    file.write_text(text.replace('["ann"]', '["amy"]'))
    assert "amy" in ann.get("/").text
    file.write_text(re.sub(r'\["ann"\][^[]*', "", text))
    assert ann.get("/queue/near-0.2").status_code == 403


def test_a_header_of_single_sign_on_counts_from_named_proxies_alone(site: Site) -> None:
    near = TestClient(site.app, base_url="http://127.0.0.1", client=("192.0.2.9", 1))
    far = TestClient(site.app, base_url="http://127.0.0.1", client=("198.51.100.9", 1))
    assert near.get("/log", headers={"X-User": "ann"}).status_code == 200
    assert near.get("/log", headers={"X-User": "nobody"}).status_code == 403
    assert near.get("/log", headers=[("X-User", "ann"), ("X-User", "lea")]).status_code == 403
    assert far.get("/log", headers={"X-User": "ann"}).status_code == 403


def test_answers_allow_nothing_from_elsewhere(site: Site) -> None:
    ann = site.browser("ann")
    for address in ("/", "/queue/near-0.2", "/log", "/facts", "/picture?id=0", "/assets/review.js"):
        headers = ann.get(address).headers
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; ")
        assert "unsafe" not in policy
        assert "http" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
    assert ann.get("/", headers={"Host": "rebound.example"}).status_code == 421
    assert ann.get("/assets/app.py").status_code == 404
    large = ann.post("/decide", content=b"x" * 300_000, headers=JSON)
    assert large.status_code == 413


HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>\u202egnp.exe" + "w" * 3000


def test_hostile_text_stays_text(site: Site) -> None:
    reference = "https://x.example/<svg onload=alert(3)>.png"
    hostile = {**document(200, 0.2), "title": HOSTILE, "image": [reference]}
    hostile["safety"] = {**document(200, 0.2)["safety"], "model": "<b>bold</b>"}  # type: ignore[dict-item]
    id = "<i>\"'&\u202e"
    site.client.index(index=site.index, id=id, document=hostile, refresh=True)
    lea = site.browser("lea")
    page = lea.get("/queue/near-0.2/item", params={"id": id}).text
    sent = fields(page, "/decide")
    answer = lea.post(
        "/decide", data={**sent, "act": "block", "reason": HOSTILE[:500]}, headers=JSON
    )
    assert answer.status_code == 200
    undone = lea.post("/undo", data=fields(lea.get("/log").text, "/undo"), headers=JSON)
    assert undone.status_code == 200
    assert site.entries()[0].item.id == id
    for text in (page, lea.get("/log").text, lea.get("/queue/near-0.2/many").text):
        assert not re.search(r"<(svg|i>|b>|img src=x|script>)", text)
        assert "w" * 501 not in text
    missing = lea.get("/queue/near-0.2/item", params={"id": HOSTILE[:100]})
    assert missing.status_code == 409
    assert "<script>alert" not in missing.text


def test_pictures_are_fetched_here_and_encoded_anew(site: Site) -> None:
    ann = site.browser("ann")
    answer = ann.get("/picture?id=5&place=0&frame=0")
    assert answer.headers["content-type"] == "image/webp"
    with Image.open(io.BytesIO(answer.content)) as picture:
        assert (picture.format, picture.size) == ("WEBP", (8, 8))
    with_map = ann.get("/picture?id=5&place=0&map=1")
    assert with_map.status_code == 200
    assert with_map.content != answer.content
    two = {**document(7, 0.2), "image": [data_uri(png(9)), "http://169.254.169.254/meta"]}
    site.client.index(index=site.index, id="two", document=two)
    inside = ann.get("/picture?id=two&place=1")
    assert inside.status_code == 422
    assert "169.254.169.254" in inside.text
    assert ann.get("/picture?id=two&place=2").status_code == 422
    assert ann.get("/picture?id=two&place=0&frame=9").status_code == 422
    page = ann.get("/queue/near-0.2/item?id=two").text
    assert page.count("<figure") == 2


def test_an_application_reports_and_the_queue_says_so(site: Site) -> None:
    shop = {"Authorization": f"Bearer {site.tokens['shop']}"}
    web = site.browser()
    answer = web.post("/reports", json={"id": "3", "reason": "rude", "by": "u7"}, headers=shop)
    assert (answer.status_code, answer.json()["new"]) == (201, True)
    assert web.post("/reports", json={"id": "3", "by": "u7"}, headers=shop).status_code == 200
    assert web.post("/reports", json={"id": "none"}, headers=shop).status_code == 409
    for wrong in ({}, {"id": 3}, [], {"id": "3", "reason": ["x"]}):
        assert web.post("/reports", json=wrong, headers=shop).status_code == 400
    ann = {"Authorization": f"Bearer {site.tokens['ann']}"}
    assert web.post("/reports", json={"id": "3"}, headers=ann).status_code == 403
    assert len(site.entries()) == 1
    site.client.indices.refresh(index=site.settings.review.work_index)
    page = site.browser("ann").get("/queue/reported").text
    assert 'data-item="3"' in page
    assert "shop/u7" in page
    assert "rude" in page


def test_labels_are_a_table_that_calibration_reads(site: Site) -> None:
    ann = site.browser("ann")
    decide(ann, "block", reason="=1+1")
    decide(ann, "allow")
    decide(ann, "skip")
    rows = list(csv.DictReader(io.StringIO(ann.get("/labels.csv").text)))
    assert sorted((row["id"], row["label"], row["drawn"]) for row in rows) == [
        ("0", "block", "near_threshold"),
        ("1", "allow", "near_threshold"),
    ]
    first = next(row for row in rows if row["id"] == "0")
    assert (first["probability"], first["reason"]) == ("0.2", "'=1+1")


def test_facts_count_what_was_decided(site: Site) -> None:
    ann = site.browser("ann")
    decide(ann, "block")
    decide(ann, "allow")
    page = ann.get("/facts").text
    assert "2 documents decided" in page
    assert "Nothing was audited yet" in page


def test_prometheus_reads_what_was_decided(site: Site) -> None:
    ann = site.browser("ann")
    decide(ann, "block")
    decide(ann, "allow")
    answer = ann.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    told = dict(line.rsplit(" ", 1) for line in answer.text.splitlines() if line[0] != "#")
    assert told["saferank_review_items_decided"] == "2.0"
    assert told['saferank_review_decisions{person="ann"}'] == "2.0"
    assert told['saferank_review_items_open{kind="waiting"}'] == "0.0"
    bands = ("saferank_review_band_blocked", "saferank_review_band_decided")
    sums = [
        sum(float(value) for name, value in told.items() if name.startswith(of)) for of in bands
    ]
    assert sums == [1.0, 2.0]
    assert site.browser(None).get("/metrics").status_code == 403


def test_two_browsers_are_never_shown_the_same_document(site: Site) -> None:
    shown: list[str] = []
    browsers = [site.browser("ann"), site.browser("ben")]
    while browsers:
        for browser in list(browsers):
            page = browser.get("/queue/near-0.2").text
            found = re.search(r'data-item="(\w+)"', page)
            if found is None:
                browsers.remove(browser)
                continue
            shown.append(found[1])
            sent = {**fields(page, "/decide"), "act": "block"}
            assert browser.post("/decide", data=sent, headers=JSON).status_code == 200
    assert len(shown) == len(set(shown)) == 30


def test_what_cannot_be_stored_says_so_and_is_stored_when_sent_again(site: Site) -> None:
    ann = site.browser("ann")
    sent = {**fields(ann.get("/queue/near-0.2").text, "/decide"), "act": "block"}
    site.client.indices.put_settings(
        index=site.settings.review.log_index, settings={"index.blocks.write": True}
    )
    answer = ann.post("/decide", data=sent, headers=JSON)
    assert answer.status_code == 503
    assert "does not serve a request" in answer.json()["error"]
    site.client.indices.put_settings(
        index=site.settings.review.log_index, settings={"index.blocks.write": False}
    )
    for _ in range(2):
        assert ann.post("/decide", data=sent, headers=JSON).status_code == 200
    assert len(site.entries()) == 1
    assert json.loads(sent["item"][0])["id"] == "0"
