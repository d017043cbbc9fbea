"""What the index keeps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django_elasticsearch_dsl import Document, fields
from django_elasticsearch_dsl.registries import registry

from gallery.models import Photo


class PartialDocument(Document):
    """A document that ``save()`` updates in part, so that score and decisions stay.

    django-elasticsearch-dsl writes documents whole, and what is not a field of the model is gone.
    """

    def prepare(self, instance: Any) -> dict[str, Any]:
        # As in the base class, whose own list is empty with elasticsearch-py 9.4 and newer.
        return {name: prepared(instance) for name, _, prepared in self.init_prepare()}

    def _prepare_action(self, object_instance: Any, action: str) -> dict[str, Any]:
        prepared: dict[str, Any] = super()._prepare_action(object_instance, action)
        if action != "index":
            return prepared
        document = prepared.pop("_source")
        return {**prepared, "_op_type": "update", "doc": document, "doc_as_upsert": True}


@registry.register_document
class PhotoDocument(PartialDocument):
    id = fields.KeywordField()  # Tells hits of equal relevance apart, for cursors.
    tag = fields.KeywordField()
    file = fields.KeywordField(index=False)
    image = fields.KeywordField(index=False)  # Where workers find the picture.

    class Index:
        name = "photos"

    class Django:
        model = Photo
        fields = ["title"]

    def prepare_file(self, photo: Photo) -> str:
        return str(photo.picture.url)

    def prepare_image(self, photo: Photo) -> str:
        return Path(photo.picture.path).as_uri()
