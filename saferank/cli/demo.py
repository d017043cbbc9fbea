"""``saferank demo``: see it work on this machine, with everything real."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from saferank.cli.extras import needs_extra


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command()(demo)


def demo(
    words: Annotated[str, typer.Argument(help="Words to search the pictures' titles for.")] = (
        "warm red"
    ),
    page: Annotated[Path, typer.Option(help="Where to write the page.")] = Path(
        "saferank-demo.html"
    ),
    keep: Annotated[bool, typer.Option("--keep", help="Leave the local stack running.")] = False,
) -> None:
    """Score 50 harmless pictures with a real worker and search them at three levels."""
    with needs_extra("demo"):
        from saferank.demo.run import run
    run(words, page=page, keep=keep)
