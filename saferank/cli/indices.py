"""What several commands see to before they work on an index."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from elasticsearch import NotFoundError

from saferank.cli.output import warn
from saferank.errors import ConfigurationError
from saferank.mappings import check_index, lacking
from saferank.mappings.fields import SafetyFields

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

    from saferank.settings import Settings


@contextmanager
def index_named(index: str) -> Iterator[None]:
    """Say that an index that somebody named is not there.

    Raises:
        ConfigurationError: it is not.
    """
    try:
        yield
    except NotFoundError as error:
        raise ConfigurationError(
            f"there is no index {index!r}; create it first, or correct the name"
        ) from error


def check_ready(client: Elasticsearch, index: str, settings: Settings) -> None:
    """See that an index can be scored, and warn where none of its documents has an image.

    Raises:
        MappingError: see ``check_index``.
    """
    field = settings.image_field
    for fields in SafetyFields.each(settings):
        check_index(client, index, fields, image_field=field)
    for name in lacking(client, index, field):
        warn(
            f"the mapping of index {name!r} has no field {field!r}, so none of its documents has "
            "an image there; set SAFERANK_IMAGE_FIELD to the field that has them"
        )
