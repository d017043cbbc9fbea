"""``saferank net``: build nets from blocks, count them, and compare them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from saferank.cli.extras import needs_extra
from saferank.cli.files import write_file
from saferank.cli.options import AsJson
from saferank.cli.output import make_console, print_rows, say

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from saferank.models.builder.comparison import Compared
    from saferank.models.builder.cost import Cost

_net = typer.Typer(
    help="Build nets from blocks, count what they cost, and compare them.", no_args_is_help=True
)

_Classes = Annotated[
    int | None,
    typer.Option(min=1, help="Outputs of the last layer.", show_default="as published"),
]


def register(app: typer.Typer) -> None:
    """Add the group to the command line."""
    app.add_typer(_net, name="net")


@_net.command("list")
def list_(as_json: AsJson = False) -> None:
    """List the nets that can be built."""
    with needs_extra("indexer"):
        from saferank.models.builder import NETS
    rows = ((net.name, f"3 x {net.size} x {net.size}", net.source) for net in NETS.values())
    print_rows(("net", "input", "published in"), rows, as_json=as_json)


@_net.command()
def build(
    name: Annotated[str, typer.Argument(help="One of 'saferank net list'.", show_default=False)],
    out: Annotated[
        Path | None, typer.Option(help="Folder to write to.", show_default="the net's name")
    ] = None,
    classes: _Classes = None,
    classifier: Annotated[
        str | None,
        typer.Option(
            help="Name of the last layer. One that a caffemodel does not have starts anew when "
            "the net is fine-tuned from it.",
            show_default="as published",
        ),
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Images in a step, in train.prototxt.")] = 32,
    weights: Annotated[
        bool,
        typer.Option("--weights", help="Also draw first weights: initial.caffemodel."),
    ] = False,
    seed: Annotated[int, typer.Option(help="Seed of the first weights.")] = 0,
) -> None:
    """Write deploy.prototxt and train.prototxt, which Caffe loads as they are."""
    with needs_extra("indexer"):
        from google.protobuf import text_format

        from saferank.models.builder import Classifier, deploy_net, find_net, train_net
        from saferank.models.builder.cost import as_prototxt
        from saferank.models.builder.fill import fill
    net = find_net(name)
    last = Classifier(classes or net.classes, classifier)
    folder = out or Path(net.name)
    deploy = deploy_net(net, last)

    def text(message: Message) -> bytes:
        return text_format.MessageToString(message).encode()

    write_file(folder / "deploy.prototxt", text(deploy))
    write_file(folder / "train.prototxt", text(train_net(net, last, batch=batch)))
    if weights:
        drawn = fill(as_prototxt(deploy), seed=seed)
        write_file(folder / "initial.caffemodel", drawn.SerializeToString())


@_net.command()
def cost(
    net: Annotated[
        str,
        typer.Argument(
            metavar="NAME|PROTOTXT", help="A net to build, or a prototxt.", show_default=False
        ),
    ],
    shape: Annotated[
        list[str] | None,
        typer.Option(
            metavar="BLOB=NxCxHxW", help="An input's shape that wins over the one in the prototxt."
        ),
    ] = None,
) -> None:
    """Count parameters, multiply-adds and memory of each layer; no weights are needed."""
    with needs_extra("indexer"):
        from saferank.models.builder.cost import cost_of
    shapes = dict(_shape(text) for text in shape or ())
    _print_cost(cost_of(net, shapes=shapes))


def _shape(text: str) -> tuple[str, tuple[int, ...]]:
    name, _, sizes = text.rpartition("=")
    numbers = sizes.split("x")
    if not name or not all(number.isdecimal() and int(number) > 0 for number in numbers):
        raise typer.BadParameter(f"{text!r} is not like data=1x3x224x224", param_hint="--shape")
    return name, tuple(map(int, numbers))


def _print_cost(cost: Cost) -> None:
    table = Table("layer", "type", "output", title=escape(cost.name))
    for column in ("parameters", "multiply-adds", "activations, bytes"):
        table.add_column(column, justify="right", no_wrap=True)
    for layer in cost.layers:
        table.add_row(
            escape(layer.name),
            layer.type,
            ", ".join("x".join(map(str, shape)) for shape in layer.shapes),
            f"{layer.parameters:,}" if layer.parameters else "",
            f"{layer.multiply_adds:,}" if layer.multiply_adds else "",
            f"{layer.activation_bytes:,}" if layer.activation_bytes else "in place",
        )
    table.add_section()
    table.add_row(
        "all",
        "",
        "",
        *map("{:,}".format, (cost.parameters, cost.multiply_adds, cost.activation_bytes)),
    )
    make_console().print(table)
    say(
        f"as pynetbuilder counts: {cost.published_parameters / 1e6:.6f} M parameters, "
        f"{cost.published_multiply_adds / 1e6:.6f} M multiply-adds"
    )


@_net.command()
def compare(
    results: Annotated[
        Path | None,
        typer.Argument(
            metavar="RESULTS.csv",
            help="Columns: net (a name or a prototxt), accuracy (0 to 1), measured, source.",
            show_default="what was published of the nets that can be built",
        ),
    ] = None,
    page: Annotated[Path, typer.Option(help="Where to write the page.")] = Path("nets.html"),
    png: Annotated[Path, typer.Option(help="Where to write the picture.")] = Path("nets.png"),
) -> None:
    """Plot accuracy against multiply-adds and parameters, and print the table."""
    with needs_extra("plots"):
        from saferank.models.builder.comparison import PUBLISHED, read_results
        from saferank.models.builder.figure import render_page, render_png
    nets = read_results(results or PUBLISHED)
    _print_comparison(nets)
    write_file(page, render_page(nets))
    write_file(png, render_png(nets))


def _print_comparison(nets: Sequence[Compared]) -> None:
    table = Table("net")
    for column in ("accuracy", "multiply-adds, M", "parameters, M"):
        table.add_column(column, justify="right")
    for net in nets:
        table.add_row(
            escape(net.net),
            f"{net.accuracy:.4f}",
            f"{net.cost.multiply_adds / 1e6:,.2f}",
            f"{net.cost.parameters / 1e6:,.2f}",
        )
    make_console().print(table)
