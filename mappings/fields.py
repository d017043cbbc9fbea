"""The names of the safety fields that code reads or writes, and whose each of them is.

Their types, and the fields that only people write, stand in ``safety.component_template.json``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from saferank.settings import Settings


@dataclass(frozen=True, slots=True)
class SafetyFields:
    """Full paths of the safety fields in a document.

    Args:
        root: the object field that holds the scores, ``safety`` unless configured.
        override_root: the object field that holds the human decisions, when it is another one.
            During the roll-out of a new model, scores live in a second object while the
            decisions stay where people make them.
        matches: whether a decision about a copy of a document's image counts for the document.
    """

    INDEXER_OWNED: ClassVar[tuple[str, ...]] = (
        "probability",
        "model",
        "status",
        "error",
        "scored_at",
        "images",
        "digests",
        "matched",
        "matched_by",
    )
    """Names that scoring writes, inside ``root``; all others belong to people.

    The one place that says whose a field is: a name that is not here is a person's, is installed
    under ``override_root``, and survives every scoring and every copy of the document.
    """

    root: str = "safety"
    override_root: str | None = None
    matches: bool = True

    @classmethod
    def of(cls, settings: Settings) -> SafetyFields:
        """The names under an operator's settings; of several categories, the first one's."""
        return cls(settings.field, settings.override_field)

    @classmethod
    def each(cls, settings: Settings) -> tuple[SafetyFields, ...]:
        """The names of every category's fields under an operator's settings, the first one first.

        With ``override_field`` all have their people's decisions in the same object.
        """
        return tuple(cls(field, settings.override_field) for field in settings.model_by_field)

    @property
    def probability(self) -> str:
        """A ``float``, the highest probability over the document's images and frames, 0..1."""
        return f"{self.root}.probability"

    @property
    def model(self) -> str:
        """A ``keyword``, the identity of the model and preprocessing that gave the probability."""
        return f"{self.root}.model"

    @property
    def status(self) -> str:
        """A ``keyword``: ``scored``, ``failed``, ``not_read``, ``no_image``; see ``Status``."""
        return f"{self.root}.status"

    @property
    def error(self) -> str:
        """A ``keyword``, an ``ErrorCode`` when an image has no probability."""
        return f"{self.root}.error"

    @property
    def scored_at(self) -> str:
        """A ``date``, when the probability was computed."""
        return f"{self.root}.scored_at"

    @property
    def images(self) -> str:
        """One entry an image, not indexed."""
        return f"{self.root}.images"

    @property
    def digests(self) -> str:
        """A ``keyword``, the SHA-256 of the bytes of each image."""
        return f"{self.root}.digests"

    @property
    def matched(self) -> str:
        """A ``keyword``, ``allow`` or ``block``: what was decided about copies of its images."""
        return f"{self.root}.matched"

    @property
    def override_object(self) -> str:
        """The object that holds people's decisions."""
        return self.override_root or self.root

    @property
    def objects(self) -> tuple[str, ...]:
        """The objects that hold all these fields, each once."""
        return tuple(dict.fromkeys((self.root, self.override_object)))

    @property
    def override(self) -> str:
        """A ``keyword``, a human's ``allow`` or ``block``; never the indexer's own word."""
        return f"{self.override_object}.override"

    @property
    def deciding(self) -> tuple[str, ...]:
        """Probability, model, status, override and match, which decide what a level does.

        The match is left out where matches do not count.
        """
        always = self.probability, self.model, self.status, self.override
        return (*always, self.matched) if self.matches else always


class DecidingFields(NamedTuple):
    """The fields that a request is decided by: of one category, or of several.

    Attributes:
        deciding: paths of all of them, each once.
        probabilities: those that hold a probability.
        matches: those that hold what was decided about copies, which an index may lack.
    """

    deciding: tuple[str, ...]
    probabilities: tuple[str, ...]
    matches: tuple[str, ...]

    @classmethod
    def of(cls, *categories: SafetyFields) -> DecidingFields:
        """The fields of categories, one or more."""
        paths = dict.fromkeys(path for fields in categories for path in fields.deciding)
        return cls(
            tuple(paths),
            tuple(fields.probability for fields in categories),
            tuple(fields.matched for fields in categories if fields.matches),
        )
