"""The example application with Django, with a real node and a real broker."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import django
import pytest
from brightness import png
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import call_command
from django.db import transaction
from django.test import Client
from elasticsearch import Elasticsearch
from elasticsearch.dsl import connections
from photos import EACH, SAFETY, SHOWN, score_queued

from saferank.mappings import add_to_index
from saferank.settings import Settings

EXAMPLE = Path(__file__).parents[2] / "examples" / "django_photos"


@pytest.fixture(scope="module")
def gallery(photo_settings: Settings) -> Iterator[Any]:
    """The application's models, with an empty database."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(EXAMPLE))
        patch.setenv("DJANGO_SETTINGS_MODULE", "gallery.settings")
        django.setup()
        call_command("migrate", verbosity=0)
        yield sys.modules["gallery.models"]
        connections.remove_connection("default")


@pytest.fixture
def browser(gallery: Any, client: Elasticsearch, photo_folder: Path) -> Iterator[Client]:
    """A visitor of the application, whose index has ``EACH`` photos of every kind."""
    client.indices.delete(index="photos", ignore_unavailable=True)
    call_command("search_index", "--create", "--force", verbosity=0)
    add_to_index(client, "photos")
    photos = [
        gallery.Photo(title=f"cat {kind} {kind}{number}", tag=kind, picture=f"{kind}{number}.png")
        for kind in SAFETY
        for number in range(EACH)
    ]
    for photo in gallery.Photo.objects.bulk_create(photos):
        (photo_folder / photo.picture.name).write_bytes(png(photo.pk))
    call_command("search_index", "--populate", "--force", "--refresh", verbosity=0)
    scores = {kind: safety for kind, safety in SAFETY.items() if safety is not None}
    for photo in gallery.Photo.objects.filter(tag__in=scores):
        safety = scores[photo.tag]
        client.update(index="photos", id=str(photo.pk), doc={"safety": safety})
    client.indices.refresh(index="photos")
    yield Client()
    client.indices.delete(index="photos")
    gallery.Photo.objects.all().delete()


def text(browser: Client, address: str) -> str:
    return browser.get(address).content.decode()


def kinds_on(page: str) -> list[str]:
    """Of the photos on a page, in order: their titles begin with ``cat KIND``."""
    return re.findall(r'<a href="/photos/\d+">cat (\w+)', page)


def choices_on(page: str) -> dict[str, bool]:
    """The levels to choose among, and whether each holds."""
    found = re.findall(r'<button name="level" value="(\w+)"( disabled)?', page)
    return {level: bool(holds) for level, holds in found}


def test_it_shows_what_the_chosen_level_shows(browser: Client) -> None:
    for level, shown in SHOWN.items():
        browser.post("/level", {"level": level})
        page = text(browser, "/?words=cat")
        assert choices_on(page) == {name: name == level for name in SHOWN}
        assert set(re.findall(r"(\w+) \(6\)</option>", page)) == shown
        assert f"<p>{len(shown) * EACH} photos</p>" in page
    browser.post("/level", {"level": "banana"})
    answer = browser.get("/")
    assert choices_on(answer.content.decode()) == {"off": False, "moderate": True, "strict": False}
    assert answer["Cache-Control"] == "private"
    browser.post("/level", {"level": "off"})
    session = browser.session
    session["audience"] = "child"
    session.save()
    browser.cookies["sessionid"] = str(session.session_key)
    page = text(browser, "/")
    assert (choices_on(page), set(kinds_on(page))) == ({"strict": True}, {"plain"})


def test_its_pages_end_and_begin_anew_at_another_level(browser: Client) -> None:
    addresses: list[str] = ["/?words=cat"]
    pages: list[list[str]] = []
    while len(addresses) > len(pages):
        page = text(browser, addresses[-1])
        pages.append(re.findall(r'href="/photos/(\d+)"', page))
        found = re.findall(r'rel="next" href="([^"]+)"', page)
        addresses += [f"/{address.replace('&amp;', '&')}" for address in found]
    assert [len(page) for page in pages] == [12, 12, 0]
    assert len({photo for page in pages for photo in page}) == 4 * EACH
    browser.post("/level", {"level": "strict"})
    first, second = (kinds_on(text(browser, address)) for address in addresses[:2])
    assert first == second == ["plain"] * EACH


def test_it_blurs_and_says_what_waits_and_has_no_hidden_page(browser: Client, gallery: Any) -> None:
    first = {kind: gallery.Photo.objects.filter(tag=kind).first().pk for kind in SAFETY}
    page = text(browser, f"/photos/{first['medium']}")
    assert 'class="saferank-blur"' in page
    assert "file:" not in page
    assert set(kinds_on(page)) <= SHOWN["moderate"]
    shown, _, related = text(browser, f"/photos/{first['plain']}").partition("<h2>")
    assert 'class="saferank-blur"' not in shown
    assert kinds_on(related)
    assert "(not checked yet)" in text(browser, f"/photos/{first['waiting']}")
    for hidden in (first["high"], 987_654_321):
        answer = browser.get(f"/photos/{hidden}")
        assert (answer.status_code, answer.content) == (404, b"Not Found")
    assert browser.get("/suggestions?words=cat+high").json() == []
    assert len(browser.get("/suggestions?words=cat+lo").json()) == EACH


def test_a_save_keeps_the_score_and_what_people_decided(
    browser: Client,
    gallery: Any,
    client: Elasticsearch,
    photo_settings: Settings,
    photo_folder: Path,
) -> None:
    photo = gallery.Photo.objects.filter(tag="low").first()
    client.update(index="photos", id=str(photo.pk), doc={"safety": {"override": "block"}})
    photo.title = "another title"
    photo.save()
    source = client.get(index="photos", id=str(photo.pk))["_source"]
    assert source["title"] == "another title"
    assert (source["safety"]["override"], source["safety"]["probability"]) == ("block", 0.3)
    assert browser.get(f"/photos/{photo.pk}").status_code == 404
    assert score_queued(client, photo_settings, photo_folder) == [str(photo.pk)]
    source = client.get(index="photos", id=str(photo.pk))["_source"]
    assert source["safety"]["override"] == "block"


def test_an_upload_is_indexed_and_queued_once_the_database_has_it(
    browser: Client,
    gallery: Any,
    client: Elasticsearch,
    photo_settings: Settings,
    photo_folder: Path,
) -> None:
    def form(name: str = "a.png") -> dict[str, Any]:
        return {"title": "dog", "tag": "dogs", "picture": SimpleUploadedFile(name, png(255))}

    with transaction.atomic():
        browser.post("/upload", form())
        transaction.set_rollback(True)
    assert "<p>0 photos</p>" in text(browser, "/?words=dog")
    assert "Thank you" not in browser.post("/upload", form("a.html")).content.decode()
    assert "Thank you" in browser.post("/upload", form()).content.decode()
    uploaded = gallery.Photo.objects.get(title="dog")
    page = text(browser, "/?words=dog")
    assert f'<a href="/photos/{uploaded.pk}">dog</a> (not checked yet)' in page
    assert score_queued(client, photo_settings, photo_folder) == [str(uploaded.pk)]
    assert "<p>0 photos</p>" in text(browser, "/?words=dog")
