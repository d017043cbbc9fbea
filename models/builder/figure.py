"""Accuracy against multiply-adds against parameters, as a picture and as a page.

Needs matplotlib and Jinja (``saferank[plots]``).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from saferank.models.builder.comparison import Compared
from saferank.plots import as_png, as_svg, render


def draw(nets: Sequence[Compared]) -> Figure:
    """Draw each net as a disc: its area is the number of parameters."""
    figure = Figure(figsize=(11, 6), layout="constrained")
    axes = figure.add_subplot()
    axes.scatter(
        [net.cost.multiply_adds / 1e6 for net in nets],
        [net.accuracy for net in nets],
        # 1 million parameters are 30 square points, so that the smallest net can still be seen.
        [net.cost.parameters / 1e6 * 30 for net in nets],
        color="#3b6ea5",
        edgecolor="black",
        alpha=0.5,
    )
    # A number fits where a name would cover its neighbours.
    for number, net in enumerate(nets, start=1):
        axes.annotate(
            str(number), (net.cost.multiply_adds / 1e6, net.accuracy), ha="center", va="center"
        )
    names = "\n".join(
        f"{number}  {net.net}, {net.cost.parameters / 1e6:.1f} M"
        for number, net in enumerate(nets, start=1)
    )
    axes.text(1.02, 1, names, transform=axes.transAxes, va="top", fontsize=8)
    axes.set_xscale("log")
    axes.set_xlabel("multiply-adds of one image, millions (logarithmic)")
    axes.set_ylabel("accuracy")
    axes.set_title("Accuracy against multiply-adds; the area is the number of parameters")
    axes.margins(0.12)
    axes.grid(visible=True, alpha=0.3)
    return figure


def render_png(nets: Sequence[Compared]) -> bytes:
    """The picture as a file."""
    return as_png(draw(nets))


def render_page(nets: Sequence[Compared]) -> str:
    """A page that needs no other file: the picture and the table behind it."""
    template = Path(__file__).with_name("comparison.html")
    return render(template, nets=nets, picture=as_svg(draw(nets)))
