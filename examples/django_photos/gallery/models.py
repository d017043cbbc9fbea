"""What the database keeps."""

from __future__ import annotations

import uuid
from pathlib import PurePath

from django.core.validators import FileExtensionValidator
from django.db import models


def random_name(_photo: models.Model, name: str) -> str:
    """A picture's address, which nobody guesses who was not shown it."""
    return uuid.uuid4().hex + PurePath(name).suffix.lower()


class Photo(models.Model):
    title = models.CharField(max_length=200)
    tag = models.CharField(max_length=50)
    picture = models.FileField(
        upload_to=random_name, validators=[FileExtensionValidator(["jpg", "jpeg", "png", "webp"])]
    )
