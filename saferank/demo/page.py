"""The demo's result as one self-contained HTML page."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

_THUMBNAIL = (240, 180)
_FIRST_PAGE = 12


@dataclass(frozen=True, slots=True)
class Row:
    """One document under one level.

    Args:
        name: id of the document.
        title: its title.
        probability: as stored, or None.
        action: ``shown``, ``blurred``, ``demoted`` or ``hidden``.
        blur: whether it is to be blurred, as a demoted one can be, too.
        why: the reason in words.
        factor: what the relevance was multiplied by; None when hidden.
        score: the resulting score; None when hidden.
        rank: 1-based place in this level's list; None when hidden.
        rank_when_off: 1-based place without safe search.
    """

    name: str
    title: str
    probability: float | None
    action: str
    blur: bool
    why: str
    factor: float | None
    score: float | None
    rank: int | None
    rank_when_off: int

    @property
    def moved(self) -> int:
        """How many places the document moved up (positive) or down against ``off``."""
        return 0 if self.rank is None else self.rank_when_off - self.rank


@dataclass(frozen=True, slots=True)
class Column:
    """The search at one level: its ranked hits, and what it hid, in the order of ``off``."""

    level: str
    in_words: str
    demote_from: float | None
    blur_from: float | None
    hide_from: float | None
    hits: tuple[Row, ...]
    hidden: tuple[Row, ...]

    @property
    def ticks(self) -> list[tuple[float, str]]:
        """The level's thresholds, each with what begins there."""
        found = {"demote": self.demote_from, "blur": self.blur_from, "hide": self.hide_from}
        return [(threshold, kind) for kind, threshold in found.items() if threshold is not None]

    @property
    def blurred(self) -> int:
        """How many hits were blurred, demoted ones among them."""
        return sum(row.blur for row in self.hits)

    @property
    def demoted(self) -> int:
        """How many hits were demoted."""
        return sum(row.action == "demoted" for row in self.hits)


@dataclass(frozen=True, slots=True)
class Onward:
    """A page to read next; its address is None where it is not there."""

    before: str
    name: str
    address: str | None


@dataclass(frozen=True, slots=True)
class Credit:
    """Who made a picture, and how it may be used."""

    name: str
    title: str
    source: str
    licence: str
    probability: float | None


def render(
    *,
    query: str,
    columns: Sequence[Column],
    credits: Sequence[Credit],
    pictures: Mapping[str, Image.Image],
    policy: str,
    facts: Mapping[str, str],
    onward: Sequence[Onward] = (),
) -> str:
    """Return the page.

    Args:
        query: the words searched for.
        columns: the results, from the loosest level to the strictest.
        credits: one for every picture of the index.
        pictures: the pictures by name.
        policy: text of the policy file.
        facts: what ran, name and value, for the foot of the page.
        onward: what to read next.
    """
    template = Environment(
        loader=PackageLoader("saferank.demo", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    ).get_template("page.html")
    stored = [credit.probability for credit in credits if credit.probability is not None]
    thresholds = [column.hide_from for column in columns if column.hide_from is not None]
    bar_end = max([*stored, *thresholds, 0.01])
    return template.render(
        query=query,
        columns=columns,
        credits=sorted(credits, key=lambda credit: -(credit.probability or 0)),
        thumbnails={name: _data_uri(picture) for name, picture in pictures.items()},
        policy=policy,
        facts=facts,
        first_page=_FIRST_PAGE,
        bar_end=bar_end,
        axis=axis(bar_end),
        onward=onward,
    )


def axis(end: float) -> list[float]:
    """Round numbers from 0 to an end, at most six of them."""
    step = 10.0 ** math.floor(math.log10(end))
    while end / step > 5:
        step *= 2
    while end / step < 2:
        step /= 2
    return [round(step * number, 12) for number in range(math.floor(end / step + 1e-9) + 1)]


def write(path: Path, page: str) -> None:
    """Write the page whole: a reader never sees half of it."""
    partial = path.with_suffix(path.suffix + ".tmp")
    partial.write_text(page, encoding="utf-8")
    partial.replace(path)


def _data_uri(picture: Image.Image) -> str:
    thumbnail = picture.copy()
    thumbnail.thumbnail(_THUMBNAIL)
    buffer = io.BytesIO()
    thumbnail.save(buffer, "WEBP", quality=80)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()
