"""``saferank policy``: check a policy file and see what it says."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from saferank.ranker import Policy, load_policy
from saferank.ranker.levels import Treatment
from saferank.settings import get_settings

_policy = typer.Typer(help="The safe-search policy.", no_args_is_help=True)

_File = Annotated[
    Path | None, typer.Argument(help="Policy file; SAFERANK_POLICY if none is given.")
]


def register(app: typer.Typer) -> None:
    """Add the group to the command line."""
    app.add_typer(_policy, name="policy")


@_policy.command()
def check(file: _File = None) -> None:
    """See whether a policy file is right; the first fault is named with its line."""
    path = file or get_settings().policy
    policy = load_policy(path)
    levels, rules = len(policy.levels), len(policy.contexts)
    _print(f"{path} is right: {levels} levels, {rules} context rules")


@_policy.command()
def show(file: _File = None) -> None:
    """Show the levels and the context rules of a policy."""
    policy = load_policy(file or get_settings().policy)
    console = Console()
    console.print(_levels(policy))
    console.print(_contexts(policy))
    demotion = policy.demotion
    _print(f"demotion: {demotion.curve}, down to {demotion.floor:g} of the relevance")
    _print(f"fields: {policy.fields.probability}, {policy.fields.override}")
    if policy.model is not None:
        _print(f"model: {policy.model}; scores of others do not count")


def _levels(policy: Policy) -> Table:
    kinds = ("unscored", "failed", "no_image", "blocked")
    columns = ("level", "demotes from", "hides from", *(kind.replace("_", " ") for kind in kinds))
    table = Table(*columns, title="levels, loosest first", title_justify="left")
    for name, level in policy.levels.items():
        thresholds = (_number(level.demote_from), _number(level.hide_from))
        treatments = (str(Treatment(getattr(level, kind))) for kind in kinds)
        table.add_row(name, *thresholds, *treatments)
    return table


def _contexts(policy: Policy) -> Table:
    columns = ("#", "when", "level", "at least", "user's choice")
    table = Table(*columns, title="contexts, the first that matches decides", title_justify="left")
    for number, rule in enumerate(policy.contexts, start=1):
        when = ", ".join(f"{name} = {' or '.join(values)}" for name, values in rule.when.items())
        choice = "ignored" if rule.locked else "counts"
        table.add_row(str(number), when or "always", rule.level, rule.at_least or "-", choice)
    return table


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.6g}"


def _print(text: str) -> None:
    Console().print(text, markup=False, highlight=False, soft_wrap=True)
