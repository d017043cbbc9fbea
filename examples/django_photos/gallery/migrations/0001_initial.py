"""The table of photos."""

from __future__ import annotations

import django.core.validators
from django.db import migrations, models

import gallery.models


class Migration(migrations.Migration):
    initial = True
    dependencies = []
    operations = [
        migrations.CreateModel(
            name="Photo",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        primary_key=True, serialize=False, verbose_name="ID", auto_created=True
                    ),
                ),
                ("title", models.CharField(max_length=200)),
                ("tag", models.CharField(max_length=50)),
                (
                    "picture",
                    models.FileField(
                        upload_to=gallery.models.random_name,
                        validators=[
                            django.core.validators.FileExtensionValidator(
                                ["jpg", "jpeg", "png", "webp"]
                            )
                        ],
                    ),
                ),
            ],
        )
    ]
