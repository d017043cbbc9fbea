"""``saferank policy``: check a policy file and see what it says."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from saferank.cli.files import read_json_object
from saferank.cli.options import AsJson, ContextOption, parse_context
from saferank.cli.output import make_console, print_json, say, warn, whole_table
from saferank.cli.what_if import what_if
from saferank.errors import ModelNotFound, PolicyError
from saferank.ranker import Policy, load_policy
from saferank.ranker.client.every_level import check_request
from saferank.ranker.level.level import Treatment
from saferank.ranker.policy.tools import diff as policy_diff
from saferank.ranker.policy.tools import explain_context, json_schema
from saferank.settings import get_settings

_policy = typer.Typer(help="Check, explain and compare policy files.", no_args_is_help=True)

_File = Annotated[Path | None, typer.Argument(help="Policy file.", show_default="SAFERANK_POLICY")]


def register(app: typer.Typer) -> None:
    """Add the group to the command line."""
    app.add_typer(_policy, name="policy")
    _policy.command()(what_if)


@_policy.command()
def check(
    file: _File = None,
    request: Annotated[
        list[Path] | None,
        typer.Option(help="JSON file with the body of a search; may be repeated."),
    ] = None,
) -> None:
    """Check a policy file, and whether every level accepts the given requests.

    Names the first fault of the file with its line. Exits with 1 when a level refuses a request, or
    when a threshold lies where the model in use is not exact.
    """
    path = file or get_settings().policy
    policy = load_policy(path)
    if inexact := inexact_thresholds(policy, get_settings().model):
        raise PolicyError(f"{path}: {'; '.join(inexact)}")
    levels, rules = len(policy.levels), len(policy.contexts)
    say(f"{path} is right: {levels} levels, {rules} context rules")
    for level in hides_all(policy):
        warn(
            f"level {level!r} hides every document that has a probability, since its hide_from is "
            "0; to hide one kind of content, name the probability from which a picture is of it"
        )
    taken = True
    for name in request or ():
        refused = check_request(read_json_object(name, "the body of a search"), policy)
        taken = taken and not refused
        for level, error in refused.items():
            say(f"{name}: at level {level!r}: {error}")
        if not refused:
            say(f"{name}: every level takes it")
    if not taken:
        raise typer.Exit(1)


def hides_all(policy: Policy) -> list[str]:
    """Names of the levels that hide whatever was scored, which is hardly ever meant."""
    return [
        name
        for name in policy.levels
        if any(category.level.hide_from == 0 for category in policy.decision_for(name).categories)
    ]


def inexact_thresholds(policy: Policy, model: str) -> list[str]:
    """Thresholds within the margin of the policy's model and of the one that is set.

    Args:
        policy: whose thresholds.
        model: a built-in name or the path of a description; one that is not on this machine, or a
            machine without the indexer's packages, says nothing.
    """
    from saferank.models.description import load_description, margin_of

    margins = []
    with suppress(ModelNotFound):
        fast = load_description(model)[0].fast
        margins = [] if fast is None else [fast.margin]
    found = []
    for one in policy.by_category().values():
        named = None if one.model is None else margin_of(one.model)
        known = [*margins, *([] if named is None else [named])]
        found += one.thresholds_within(max(known)) if known else []
    return found


@_policy.command()
def show(file: _File = None, as_json: AsJson = False) -> None:
    """Show the levels and the context rules of a policy."""
    policy = load_policy(file or get_settings().policy)
    if as_json:
        print_json(policy.model_dump(mode="json"))
        return
    console = make_console()
    console.print(_levels(policy))
    console.print(_contexts(policy))
    demotion = policy.demotion
    say(f"demotion: {demotion.curve}, down to {demotion.floor:g} of the relevance")
    for name, one in policy.by_category().items():
        of = "" if name is None else f"{name}: "
        say(f"{of}fields: {one.fields.probability}, {one.fields.override}")
        if one.model is not None:
            say(f"{of}model: {one.model}; scores of others do not count")
    kept = "the documents" if policy.overrides is None else f"index {policy.overrides}"
    of_copies = "count, too" if policy.matched else "do not count"
    say(f"overrides: in {kept}; decisions about copies {of_copies}")


@_policy.command()
def explain(
    file: _File = None,
    context: ContextOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print only the query clauses.")] = False,
) -> None:
    """Say which rule decides about a request, at which level, and with which query clauses."""
    policy = load_policy(file or get_settings().policy)
    told = explain_context(policy, parse_context(context))
    clauses = {"hidden": told.must_not, "blurred": told.blurred, "demoted": told.functions}
    if as_json:
        print_json(clauses)
        return
    for step in told.steps:
        say(f"{step[0].upper()}{step[1:]}.")
    for name, queries in clauses.items():
        none = "" if queries else " none"
        say(f"\nDocuments {name} by these clauses:{none}")
        for query in queries:
            say(f"  {json.dumps(query)}")


@_policy.command()
def diff(
    before: Annotated[Path, typer.Argument(help="Policy file.")],
    after: Annotated[Path, typer.Argument(help="Policy file.")],
) -> None:
    """Show what changes from one policy to another; exits with 1 if something does."""
    changes = policy_diff(load_policy(before), load_policy(after))
    if not changes:
        say("nothing changes")
        return
    console = make_console()
    if changes.settings or changes.levels:
        table = whole_table("level", "rule", "before", "after")
        rows = {"(all)": changes.settings, **changes.levels}
        for level, rules in rows.items():
            for rule, values in rules.items():
                table.add_row(level, rule, *(_text(value) for value in values))
        console.print(table)
    if changes.contexts:
        table = whole_table("request", "level before", "level after")
        for change in changes.contexts:
            request = ", ".join(f"{name}={value}" for name, value in change.context.items())
            levels = (change.before or "refused", change.after or "refused")
            table.add_row(request or "every", *levels)
        console.print(table)
    raise typer.Exit(1)


@_policy.command()
def schema() -> None:
    """Print the JSON Schema of the policy file, for editors."""
    print_json(json_schema())


def _text(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _levels(policy: Policy) -> Table:
    kinds = ("unscored", "failed", "not_read", "no_image", "blocked")
    table = Table(title="levels, loosest first", title_justify="left")
    categories = policy.by_category()
    is_named = None not in categories
    table.add_column("level", no_wrap=True)
    if is_named:
        table.add_column("category", no_wrap=True)
    for name in ("blurs from", "demotes from", "hides from"):
        table.add_column(name)
    for kind in kinds:
        table.add_column(kind.replace("_", " "))
    for name in policy.levels:
        for category, one in categories.items():
            level = one.levels[name]
            thresholds = map(_number, (level.blur_from, level.demote_from, level.hide_from))
            treatments = (str(Treatment(getattr(level, kind))) for kind in kinds)
            whose = (name, str(category)) if is_named else (name,)
            table.add_row(*whose, *thresholds, *treatments)
        if is_named:
            table.add_section()
    return table


def _contexts(policy: Policy) -> Table:
    columns = ("#", "when", "level", "at least", "user's choice")
    table = whole_table(*columns, title="contexts, the first that matches decides")
    for number, rule in enumerate(policy.contexts, start=1):
        when = ", ".join(f"{name} = {' or '.join(values)}" for name, values in rule.when.items())
        choice = "ignored" if rule.locked else "counts"
        table.add_row(str(number), when or "always", rule.level, rule.at_least or "-", choice)
    return table


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.6g}"
