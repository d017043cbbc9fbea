"""Look at the demo's page in Chromium, wide and narrow, light and dark, and take its picture.

    python tests/browser/demo.py saferank-demo.html [--axe AXE.MIN.JS] [--picture]

Needs playwright (``pip install --group browser``) and Debian's chromium; axe-core comes from npm.
Prints what was seen, and ends with 1 where something is not as it must be.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from demo_page import PICTURE, sources_digest
from playwright.sync_api import Browser, sync_playwright

WIDE, NARROW = 1400, 400
# What fits into the README: the explanation, the legend, and the first hits of each level.
PICTURE_SIZE: Any = {"width": 1280, "height": 1000}
LEVELS = ("off", "moderate", "strict")


def look(browser: Browser, address: str, axe: Path | None) -> list[str]:
    """What is wrong with the page, in sentences."""
    faults = []
    for scheme in ("light", "dark"):
        for width in (WIDE, NARROW):
            view: Any = {"width": width, "height": 900}
            page = browser.new_page(viewport=view, color_scheme=scheme)
            page.goto(address)
            where = f"{scheme}, {width} px"
            if page.evaluate("document.documentElement.scrollWidth") > width:
                faults.append(f"{where}: it is wider than the window")
            for chosen in LEVELS if width == NARROW else ("moderate",):
                if width == NARROW:
                    page.locator(".switch label", has_text=chosen).click()
                seen = [name for name in LEVELS if page.get_by_label(f"Level {name}").is_visible()]
                if seen != ([chosen] if width == NARROW else [*LEVELS]):
                    faults.append(f"{where}: with {chosen} chosen one sees {seen}")
            if axe is not None:
                page.add_script_tag(path=axe)
                page.evaluate("document.querySelector('details').open = true")
                found = page.evaluate("async () => await axe.run()")
                faults += [
                    f"{where}: axe-core: {one['id']}: {one['help']}: "
                    f"{[node['html'][:120] for node in one['nodes'][:3]]}"
                    for one in found["violations"]
                ]
                print(f"{where}: {len(found['passes'])} rules of axe-core passed")
            page.close()
    return faults


def main() -> None:
    """Look, and take the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("page", type=Path)
    parser.add_argument("--axe", type=Path)
    parser.add_argument("--picture", action="store_true", help=f"write {PICTURE.name}")
    asked = parser.parse_args()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox"]
        )
        address = asked.page.resolve().as_uri()
        faults = look(browser, address, asked.axe)
        if asked.picture:
            page = browser.new_page(viewport=PICTURE_SIZE, color_scheme="light")
            page.goto(address)
            page.screenshot(path=PICTURE)
            PICTURE.with_suffix(".sha256").write_text(f"{sources_digest()}\n")
        browser.close()
    print("\n".join(faults) or "nothing is wrong")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
