"""The ``saferank`` command: one module per group of commands, one place that reports errors."""

from __future__ import annotations

import importlib
import logging
import sys
from importlib.metadata import version
from typing import Annotated, NoReturn

import typer
from elastic_transport import TransportError
from elasticsearch import ApiError

from saferank.cli.examples import add_examples, join_lines
from saferank.cli.output import print_error
from saferank.errors import SaferankError

app = typer.Typer(
    name="saferank",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)

# Each module has ``register(app)``; it imports what needs an extra inside its commands.
_COMMAND_MODULES: tuple[str, ...] = (
    "stack",
    "mapping",
    "index",
    "import_scores",
    "worker",
    "score",
    "demo",
    "model",
    "net",
    "finetune",
    "backfill",
    "reindex",
    "rollback",
    "jobs",
    "search",
    "explain",
    "policy",
    "alias",
    "override",
    "known",
    "sample",
    "calibrate",
    "review",
    "review_log",
    "gateway",
    "health",
    "settings",
)

for _module in _COMMAND_MODULES:
    importlib.import_module(f"saferank.cli.{_module}").register(app)
add_examples(app)
join_lines(app)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"saferank {version('saferank')}")
        raise typer.Exit


@app.callback()
def saferank(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Safe search for images in Elasticsearch or OpenSearch.

    New here? Run 'saferank demo'. Settings come from SAFERANK_* variables and
    saferank.toml; 'saferank settings' shows them.
    """


def main() -> None:
    """Run the command; a known error is one sentence on standard error and exit code 1."""
    try:
        app()
    except SaferankError as error:
        _fail(str(error))
    except (ApiError, TransportError) as error:
        _fail(f"Elasticsearch does not serve a request: {error}")


def _fail(reason: str) -> NoReturn:
    if any(handler.name == "saferank" for handler in logging.getLogger().handlers):
        # A command that logs says all that it says in its log.
        logging.getLogger("saferank").critical(reason)
    else:
        print_error(reason)
    sys.exit(1)
