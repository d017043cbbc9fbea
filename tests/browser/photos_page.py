"""The page of the example with FastAPI in Chromium: scrolling, a change of level, blurred pictures.

    PYTHONPATH=tests/support python tests/browser/photos_page.py [--pictures FOLDER]

Needs playwright (``pip install --group browser``) and Debian's chromium. Prints what was seen, and
ends with 1 at the first thing that is not as it must be.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import uvicorn
from elasticsearch import Elasticsearch
from photos import EACH, SHOWN, fill
from playwright.sync_api import Page, expect, sync_playwright

from saferank.local.elasticsearch import start_node
from saferank.local.folders import temporary_folder
from saferank.local.processes import free_port

EXAMPLES = Path(__file__).parents[2] / "examples"


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The application, with a filled index on a node of its own."""
    node = start_node(folder)
    try:
        pictures = folder / "photos"
        pictures.mkdir()
        with Elasticsearch(node.url, request_timeout=60) as client:
            fill(client, example("photo_index").MAPPINGS, pictures)
        os.environ |= {"SAFERANK_ELASTICSEARCH_URL": node.url, "PHOTOS": str(pictures)}
        port = free_port()
        application = example("fastapi_photos").app
        server = uvicorn.Server(uvicorn.Config(application, port=port, log_level="warning"))
        thread = threading.Thread(target=server.run)
        thread.start()
        while not server.started:
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
        server.should_exit = True
        thread.join()
    finally:
        node.stop()


def kinds(page: Page) -> set[str]:
    titles = page.locator("figcaption").all_text_contents()
    return {title.split()[1] for title in titles}


def filter_of(page: Page, title: str) -> str:
    return str(page.get_by_alt_text(title).evaluate("image => getComputedStyle(image).filter"))


def scroll_to_the_end(page: Page, total: int) -> None:
    figures = page.locator("figure")
    for _ in range(20):
        page.mouse.wheel(0, 50_000)
        page.wait_for_timeout(250)
        if figures.count() == total:
            break
    expect(figures).to_have_count(total)


def look(page: Page, pictures: Path | None) -> None:
    def keep(name: str) -> None:
        if pictures is not None:
            page.screenshot(path=pictures / f"{name}.png")

    expect(page.get_by_role("status")).to_have_text(f"{4 * EACH} photos")
    scroll_to_the_end(page, 4 * EACH)
    assert kinds(page) == SHOWN["moderate"]
    waiting = page.get_by_text("(not checked yet)")
    assert waiting.count() == EACH
    keep("moderate")
    print(f"scrolled to the end: {4 * EACH} photos, {waiting.count()} not checked yet")

    assert filter_of(page, "cat medium medium0") == "blur(24px)"
    assert filter_of(page, "cat plain plain0") == "none"
    page.get_by_label("Show: cat medium medium0").check()
    assert filter_of(page, "cat medium medium0") == "none"
    print("a blurred picture is shown when its box is ticked")

    for level in ("strict", "off"):
        page.get_by_label("Safe search").select_option(level)
        total = len(SHOWN[level]) * EACH
        expect(page.get_by_role("status")).to_have_text(f"{total} photos")
        scroll_to_the_end(page, total)
        assert kinds(page) == SHOWN[level]
        keep(level)
        print(f"changed to {level} in the middle: {total} photos, of {sorted(kinds(page))}")

    page.get_by_label("Words").fill("cat hi")
    expect(page.locator("#suggestions option")).to_have_count(EACH)
    page.get_by_label("Safe search").select_option("strict")
    page.get_by_label("Words").fill("cat hig")
    expect(page.locator("#suggestions option")).to_have_count(0)
    print("completions are those of the level")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=Path, help="folder for screenshots")
    options = parser.parse_args()
    chromium = shutil.which("chromium")
    assert chromium is not None, "install Debian's chromium"
    with temporary_folder() as folder, served(folder) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for name, width in (("wide", 1200), ("narrow", 420)):
            page = browser.new_page(viewport={"width": width, "height": 600})
            page.goto(address)
            print(f"-- {name}, {width} px")
            look(page, options.pictures and options.pictures / name)
            page.context.close()
        browser.close()


if __name__ == "__main__":
    main()
