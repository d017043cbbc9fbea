"""How far a request can reach into its indices, where the policy makes it reach further."""

from __future__ import annotations

import re
from typing import Any, NamedTuple, Self


class Limits(NamedTuple):
    """Limits that the indices of a request set; by default those of Elasticsearch.

    Attributes:
        result_window: how many hits the pages of a search can reach (``max_result_window``).
        rescore_window: how many hits a shard can score again (``max_rescore_window``).
    """

    result_window: int = 10_000
    rescore_window: int = 10_000

    @classmethod
    def of(cls, settings: dict[str, Any]) -> Limits:
        """The limits of an index.

        Args:
            settings: of the index, with dotted names.
        """
        limits = cls()
        result = int(settings.get("index.max_result_window", limits.result_window))
        return cls(result, int(settings.get("index.max_rescore_window", result)))

    def and_those(self, others: Self) -> Limits:
        """The narrower of both."""
        return Limits(*map(min, self, others))

    def told_by(self, error: Any) -> Limits:
        """The limits as the engine's refusal tells them; the same if it is about something else."""
        rescore = _RESCORE.search(str(error))
        result = _RESULT.search(str(error))
        return Limits(
            int(result[1]) if result else self.result_window,
            int(rescore[1]) if rescore else self.rescore_window,
        )


_RESCORE = re.compile(r"Rescore window \[\d+\] is too large. It must be less than \[(\d+)\]")
_RESULT = re.compile(r"from \+ size must be less than or equal to: \[(\d+)\]")

DEFAULT_LIMITS = Limits()
