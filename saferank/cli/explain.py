"""``saferank explain``: why a document is shown, demoted or hidden, for whoever is asked that."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Annotated, Any

import typer

from saferank.cli.indices import index_named
from saferank.cli.options import AsJson, ContextOption, PolicyOption, parse_context
from saferank.cli.output import make_console, print_json, say, whole_table
from saferank.connection import clear_errors, connect
from saferank.errors import MappingError
from saferank.mappings.fields import SafetyFields
from saferank.mappings.override_index import indices_of
from saferank.mappings.overrides import OverrideRecord, override_in
from saferank.mappings.paths import values_at
from saferank.mappings.record import ImageRecord, Override, StoredRecord, reference_name
from saferank.ranker import Policy, load_policy
from saferank.ranker.level.explanation import Explanation
from saferank.ranker.level.verdicts import Action, Rule
from saferank.ranker.policy.tools import explain_context
from saferank.ranker.why import Why, because, why
from saferank.review.entries import Act, Entry, Item
from saferank.review.log import Log
from saferank.settings import get_settings

Json = dict[str, Any]


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command()(explain)


def explain(
    index: Annotated[str, typer.Argument(help="Index, alias or pattern.")],
    id: Annotated[str, typer.Argument(metavar="ID", help="Id of the document.")],
    level: Annotated[str | None, typer.Option(help="Only at this level.")] = None,
    context: ContextOption = None,
    policy: PolicyOption = None,
    as_json: AsJson = False,
) -> None:
    """Say why a document is shown, blurred, demoted or hidden: at each level, or in a context.

    Also shows what is stored about its images and what people decided. Exits with 1 when there is
    no such document.
    """
    if level is not None and context:
        raise typer.BadParameter("give either --level or --context")
    settings = get_settings()
    loaded = load_policy(policy or settings.policy)
    asked = None if context is None else explain_context(loaded, parse_context(context))
    names = list(loaded.levels) if level is None else [level]
    decisions = [asked.decision] if asked else [loaded.decision_for(name) for name in names]
    with (
        clear_errors(settings.elasticsearch_url),
        connect(settings) as client,
        index_named(index),
    ):
        found = why(client, index, id, loaded, decisions)
        log = Log(client, settings.review.log_index)
        names_of = [_names(indices_of(client, index), index, one) for one in found]
        said = [_entries(log, names_, one) for names_, one in zip(names_of, found, strict=True)]
    if as_json:
        print_json([_as_json(one, entries) for one, entries in zip(found, said, strict=True)])
        return
    for step in asked.steps if asked else ():
        say(f"{step[0].upper()}{step[1:]}.")
    for one, entries, (called, *_) in zip(found, said, names_of, strict=True):
        _print(one, entries, loaded, called)


def _names(indices: Mapping[str, Any], asked: str, one: Why) -> list[str]:
    """Names that people may have decided under; first the one that commands take."""
    aliases = indices[one.index]["aliases"]
    whole = sorted(name for name, alias in aliases.items() if "filter" not in alias)
    return list(dict.fromkeys([*(name for name in whole if name == asked), *whole, one.index]))


def _entries(log: Log, names: list[str], one: Why) -> list[Entry]:
    """What the review log has about a document, the oldest first; nothing where there is no log."""
    found: list[Entry] = []
    with suppress(MappingError):
        for chain in log.chains([Item(name, one.id) for name in names]).values():
            found += chain
    return sorted(found, key=lambda entry: entry.at)


def _print(one: Why, entries: list[Entry], policy: Policy, called: str) -> None:
    say(f"Document {one.id!r} of index {one.index!r}")
    for name, part in policy.by_category().items():
        of = "" if name is None else f"{name}: "
        for line in _stored(one, part.fields):
            say(f"  {of}{line}")
    if one.override is not None:
        say(f"  {_override(one.override)}, in index {policy.overrides!r}")
    for entry in entries:
        say(f"  {_entry(entry)}")
    table = whole_table("level", "what becomes of it", "because")
    for told in one.explanations:
        blurred = ", blurred" if told.blur and told.action is not Action.BLURRED else ""
        factor = f" to {told.factor:.3g} of its relevance" if told.action is Action.DEMOTED else ""
        table.add_row(told.level_name, f"{told.action}{factor}{blurred}", because(told))
    make_console().print(table)
    for line in dict.fromkeys(_advice(one, policy, called)):
        say(line)


def _stored(one: Why, fields: SafetyFields) -> Iterator[str]:
    """What a document says about itself, in words, of one category."""
    values: object = next(values_at(one.source, fields.root), None)
    stored = StoredRecord(values if isinstance(values, dict) else {})
    status = stored.values.get("status")
    if status is None and stored.model is None:
        yield "no worker has stored a score"
    else:
        when = "" if stored.scored_at is None else f" at {stored.scored_at:%Y-%m-%d %H:%M:%S} UTC"
        statuses = ", ".join(map(str, status)) if isinstance(status, list) else status
        yield f"status {statuses}, by {stored.model}{when}"
    for image in stored.images:
        yield f"image {_image(image)}"
    if (override := override_in(one.source, fields.override_object)) is not None:
        yield f"{_override(override)}, in the document"
    match = stored.values.get("matched")
    if match is not None and fields.matches:
        yield f"matched: {match}, {_known(stored.values.get('matched_by'))}"


def _image(image: ImageRecord) -> str:
    reference = reference_name(image.reference)
    if image.error is not None:
        return f"{reference}: {image.error.value}: {image.cause or 'no cause is stored'}"
    return f"{reference}: {image.probability:.4g}"


def _override(override: OverrideRecord) -> str:
    why_ = "" if override.reason is None else f" ({override.reason})"
    return f"override {override.override} by {override.by} at {_time(override)}{why_}"


def _time(what: OverrideRecord | Entry) -> str:
    return what.at.isoformat(sep=" ", timespec="seconds")


def _known(by: object) -> str:
    if not isinstance(by, dict):
        return "because of a copy"
    near = by.get("distance")
    how = "the same bytes as" if near is None else f"{near} bits from"
    origin = f" of {by['origin']}" if by.get("origin") else ""
    return f"{how} known picture {by.get('known')}{origin}"


def _entry(entry: Entry) -> str:
    what = f"undo of entry {entry.undoes}" if entry.act is Act.UNDO else str(entry.act)
    reason = "" if entry.reason is None else f" ({entry.reason})"
    return f"review log, entry {entry.number}: {what} by {entry.by} at {_time(entry)}{reason}"


def _advice(one: Why, policy: Policy, called: str) -> Iterator[str]:
    """What changes it, for each rule that hides, demotes or blurs it.

    Args:
        one: the document.
        policy: under which it was explained.
        called: the name of its index that commands take.
    """
    for told in one.explanations:
        if told.action is not Action.SHOWN:
            yield _change(one, policy, told, called)


def _change(one: Why, policy: Policy, told: Explanation, called: str) -> str:
    part = policy.by_category()[told.category]
    shown = f"saferank override allow {called} {one.id} --by NAME"
    if told.rule is Rule.BLOCKED:
        people = one.override or override_in(one.source, part.fields.override_object)
        if people is not None and people.override is Override.BLOCK:
            return f"To take the block back: saferank override remove {called} {one.id}"
        return f"It is blocked as a copy. To show this document all the same: {shown}"
    if told.rule is Rule.UNSCORED:
        model = next(values_at(one.source, part.fields.model), None)
        if model is not None and part.model is not None and model != part.model:
            return (
                f"The policy counts scores of {part.model} alone. To score by it: "
                f"saferank backfill {called} --only stale"
            )
        return f"To score it now: saferank index {called} {one.id}"
    if told.rule in (Rule.FAILED, Rule.NOT_READ):
        return (
            "The image's cause says what to change. To try again then: "
            f"saferank index {called} {one.id}"
        )
    if told.rule is Rule.NO_IMAGE:
        return "SAFERANK_IMAGE_FIELD names the field that its image is looked for in."
    return f"To show it whatever its probability: {shown}"


def _as_json(one: Why, entries: list[Entry]) -> Json:
    return {
        "index": one.index,
        "id": one.id,
        "explanations": [{**told.to_dict(), "because": because(told)} for told in one.explanations],
        "override": None if one.override is None else one.override.to_document(),
        "entries": [entry.to_document() for entry in entries],
        "source": one.source,
    }
