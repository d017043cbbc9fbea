"""The example applications of web frameworks, with a real node and a real broker."""

from __future__ import annotations

import html
import importlib.util
import io
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from brightness import png
from elasticsearch import Elasticsearch
from fastapi.testclient import TestClient
from flask.testing import FlaskClient
from photos import EACH, SHOWN, fill, score_queued

from saferank.settings import Settings, get_settings

Caplog = pytest.LogCaptureFixture
EXAMPLES = Path(__file__).parents[2] / "examples"


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # Flask looks for its templates beside it.
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def photos(client: Elasticsearch, photo_settings: Settings, photo_folder: Path) -> Iterator[None]:
    fill(client, example("photo_index").MAPPINGS, photo_folder)
    yield
    client.indices.delete(index="photos", ignore_unavailable=True)


@pytest.fixture
def fastapi(photos: None) -> Iterator[TestClient]:
    with TestClient(example("fastapi_photos").app) as browser:
        yield browser


def kinds(photos: Iterable[str]) -> list[str]:
    return [photo.rstrip("0123456789") for photo in photos]


def ids(photos: Iterable[dict[str, Any]]) -> list[str]:
    return [photo["id"] for photo in photos]


def test_fastapi_shows_what_the_chosen_level_shows(fastapi: TestClient) -> None:
    answer = fastapi.get("/search", params={"words": "cat"})
    assert answer.headers["cache-control"] == "private"
    page = answer.json()
    assert page["total"] == 4 * EACH
    assert page["tags"] == dict.fromkeys(SHOWN["moderate"], EACH)
    shown = {
        (kind, photo["blur"])
        for kind, photo in zip(kinds(ids(page["photos"])), page["photos"], strict=True)
    }
    assert ("plain", False) in shown
    assert shown <= {("plain", False), ("low", False), ("medium", True), ("waiting", False)}
    for level in SHOWN:
        fastapi.post(f"/levels/{level}")
        assert fastapi.get("/search").json()["tags"] == dict.fromkeys(SHOWN[level], EACH)
        assert fastapi.get("/levels").json() == {name: name == level for name in SHOWN}


def test_fastapi_takes_an_unknown_choice_for_none_and_a_child_s_for_strict(
    fastapi: TestClient,
) -> None:
    fastapi.post("/levels/banana")
    assert fastapi.get("/levels").json() == {"off": False, "moderate": True, "strict": False}
    assert fastapi.get("/search").json()["total"] == 4 * EACH
    fastapi.post("/levels/off")
    child = {"x-audience": "child"}
    assert fastapi.get("/levels", headers=child).json() == {"strict": True}
    assert fastapi.get("/search", headers=child).json()["total"] == EACH


def test_fastapi_scrolls_to_the_end_and_begins_anew_at_another_level(fastapi: TestClient) -> None:
    first = fastapi.get("/search", params={"words": "cat"}).json()
    second = fastapi.get("/search", params={"words": "cat", "after": first["next"]}).json()
    assert (first["first"], second["first"]) == (True, False)
    both = ids(first["photos"] + second["photos"])
    assert len(both) == len(set(both)) == 4 * EACH
    last = fastapi.get("/search", params={"words": "cat", "after": second["next"]}).json()
    assert (last["photos"], last["next"]) == ([], None)
    for level, total in (("strict", EACH), ("off", 5 * EACH)):
        fastapi.post(f"/levels/{level}")
        anew = fastapi.get("/search", params={"words": "cat", "after": first["next"]}).json()
        assert (anew["first"], anew["total"]) == (True, total)
    assert fastapi.get("/search", params={"after": "banana"}).json()["first"] is True


def test_fastapi_s_detail_page_tells_nothing_that_is_not_for_visitors(fastapi: TestClient) -> None:
    page = fastapi.get("/photos/medium0").json()
    assert page.keys() == {"id", "title", "tag", "file", "address", "blur", "waiting", "related"}
    assert page["blur"] is True
    assert page["related"]
    assert set(kinds(ids(page["related"]))) <= SHOWN["moderate"]
    for hidden in ("high0", "missing"):
        answer = fastapi.get(f"/photos/{hidden}")
        assert (answer.status_code, answer.json()) == (404, {"error": "Not Found"})
    fastapi.post("/levels/off")
    assert fastapi.get("/photos/high0").json()["title"] == "cat high high0"


def test_fastapi_completes_to_what_may_be_seen(fastapi: TestClient) -> None:
    assert fastapi.get("/suggestions", params={"words": "cat hi"}).json() == []
    assert fastapi.get("/suggestions", params={"words": "cat medium1"}).json() == [
        "cat medium medium1"
    ]


def test_fastapi_queues_an_upload_which_waits_until_it_is_scored(
    fastapi: TestClient, client: Elasticsearch, photo_settings: Settings, photo_folder: Path
) -> None:
    form = {"title": "dog", "tag": "dogs"}
    answer = fastapi.post("/photos", data=form, files={"picture": ("a.png", png(255), "image/png")})
    assert answer.status_code == 202
    client.indices.refresh(index="photos")
    (meanwhile,) = fastapi.get("/search", params={"words": "dog"}).json()["photos"]
    assert (meanwhile["id"], meanwhile["waiting"]) == (answer.json()["id"], True)
    assert fastapi.get(meanwhile["address"]).content == png(255)
    assert score_queued(client, photo_settings, photo_folder) == [answer.json()["id"]]
    assert fastapi.get("/search", params={"words": "dog"}).json()["photos"] == []
    page = {"picture": ("a.html", b"<script>", "text/html")}
    assert fastapi.post("/photos", data=form, files=page).status_code == 415


def test_fastapi_takes_an_upload_while_the_broker_is_away(
    fastapi: TestClient, photo_settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: Caplog
) -> None:
    monkeypatch.setenv("SAFERANK_BROKER_URL", "redis://127.0.0.1:1/0")
    get_settings.cache_clear()
    form = {"title": "dog", "tag": "dogs"}
    answer = fastapi.post("/photos", data=form, files={"picture": ("a.png", png(1), "image/png")})
    get_settings.cache_clear()
    assert answer.status_code == 202
    assert f"photo {answer.json()['id']} was not queued: the broker at" in caplog.text


def test_fastapi_keeps_the_reason_of_a_failure_for_the_log(
    fastapi: TestClient, client: Elasticsearch, caplog: Caplog
) -> None:
    client.indices.delete(index="photos")
    answer = fastapi.get("/search")
    assert (answer.status_code, answer.json()) == (500, {"error": "Internal Server Error"})
    assert "no such index [photos]" in caplog.text


@pytest.fixture
def flask(photos: None) -> Iterator[FlaskClient]:
    module = example("flask_photos")
    with module.client, module.app.test_client() as browser:
        yield browser


def photos_of(page: str) -> list[str]:
    """Ids of the photos on a page, in order."""
    return re.findall(r'href="/photos/(\w+)"', page)


def choices_of(page: str) -> dict[str, bool]:
    """The levels to choose among, and whether each holds."""
    found = re.findall(r'<button name="level" value="(\w+)"( disabled)?', page)
    return {level: bool(holds) for level, holds in found}


def test_flask_shows_what_the_chosen_level_shows(flask: FlaskClient) -> None:
    for level, shown in SHOWN.items():
        flask.post("/level", data={"level": level})
        page = flask.get("/?words=cat").text
        assert choices_of(page) == {name: name == level for name in SHOWN}
        assert set(re.findall(r"<option value=\"(\w+)\" >\1 \(6\)", page)) == shown
        assert f"<p>{len(shown) * EACH} photos</p>" in page
    flask.post("/level", data={"level": "banana"})
    answer = flask.get("/")
    assert choices_of(answer.text) == {"off": False, "moderate": True, "strict": False}
    assert answer.headers["cache-control"] == "private"
    flask.post("/level", data={"level": "off"})
    page = flask.get("/", headers={"x-audience": "child"}).text
    assert (choices_of(page), set(kinds(photos_of(page)))) == ({"strict": True}, {"plain"})


def test_flask_pages_end_and_begin_anew_at_another_level(flask: FlaskClient) -> None:
    addresses: list[str] = ["/?words=cat"]
    pages: list[list[str]] = []
    while len(addresses) > len(pages):
        page = flask.get(addresses[-1]).text
        pages.append(photos_of(page))
        addresses += map(html.unescape, re.findall(r'rel="next" href="([^"]+)"', page))
    assert [len(page) for page in pages] == [12, 12, 0]
    assert len({photo for page in pages for photo in page}) == 4 * EACH
    flask.post("/level", data={"level": "strict"})
    first, second = (photos_of(flask.get(address).text) for address in addresses[:2])
    assert first == second
    assert len(first) == EACH


def test_flask_blurs_and_says_what_waits(flask: FlaskClient) -> None:
    page = flask.get("/photos/medium0").text
    assert '<label class="saferank-blur"><input type="checkbox"' in page
    assert "file:" not in page
    unblurred, _, _ = flask.get("/photos/plain0").text.partition("<h2>")
    assert "saferank-blur" not in unblurred
    assert "(not checked yet)" in flask.get("/photos/waiting0").text
    assert [flask.get(f"/photos/{name}").status_code for name in ("high0", "nix")] == [404, 404]
    assert flask.get("/suggestions?words=cat+high").json == []
    assert flask.get("/suggestions?words=cat+low0").json == ["cat low low0"]


def test_flask_queues_an_upload(
    flask: FlaskClient, client: Elasticsearch, photo_settings: Settings, photo_folder: Path
) -> None:
    form = {"title": "dog", "tag": "dogs", "picture": (io.BytesIO(png(255)), "a.png", "image/png")}
    assert flask.post("/photos", data=form).status_code == 202
    client.indices.refresh(index="photos")
    page = flask.get("/?words=dog").text
    assert "dog</a> (not checked yet)" in page
    assert score_queued(client, photo_settings, photo_folder) == photos_of(page)
    assert photos_of(flask.get("/?words=dog").text) == []
