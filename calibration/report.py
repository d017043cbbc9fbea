"""The report of a calibration: a page that needs no other file, and its pictures."""

from __future__ import annotations

from pathlib import Path

from saferank.calibration.calibrate import METHOD, Result
from saferank.calibration.figures import draw
from saferank.calibration.live import UNLIKELY
from saferank.errors import SaferankError
from saferank.mappings.float32 import shortest
from saferank.plots import as_png, as_svg, render

HARDEST = 20
"""Examples that the page names."""
MOST_MOVED = 20
"""Documents that the page names of those that change sides at one threshold."""


def write_report(folder: Path, result: Result) -> Path:
    """Write ``report.html`` and the figures as PNG.

    Args:
        folder: to write to; made when missing.
        result: what to show.

    Returns:
        The path of the page.

    Raises:
        SaferankError: the folder cannot be written.
    """
    figures = draw(result)
    page = render(
        Path(__file__).with_name("report.html"),
        result=result,
        method=METHOD,
        unlikely=UNLIKELY,
        pictures={name: as_svg(figure) for name, figure in figures.items()},
        hardest=result.hardest(HARDEST),
        most_moved=MOST_MOVED,
        short=shortest,
    )
    path = folder / "report.html"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, figure in figures.items():
            (folder / f"{name}.png").write_bytes(as_png(figure))
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise SaferankError(f"{folder} cannot be written: {error.strerror}") from error
    return path
