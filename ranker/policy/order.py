"""The order of levels: from loosest to strictest, none shows what a looser one does not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise

from saferank.ranker.level.level import Level, Treatment
from saferank.ranker.policy.yaml_lines import Location


def faults_of_order(
    levels: Mapping[str, Level], within: Location, *, overrides: str | None
) -> Iterator[tuple[Location, str]]:
    """Levels of a category that show what a looser one does not, or cannot be kept.

    Args:
        levels: from loosest to strictest.
        within: place of the category inside of a level.
        overrides: index of overrides outside of the documents, if there is one.
    """
    for (looser_name, looser), (name, level) in pairwise(levels.items()):
        if key := level.hides_less_than(looser):
            yield (
                ("levels", name, *within, key),
                f"level {name!r} shows documents that the looser level {looser_name!r} hides "
                f"(by {key}); list levels from loosest to strictest and hide no less in "
                "each next one, or keep levels that have no order in policies of their own",
            )
        if key := level.blurs_less_than(looser):
            yield (
                ("levels", name, *within, key),
                f"level {name!r} neither blurs nor hides documents that the looser level "
                f"{looser_name!r} blurs (by {key}); list levels from loosest to strictest, and "
                "blur or hide no less in each next one",
            )
    for name, level in levels.items() if overrides else ():
        if level.blocked in (Treatment.BLUR, Treatment.DEMOTE):
            yield (
                ("levels", name, *within, "blocked"),
                "overrides that are kept outside of the documents can hide, not blur nor "
                "demote; say 'hide' or 'show', or leave out 'overrides'",
            )
