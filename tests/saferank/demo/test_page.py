from __future__ import annotations

import re

import pytest
from demo_page import PICTURE, ROOT, sources_digest
from PIL import Image

from saferank.demo.page import Column, Credit, Onward, Row, axis, render

SHOWN = Row("b", "Second <title>", 0.01, "shown", False, "", 1.0, 4.0, 1, 2)
WHY = "probability 0.05 ≥ demote_from 0.02"
DEMOTED = Row("a", "First", 0.05, "demoted", True, WHY, 0.4, 2.0, 2, 1)
BLURRED = Row("d", "Fourth", 0.01, "blurred", True, "unscored", 1.0, 1.0, 3, 4)
WHY_NOT = "probability 0.4 ≥ hide_from 0.2"
HIDDEN = Row("c", "Third", 0.4, "hidden", False, WHY_NOT, None, None, None, 3)


def _page() -> str:
    return render(
        query="red & warm",
        columns=[
            Column("moderate", "rules", 0.02, None, 0.2, (SHOWN, DEMOTED, BLURRED), (HIDDEN,))
        ],
        credits=[
            Credit(row.name, row.title, "somebody", "CC0", row.probability)
            for row in (SHOWN, DEMOTED, BLURRED, HIDDEN)
        ],
        pictures={name: Image.new("RGB", (40, 30), "red") for name in "abcd"},
        policy="levels: {}",
        facts={"Model": "m"},
        onward=[
            Onward("First: ", "the tutorial", "docs/tutorial.md"),
            Onward("Then: ", "more (docs/more.md)", None),
        ],
    )


def test_it_needs_nothing_from_elsewhere() -> None:
    page = _page()
    assert not re.search(r"<script|<link|@import|src=", page)
    assert re.findall(r'href="([^"]*)"', page) == ["docs/tutorial.md"]
    assert re.findall(r"url\(([^),]+)", page) == ["data:image/webp;base64"] * 4


def test_hits_are_in_ranked_order_and_say_what_happened() -> None:
    hits = re.findall(r'<li class="hit ([\w ]+)">\s*<span class="rank">(\d+)</span>', _page())
    assert hits == [("shown", "1"), ("demoted blur", "2"), ("blurred blur", "3")]
    page = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", _page()))
    assert "First: the tutorial Then: more (docs/more.md)" in re.sub(" ?\\n ?", " ", page)
    assert "3 hits 2 blurred 1 demoted 1 hidden" in page
    assert "demoted × 0.40 , was 1, blurred: probability 0.05 ≥ demote_from 0.02" in page
    assert "Fourth probability 0.0100 blurred : unscored" in page
    assert "Second &lt;title&gt; probability 0.0100 shown, up from 2" in page
    assert (
        "Hidden at this level Third probability 0.4000 was 3: probability 0.4 ≥ hide_from 0.2"
        in page
    )


def test_bars_and_ticks_share_one_scale() -> None:
    bars = re.findall(
        r'<i style="width:([\d.]+)%"></i><b class="demote" style="left:([\d.]+)%">', _page()
    )
    assert bars == [(width, "5.00") for width in ("2.50", "12.50", "2.50", "100.00")]


def test_text_is_escaped() -> None:
    assert "“red &amp; warm”" in _page()
    assert "<title>First" not in _page()
    assert "Second <title>" not in _page()


@pytest.mark.parametrize(
    ("end", "numbers"),
    [
        (0.2131, [0, 0.1, 0.2]),
        (1.0, [0, 0.5, 1]),
        (0.01, [0, 0.005, 0.01]),
        (0.09, [0, 0.02, 0.04, 0.06, 0.08]),
    ],
)
def test_the_axis_has_round_numbers_up_to_its_end(end: float, numbers: list[float]) -> None:
    assert axis(end) == numbers


def test_a_level_can_be_chosen_where_there_is_room_for_one_column() -> None:
    page = _page()
    assert (
        page.count('<input type="radio" name="level"') == page.count('<section class="column"') == 1
    )
    assert page.count(" checked>") == 1


def test_the_picture_of_the_readme_is_of_the_page_as_it_is() -> None:
    """If not: ``make picture``."""
    assert (PICTURE.with_suffix(".sha256")).read_text() == f"{sources_digest()}\n"
    assert PICTURE.relative_to(ROOT).as_posix() in (ROOT / "README.md").read_text()
