"""Figures as files and in pages that need no other file.

Needs matplotlib and Jinja (``saferank[plots]``).
"""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
import matplotlib as mpl

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def as_png(figure: Figure) -> bytes:
    """The figure as a PNG file, 150 dots an inch."""
    drawn = BytesIO()
    figure.savefig(drawn, format="png", dpi=150)
    return drawn.getvalue()


def as_svg(figure: Figure) -> str:
    """The figure as an SVG element; its texts stay text."""
    drawn = BytesIO()
    # Otherwise names of elements are random, and texts are drawn as shapes.
    with mpl.rc_context({"svg.hashsalt": "saferank", "svg.fonttype": "none"}):
        figure.savefig(drawn, format="svg")
    text = drawn.getvalue().decode()
    return text[text.index("<svg") :]


def render(template: Path, **values: Any) -> str:
    """Fill in a Jinja template; what is no markup of its own is escaped.

    Args:
        template: the file.
        values: what it shows. SVG elements are marked safe there.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(template.parent), autoescape=True
    )
    return environment.get_template(template.name).render(**values)
