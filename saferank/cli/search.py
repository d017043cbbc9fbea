"""``saferank search``: what a request would get at a level or in a context."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from elasticsearch import Elasticsearch
from rich.console import Console, JustifyMethod
from rich.table import Table
from rich.text import Text

from saferank.cli.indices import index_named
from saferank.cli.options import ContextOption, PolicyOption, parse_context
from saferank.cli.output import make_console, print_json, warn
from saferank.connection import clear_errors, connect
from saferank.ranker import SafeSearch, load_policy
from saferank.settings import get_settings

Json = dict[str, Any]


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command()(search)


def search(
    index: Annotated[str, typer.Argument(help="Index, alias or pattern.")],
    text: Annotated[str, typer.Argument(help="Words to search for; '' finds everything.")],
    level: Annotated[str | None, typer.Option(help="Search at this level.")] = None,
    context: ContextOption = None,
    policy: PolicyOption = None,
    field: Annotated[
        list[str] | None,
        typer.Option(help="A field to search; may be repeated.", show_default="all fields"),
    ] = None,
    size: Annotated[int, typer.Option(min=0, max=1000, help="Number of hits.")] = 10,
    as_json: Annotated[bool, typer.Option("--json", help="Print the response as JSON.")] = False,
) -> None:
    """Search an index under a policy and show what was done to each hit."""
    if level is not None and context:
        raise typer.BadParameter("give either --level or --context")
    settings = get_settings()
    loaded = load_policy(policy or settings.policy)
    arguments: Json = {"index": index, "query": _query(text, field), "size": size}
    with (
        clear_errors(settings.elasticsearch_url),
        connect(settings) as client,
        index_named(index),
    ):
        safe = SafeSearch(client, loaded)
        safe = safe.bind(parse_context(context)) if level is None else safe.at_level(level)
        response = safe.search(**arguments, track_total_hits=True)
        missing = [] if response["hits"]["hits"] else _unknown_fields(client, index, field or [])
    if as_json:
        print_json(response.body)
    else:
        _print(response.body, make_console(), field or [])
    for name in missing:
        warn(f"index {index!r} has no field {name!r}, so nothing is found in it")


def _query(text: str, fields: list[str] | None) -> Json:
    if not text.strip():
        return {"match_all": {}}
    return {"multi_match": {"query": text, "fields": fields or ["*"], "lenient": True}}


def _unknown_fields(client: Elasticsearch, index: str, fields: list[str]) -> list[str]:
    """Those of the fields to search that the index does not have."""
    names = [name.partition("^")[0] for name in fields if "*" not in name]
    if not names:
        return []
    known = client.field_caps(index=index, fields=names)["fields"]
    return [name for name in names if name not in known]


def _print(response: Json, console: Console, fields: list[str]) -> None:
    summary = response["saferank"]
    total = response["hits"]["total"]["value"]
    hits = "hit" if total == 1 else "hits"
    table = Table(title=f"{total} {hits} at level {summary['level']!r}", title_justify="left")
    found = [(hit, hit["saferank"]) for hit in response["hits"]["hits"]]
    narrow = console.width < _WIDE
    by_category = not narrow and any("category" in told for _, told in found)
    columns = [name for name in _COLUMNS if not (narrow and name in _REASONS)]
    for name in columns:
        # The ids and the content give way, not the figures.
        bends = name in ("document", "content")
        heads = found[0][1]["probabilities"] if by_category and name == "probability" else [name]
        for head in heads:
            table.add_column(head, justify=_COLUMNS[name], no_wrap=not bends)
    for rank, (hit, told) in enumerate(found, start=1):
        why = told["rule"].replace("_", " ")
        if "category" in told and told["action"] != "shown":
            why = f"{told['category']}: {why}"
        values = told["probabilities"].values() if by_category else [told["probability"]]
        cells: dict[str, list[Text | str]] = {
            "#": [str(rank)],
            "document": [_line(hit["_id"])],
            "score": [f"{hit['_score']:.4g}"],
            "probability": ["-" if value is None else f"{value:.3f}" for value in values],
            "factor": [f"{told['factor']:.3g}"],
            "action": [
                told["action"]
                + (", blurred" if told["blur"] and told["action"] != "blurred" else "")
            ],
            "because of": [why],
            "content": [_line(_summary_of(hit.get("_source", {}), fields))],
        }
        table.add_row(*(cell for name in columns for cell in cells[name]))
    console.print(table)
    if narrow:
        console.print(f"Why each is where it is: in a window of {_WIDE} columns, or with --json.")


def _line(text: str) -> Text:
    return Text(text, no_wrap=True, overflow="ellipsis")


_WIDE = 100
"""Columns of a terminal that has room for all columns of the table."""
_REASONS = ("factor", "because of")


_COLUMNS: dict[str, JustifyMethod] = {
    "#": "right",
    "document": "left",
    "score": "right",
    "probability": "right",
    "factor": "right",
    "action": "left",
    "because of": "left",
    "content": "left",
}


def _summary_of(source: Json, fields: list[str]) -> str:
    """The first text of a document, of the fields that were searched if it has one, shortened."""
    values = [*map(source.get, fields), *source.values()]
    texts = [value for value in values if isinstance(value, str)]
    text = texts[0] if texts else ""
    return text if len(text) <= 50 else f"{text[:49]}…"
