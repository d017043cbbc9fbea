"""``saferank score``: probabilities of image files, without any service."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from saferank.cli.extras import needs_extra
from saferank.cli.options import ModelOption
from saferank.cli.output import make_console, print_error, say
from saferank.errors import ErrorCode, ImageError, SaferankError
from saferank.mappings.record import Status, status_of
from saferank.settings import get_settings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

    from saferank.models import Model
    from saferank.settings import DecodeSettings


class RuntimeChoice(StrEnum):
    """What runs the classifier."""

    ONNX = "onnx"
    CAFFE = "caffe"


@dataclass(frozen=True, slots=True)
class _Line:
    """What is printed about one image; the keys of the JSON object."""

    image: str
    probability: float | None
    model: str
    status: Status
    error: str | None
    cause: str | None
    width: int | None
    height: int | None
    frames: int | None


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command()(score)


def score(
    images: Annotated[
        list[Path], typer.Argument(metavar="IMAGE...", help="Image files.", show_default=False)
    ],
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object a line instead of a table.")
    ] = False,
    reference: Annotated[
        bool,
        typer.Option(
            "--reference",
            help="Read images as Yahoo's original code does: first frame, pixels as stored.",
        ),
    ] = False,
    explain: Annotated[
        bool,
        typer.Option(
            "--explain",
            help="Also write IMAGE.explained.png beside each image: red parts raise the "
            "probability, blue parts lower it.",
        ),
    ] = False,
    model: ModelOption = None,
    runtime: Annotated[RuntimeChoice, typer.Option(help="What runs the model.")] = (
        RuntimeChoice.ONNX
    ),
) -> None:
    """Score image files; of several frames, the highest probability counts.

    The exit code is 0 when all images were scored and 1 when some were not.
    """
    settings = get_settings()
    with needs_extra("indexer"):
        from saferank.models import load_model

        loaded = load_model(model or settings.model, runtime=runtime.value, threads=0)
    lines = []
    for path in images:
        line = _score(path, loaded, settings.decode, reference=reference, explain=explain)
        lines.append(line)
        if as_json:
            # As plain text: rich would break long lines and colour the numbers.
            typer.echo(json.dumps(asdict(line), ensure_ascii=False))
            if line.cause:
                print_error(f"{path}: {line.cause}")
    if not as_json:
        make_console().print(_table(lines))
        say(f"model {loaded.identity}")
    if any(line.status is not Status.SCORED for line in lines):
        raise typer.Exit(1)


def _score(
    path: Path, model: Model, settings: DecodeSettings, *, reference: bool, explain: bool
) -> _Line:
    """Score one file."""
    import numpy as np

    from saferank.indexer.decode import decode, decode_reference
    from saferank.models.frames import of_pictures

    try:
        data = read_image(path)
        if reference:
            image = decode_reference(data, settings)
            pictures, places, frames, (width, height) = [image], [0], 1, image.size
        else:
            decoded = decode(data, settings)
            pictures, places = decoded.pictures, decoded.places
            frames = len(decoded.frames)
            width, height = decoded.width, decoded.height
        blobs = np.stack([model.preprocess(picture) for picture in pictures])
        probabilities = model.probabilities(blobs)
        probability = of_pictures(model.frame_rule, probabilities.tolist(), places, frames)
        highest = int(probabilities.argmax())
    except ImageError as error:
        status = status_of(error.code)
        nothing = (None, None, None)
        return _Line(
            str(path), None, model.identity, status, error.code.value, str(error), *nothing
        )
    if explain:
        _write_explained(path, pictures[highest], blobs[highest], model)
    return _Line(
        str(path), probability, model.identity, Status.SCORED, None, None, width, height, frames
    )


def _write_explained(
    path: Path, picture: Image.Image, blob: NDArray[np.float32], model: Model
) -> None:
    """Write the picture that decided, with what the positive class has over the others."""
    from saferank.models.explained import evidence_of, explained

    evidence = evidence_of(blob, model)
    target = path.with_name(f"{path.name}.explained.png")
    try:
        explained(picture, evidence, model.description.input).save(target)
    except OSError as error:
        raise SaferankError(f"{target} cannot be written: {error.strerror}") from error


def read_image(path: Path) -> bytes:
    """Read an image file.

    Raises:
        ImageError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise ImageError(ErrorCode.NOT_FOUND, "there is no such file") from error
    except OSError as error:
        raise ImageError(
            ErrorCode.UNREACHABLE, f"the file cannot be read: {error.strerror}"
        ) from error


def _table(lines: list[_Line]) -> Table:
    table = Table()
    table.add_column("image", overflow="fold")
    table.add_column("probability", justify="right")
    table.add_column("size", justify="right")
    table.add_column("frames", justify="right")
    table.add_column("", overflow="fold")
    for line in lines:
        if line.probability is None:
            table.add_row(
                escape(line.image),
                "",
                "",
                "",
                f"[red]{line.error}[/red]: {escape(line.cause or '')}",
            )
        else:
            table.add_row(
                escape(line.image),
                f"{line.probability:.4f}",
                f"{line.width}x{line.height}",
                str(line.frames),
                "",
            )
    return table
