"""``saferank known``: pictures about which something was decided, for all documents with copies."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from elasticsearch import Elasticsearch

from saferank.cli.extras import needs_extra
from saferank.cli.indices import check_ready
from saferank.cli.options import AsJson
from saferank.cli.output import print_rows, say
from saferank.connection import clear_errors, connect
from saferank.errors import ConfigurationError
from saferank.mappings.known import DECISIONS
from saferank.mappings.known_index import KnownIndex
from saferank.mappings.known_lists import HashKind, read_list
from saferank.mappings.record import Override
from saferank.settings import Settings, get_settings

_known = typer.Typer(
    help="Known pictures, whose copies are blocked or allowed.", no_args_is_help=True
)

_List = Annotated[str, typer.Option("--list", help="Name of the list that it belongs to.")]
_By = Annotated[str, typer.Option(help="Who decided this.")]
_Reason = Annotated[str | None, typer.Option(help="Why.")]


def register(app: typer.Typer) -> None:
    """Add the group to the command line."""
    app.add_typer(_known, name="known")


@_known.command()
def install() -> None:
    """Create the index of known pictures, which the setting names."""
    settings = get_settings()
    with clear_errors(settings.elasticsearch_url), connect(settings) as client:
        _index(client, settings).install()
    say(f"index {settings.known!r} keeps known pictures")


@_known.command()
def add(
    pictures: Annotated[
        list[Path], typer.Argument(metavar="PICTURE...", help="Files of pictures.", exists=True)
    ],
    by: _By,
    list_name: _List = "pictures",
    decision: Annotated[Override, typer.Option(help="Decision about copies.")] = Override.BLOCK,
    reason: _Reason = None,
) -> None:
    """Add known pictures: their copies are found by bytes, and for 'block' also when altered.

    Altered copies are those that are resized, re-encoded, grey, mirrored, rotated, or cropped by up
    to a twentieth. Existing documents follow with 'saferank known apply'.
    """
    settings = get_settings()
    with needs_extra("indexer"):
        from saferank.indexer.known_pictures import picture_in
    found = [
        picture_in(path, settings.decode, decision, _origin(list_name), by, reason)
        for path in pictures
    ]
    with clear_errors(settings.elasticsearch_url), connect(settings) as client:
        known = _index(client, settings)
        known.install()
        known.put(found)
    for path, one in zip(pictures, found, strict=True):
        looks = f"{len(one.hashes)} hashes" if one.hashes else "the same bytes alone"
        say(f"{one.id}: {path.name}, found by {looks}")


@_known.command(name="import")
def import_list(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Text, one picture a line.")],
    list_name: Annotated[str, typer.Option("--list", help="Name of the list.")],
    by: _By,
    kind: Annotated[HashKind, typer.Option(help="What stands first in each line.")] = HashKind.PDQ,
    decision: Annotated[Override, typer.Option(help="Decision about copies.")] = Override.BLOCK,
    mirrored: Annotated[
        bool,
        typer.Option("--mirrored", help="Find mirrored copies, too, by PDQ; look-ups take longer."),
    ] = False,
    reason: _Reason = None,
) -> None:
    """Import a list of hashes: 64 hexadecimal digits on each line, then anything after a comma.

    In a PDQ list, a number after the first comma is the quality; lines below 50 are skipped. Lines
    that begin with '#' are skipped too.
    """
    settings = get_settings()
    pictures = read_list(
        file,
        kind,
        decision=decision,
        origin=_origin(list_name),
        by=by,
        reason=reason,
        mirrored=mirrored,
    )
    with clear_errors(settings.elasticsearch_url), connect(settings) as client:
        known = _index(client, settings)
        known.install()
        count = known.put(pictures)
    say(f"{count} pictures of the list {list_name!r} are known")


@_known.command(name="list")
def list_all(
    list_name: Annotated[
        str | None, typer.Option("--list", help="Print all pictures of this list.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print how many pictures are known, by list; or the pictures of one list."""
    settings = get_settings()
    with clear_errors(settings.elasticsearch_url), connect(settings) as client:
        known = _index(client, settings)
        known.changes()
        if list_name is None:
            counts = sorted(known.counts().items())
            rows = ((*named, count) for named, count in counts)
            print_rows(("list", "decision", "pictures"), rows, as_json=as_json)
        else:
            pictures = (
                (
                    one.id,
                    one.decision.value,
                    one.by,
                    one.at.isoformat(timespec="seconds"),
                    one.reason,
                )
                for one in known.of_origin(list_name)
            )
            print_rows(("id", "decision", "by", "at", "reason"), pictures, as_json=as_json)


@_known.command()
def remove(
    ids: Annotated[
        list[str] | None, typer.Argument(metavar="[ID]...", help="Ids, as 'list' prints them.")
    ] = None,
    list_name: Annotated[
        str | None, typer.Option("--list", help="Remove all pictures of this list.")
    ] = None,
) -> None:
    """Remove known pictures; their copies follow with 'saferank known apply'."""
    if not ids and list_name is None:
        raise typer.BadParameter("name the ids to remove, or a list with --list")
    settings = get_settings()
    with clear_errors(settings.elasticsearch_url), connect(settings) as client:
        known = _index(client, settings)
        known.changes()
        wanted = list(ids or ())
        if list_name is not None:
            wanted += [one.id for one in known.of_origin(_origin(list_name))]
        for id in wanted:
            if id.startswith(f"{DECISIONS}:"):
                raise ConfigurationError(
                    f"{id!r} was decided about a document; take that back instead, in the review "
                    "or with 'saferank override remove'"
                )
        count = known.remove(wanted)
    say(f"{count} known pictures were removed")


@_known.command()
def apply(index: Annotated[str, typer.Argument(help="Index or alias.", metavar="INDEX")]) -> None:
    """Apply what is known now to the documents of an index, without scoring them again.

    For documents that were scored before pictures became known, or before decisions applied to
    copies. You can stop it and run it again at any time.
    """
    settings = get_settings()
    with clear_errors(settings.elasticsearch_url), connect(settings) as client:
        known = _index(client, settings)
        known.changes()
        check_ready(client, index, settings)
        with needs_extra("indexer"):
            from saferank.indexer.copies import Copies
        copies = Copies.of(client, settings)
        count = 0 if copies is None else copies.match_all(index)
    say(f"{count} documents of index {index!r} were changed")


def _index(client: Elasticsearch, settings: Settings) -> KnownIndex:
    known = KnownIndex.of(client, settings)
    if known is None:
        raise ConfigurationError(
            "no index of known pictures is named; set SAFERANK_KNOWN, for example to saferank-known"
        )
    return known


def _origin(list_name: str) -> str:
    if list_name == DECISIONS:
        raise ConfigurationError(
            f"{DECISIONS!r} are what was decided about documents; name the list otherwise"
        )
    return list_name
