"""The tables, and files that list what they count."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from compare import Difference, Verdict
from explained import reason_for
from play import Asked, Outcome
from rich.console import Console
from rich.table import Table

__all__ = ["Judgement", "print_reasons", "report"]

_LISTED = (Verdict.LEAKING, Verdict.DIFFERENT, Verdict.EXPLAINED, Verdict.REFUSED)
_COMPARED = (Verdict.EQUAL, *_LISTED)
_LONGEST = 300


class Judgement(NamedTuple):
    """What was found about a call at a level."""

    asked: Asked
    level: str
    verdict: Verdict
    outcome: Outcome
    plain: Outcome
    differences: list[Difference]


def report(judgements: Iterable[Judgement], control: str, folder: Path, console: Console) -> int:
    """Print what was found.

    Args:
        judgements: of all calls at all levels.
        control: the level that is the plain client; it is counted and not listed.
        folder: for the lists.
        console: for the tables.

    Returns:
        The exit status: 1 when anything leaks, or differs for no known reason.
    """
    found = [_explained(judgement) for judgement in judgements]
    by_level = defaultdict(Counter[Verdict])
    for judgement in found:
        by_level[judgement.level][judgement.verdict] += 1
    columns = (*_COMPARED, Verdict.FAILED, Verdict.SKIPPED)
    table = Table("level", "compared", *columns, "refused %", title="REST YAML suites")
    for level, counts in by_level.items():
        compared = sum(counts[verdict] for verdict in _COMPARED)
        share = f"{100 * counts[Verdict.REFUSED] / max(compared, 1):.1f}"
        table.add_row(level, str(compared), *(str(counts[column]) for column in columns), share)
    console.print(table)
    safe = [judgement for judgement in found if judgement.level != control]
    levels = [level for level in by_level if level != control]
    print_reasons("Refused", _reasons(safe, Verdict.REFUSED), levels, console)
    plain = [judgement for judgement in found if judgement.level == control]
    print_reasons("No answer from the engine", _reasons(plain, Verdict.SKIPPED), [control], console)
    for verdict in _LISTED:
        listed = [item for item in safe if item.verdict is verdict]
        path = folder / f"{verdict.replace(' ', '-')}.txt"
        path.write_text("\n".join(line for item in listed for line in _described(item)))
        console.print(f"{len(listed)} {verdict}: {path}")
    wrong = sum(item.verdict in (Verdict.LEAKING, Verdict.DIFFERENT) for item in safe)
    return 1 if wrong else 0


def _explained(judgement: Judgement) -> Judgement:
    # What shows a twin's word or id has no differences, and is explained by nothing.
    differs = judgement.verdict is Verdict.DIFFERENT or bool(judgement.differences)
    if differs and reason_for(judgement.asked, judgement.level):
        return judgement._replace(verdict=Verdict.EXPLAINED)
    return judgement


def _reasons(judgements: Iterable[Judgement], verdict: Verdict) -> Iterator[tuple[str, str]]:
    for judgement in judgements:
        if judgement.verdict is verdict and judgement.outcome.failure is not None:
            yield judgement.level, judgement.outcome.failure.kind


def print_reasons(
    title: str, reasons: Iterable[tuple[str, str]], levels: Iterable[str], console: Console
) -> None:
    """Print a table of reasons, the most frequent first.

    Args:
        title: of the table.
        reasons: each with its level, as often as it was met.
        levels: the columns.
        console: where to print.
    """
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for level, reason in reasons:
        counts[reason][level] += 1
    columns = list(levels)
    table = Table("reason", *columns, title=title)
    for reason, by_level in sorted(counts.items(), key=lambda item: -item[1].total()):
        table.add_row(reason, *(str(by_level[level] or "") for level in columns))
    console.print(table)


def _described(judgement: Judgement) -> Iterator[str]:
    """Lines of a list."""
    asked, outcome = judgement.asked, judgement.outcome
    twin = ", of the twin" if asked.of_twin else ""
    yield f"{judgement.level}: {asked.file}: {asked.case}, step {asked.step}{twin}"
    yield f"    {outcome.call[0]} {json.dumps(outcome.call[1])}"
    if reason := reason_for(asked, judgement.level):
        yield f"    because {reason}"
    if outcome.failure is not None:
        yield f"    {outcome.failure.text}"
    for difference in judgement.differences:
        wanted, given = (
            json.dumps(value)[:_LONGEST] for value in (difference.wanted, difference.given)
        )
        yield f"    {difference.path or 'answer'}: {given}, and it should be {wanted}"
    yield ""
