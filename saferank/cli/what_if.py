"""``saferank policy what-if``: what a policy would do to the documents of an index."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from saferank.cli.indices import index_named
from saferank.cli.options import PolicyOption
from saferank.cli.output import make_console, say, whole_table
from saferank.connection import clear_errors, connect
from saferank.mappings import check_index
from saferank.mappings.float32 import shortest
from saferank.ranker import Policy, load_policy
from saferank.ranker.level.verdicts import Action
from saferank.ranker.policy.policy import OneCategoryPolicy
from saferank.settings import get_settings

if TYPE_CHECKING:
    from saferank.calibration.what_if import Counts, Near, Outcome, WhatIf

_WIDTH = 40
_ACTIONS = tuple(map(str, Action))


def what_if(
    index: Annotated[str, typer.Argument(help="Index, alias or pattern.")],
    policy: PolicyOption = None,
    against: Annotated[
        Path | None, typer.Option(help="The policy that holds today, to see what changes.")
    ] = None,
    examples: Annotated[
        int, typer.Option(min=0, max=100, help="Documents to name on each side of a threshold.")
    ] = 3,
) -> None:
    """Count what a policy would show, blur, demote and hide, before it goes live."""
    from saferank.calibration.what_if import near_thresholds
    from saferank.calibration.what_if import what_if as count

    settings = get_settings()
    new = load_policy(policy or settings.policy)
    old = None if against is None else load_policy(against)
    with (
        clear_errors(settings.elasticsearch_url),
        connect(settings) as client,
        index_named(index),
    ):
        for one in (new, old):
            for part in one.by_category().values() if one is not None else ():
                check_index(client, index, part.fields)
        found = count(client, index, new, old)
        near = near_thresholds(client, index, new, examples)
    _print(index, found, new, near)


def _print(index: str, found: WhatIf, policy: Policy, near: list[Near]) -> None:
    for name, counts in found.categories.items():
        states = ", ".join(f"{count:,} {state}" for state, count in counts.states.items())
        of = "" if name is None else f", by {name}"
        say(f"{found.documents:,} documents in {index!r}{of}: {states}")
    make_console().print(_outcomes(found))
    for outcome in found.outcomes if found.compared else []:
        say(f"changes of request {outcome.rule}: {_changes(outcome)}")
    for name, counts in found.categories.items():
        of = "" if name is None else f", by {name}"
        say(f"Probabilities of documents that no person decided about{of}:")
        for line in _histogram(counts, policy.by_category()[name]):
            say(line)
    for one in near:
        below, above = (
            ", ".join(f"{doc.id} ({shortest(doc.probability):.6g})" for doc in side) or "none"
            for side in (one.below, one.from_there)
        )
        of = "" if one.category is None else f" of {one.category}"
        say(
            f"next to {shortest(one.threshold):g}{of}: below {below}; from there on {above}",
        )


def _outcomes(found: WhatIf) -> Table:
    table = whole_table("#", "request", "level", title="what becomes of them")
    for name in (*_ACTIONS, *(["change"] if found.compared else [])):
        table.add_column(name, justify="right")
    for one in found.outcomes:
        request = ", ".join(f"{name} = {value}" for name, value in one.context.items())
        row = [str(one.rule), request or "any other", one.level, *_numbers(one)]
        if found.compared:
            row.append(f"{sum(one.changed.values()):,}")
        table.add_row(*row)
    return table


def _numbers(one: Outcome) -> list[str]:
    cells = {str(action): f"{count:,}" for action, count in one.now.items()}
    if also := one.blurred - one.now[Action.BLURRED]:
        cells[Action.DEMOTED] += f" ({also:,} blurred)"
    return [cells[name] for name in _ACTIONS]


def _changes(one: Outcome) -> str:
    if one.before is None:
        return "the other policy refuses such a request"
    changes = [f"{was} → {now}: {count:,}" for (was, now), count in sorted(one.changed.items())]
    level = [] if one.before == one.level else [f"level {one.before} → {one.level}"]
    blur = (
        []
        if one.blurred == one.blurred_before
        else [f"to be blurred: {one.blurred_before:,} → {one.blurred:,}"]
    )
    return "; ".join([*level, *changes, *blur]) or "none"


def _histogram(found: Counts, policy: OneCategoryPolicy) -> Iterator[str]:
    """A bar for each range of probabilities, with the thresholds where they begin."""
    marks: dict[float, list[str]] = {}
    for name, level in policy.levels.items():
        for key, threshold in level.thresholds.items():
            marks.setdefault(threshold, []).append(f"{key} of {name}")
    most = max(found.histogram.values(), default=0)
    bounds = sorted({*found.histogram, *marks})
    for bound in bounds:
        count = found.histogram.get(bound, 0)
        bar = "█" * round(_WIDTH * count / most) if most else ""
        mark = f"  ← {', '.join(marks[bound])}" if bound in marks else ""
        yield f"{shortest(bound):>10.6g}  {bar or ('▏' if count else '')} {count:,}{mark}"
