"""What names a document, in an index and in the messages about it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DocumentKey:
    """What names a document in an index.

    Attributes:
        id: ``_id``.
        routing: custom routing, or None when the document was indexed without one.
    """

    id: str
    routing: str | None = None

    def to_json(self) -> str | list[str]:
        """The form in which a key travels in a message: the id, or ``[id, routing]``."""
        return self.id if self.routing is None else [self.id, self.routing]

    @classmethod
    def from_json(cls, value: str | list[str]) -> DocumentKey:
        """Read a key from a message."""
        return cls(value) if isinstance(value, str) else cls(*value)
