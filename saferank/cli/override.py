"""``saferank override``: people's decisions about documents, where no write of them reaches."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from saferank.cli.extras import needs_extra
from saferank.cli.options import AsJson
from saferank.cli.output import print_rows, say
from saferank.connection import clear_errors, connect
from saferank.mappings.override_index import install_overrides, read_overrides
from saferank.mappings.overrides import HOLDS
from saferank.mappings.record import Override
from saferank.review.entries import Item
from saferank.review.operator import decide, overrides_index_of
from saferank.settings import get_settings

_override = typer.Typer(help="People's decisions about documents.", no_args_is_help=True)

_Index = Annotated[
    str, typer.Argument(metavar="INDEX", help="Index, or the alias that the application uses.")
]
_Id = Annotated[str, typer.Argument(metavar="ID", help="Id of the document.")]
_By = Annotated[str, typer.Option(help="Who decided.")]
_Reason = Annotated[str | None, typer.Option(help="Why.")]
_Routing = Annotated[str | None, typer.Option(help="The document's routing, if it has one.")]


def register(app: typer.Typer) -> None:
    """Add the group to the command line."""
    app.add_typer(_override, name="override")


@_override.command()
def install() -> None:
    """Create the index of overrides, which the setting names."""
    settings = get_settings()
    index = overrides_index_of(settings)
    with clear_errors(settings.elasticsearch_url), connect(settings) as client:
        install_overrides(client, index)
    say(f"index {index!r} keeps overrides; name it as 'overrides' in the policy, too")


@_override.command()
def block(
    index: _Index, id: _Id, by: _By, reason: _Reason = None, routing: _Routing = None
) -> None:
    """Hide a document, whatever its probability, also after it is written again."""
    _decide(index, id, Override.BLOCK, by, reason, routing)
    say(f"document {id!r} is blocked")


@_override.command()
def allow(
    index: _Index, id: _Id, by: _By, reason: _Reason = None, routing: _Routing = None
) -> None:
    """Show a document, whatever its probability, until its images change.

    With several categories, this applies to the first, or to all if 'override_field' is set.
    """
    _decide(index, id, Override.ALLOW, by, reason, routing)
    say(f"document {id!r} is allowed with the images that it has now")


@_override.command()
def remove(
    index: _Index,
    id: _Id,
    by: _By = "operator",
    reason: _Reason = None,
    routing: _Routing = None,
) -> None:
    """Remove all decisions about a document."""
    _decide(index, id, None, by, reason, routing)
    say(f"document {id!r} has no override")


@_override.command(name="list")
def list_all(as_json: AsJson = False) -> None:
    """Print all decisions."""
    settings = get_settings()
    with clear_errors(settings.elasticsearch_url), connect(settings) as client:
        overrides = read_overrides(client, overrides_index_of(settings))
    rows = (
        (index, id, one.override.value, one.by, one.at.isoformat(timespec="seconds"), one.reason)
        for index, documents in overrides.of.items()
        for id, one in documents.items()
    )
    print_rows(("index", "document", "override", "by", "at", "reason"), rows, as_json=as_json)


def _decide(
    index: str,
    id: str,
    decision: Override | None,
    by: str,
    reason: str | None,
    routing: str | None,
) -> None:
    """Note a decision in the review log, and wait until every search obeys it."""
    with needs_extra("indexer"):
        decide(Item(index, id, routing), decision, by, reason=reason, settings=get_settings())
    time.sleep(HOLDS)
