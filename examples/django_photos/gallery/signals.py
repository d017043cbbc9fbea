"""When the index is written, and when photos are scored."""

from __future__ import annotations

import logging
from functools import partial
from typing import Any

from django.db import transaction
from django_elasticsearch_dsl.signals import RealTimeSignalProcessor

from gallery.models import Photo
from saferank import SaferankError, queue_documents

log = logging.getLogger(__name__)


class AfterCommit(RealTimeSignalProcessor):
    """Writes the index once the database has committed, and then has photos scored."""

    def handle_save(self, sender: Any, instance: Any, **kwargs: Any) -> None:
        transaction.on_commit(partial(super().handle_save, sender, instance, **kwargs))
        if isinstance(instance, Photo):
            transaction.on_commit(partial(have_scored, str(instance.pk)))


def have_scored(photo: str) -> None:
    try:
        queue_documents("photos", photo)
    except SaferankError as error:  # Nothing is lost: the workers' sweep finds it.
        log.error("photo %s was not queued: %s", photo, error)
