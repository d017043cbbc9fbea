"""What is known of images by their bytes, in a file that the processes of one machine share.

The same bytes come again: under other addresses, in other documents, in other indices. A look-up
takes a twentieth of a millisecond and spares a pass through the model, which takes twenty. The
file has room for so many images; the oldest make place for new ones.

It only spares work. Where the file cannot be used, images go through the model.
"""

from __future__ import annotations

import json
import logging
import os
import sqlite3
import threading
from collections.abc import Iterable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from saferank.mappings.record import ImageRecord

log = logging.getLogger(__name__)

_TABLE = """
CREATE TABLE IF NOT EXISTS images (
    place INTEGER PRIMARY KEY, model TEXT NOT NULL, sha256 TEXT NOT NULL, record TEXT NOT NULL,
    UNIQUE (model, sha256)
)
"""
_PATIENCE = 2.0  # seconds for another process to be done with writing


class Digests:
    """Images that went through a model, by their bytes.

    Args:
        path: of the file; made when missing, with its folder.
        limit: most images to keep.
    """

    def __init__(self, path: Path, limit: int) -> None:
        self._path = path
        self._limit = limit
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._usable = True

    def recall(self, model: str, sha256: str) -> ImageRecord | None:
        """What is known under a model of an image; its reference is empty.

        Args:
            model: identity of the model.
            sha256: hex digest of the image's bytes.
        """
        query = "SELECT record FROM images WHERE model = ? AND sha256 = ?"
        try:
            with self._lock:
                if (connection := self._connect()) is None:
                    return None
                with closing(connection.execute(query, (model, sha256))) as cursor:
                    row = cursor.fetchone()
            return None if row is None else ImageRecord.from_document(json.loads(row[0]))
        except (sqlite3.Error, OSError, ValueError, TypeError) as error:
            self._give_up(error)
            return None

    def keep(self, model: str, images: Iterable[ImageRecord]) -> None:
        """Keep what is known of whole images that have a probability."""
        rows = [
            (model, image.sha256, json.dumps(_nameless(image).to_document()))
            for image in images
            if image.sha256 is not None and image.probability is not None and not image.partial
        ]
        if not rows:
            return
        try:
            with self._lock:
                if (connection := self._connect()) is None:
                    return
                with connection:
                    connection.executemany(
                        "INSERT OR REPLACE INTO images (model, sha256, record) VALUES (?, ?, ?)",
                        rows,
                    )
                    connection.execute(
                        "DELETE FROM images WHERE place <= (SELECT max(place) FROM images) - ?",
                        (self._limit,),
                    )
        except (sqlite3.Error, OSError) as error:
            self._give_up(error)

    def close(self) -> None:
        """Let the file go."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
            self._connection = None

    def _connect(self) -> sqlite3.Connection | None:
        if self._connection is None and self._usable:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            # Only its owner may write what is taken for a score.
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600))
            connection = sqlite3.connect(self._path, timeout=_PATIENCE, check_same_thread=False)
            connection.execute("PRAGMA journal_mode = WAL")
            # After a loss of power the last images are scored again, no more.
            connection.execute("PRAGMA synchronous = OFF")
            connection.execute(_TABLE)
            self._connection = connection
        return self._connection

    def _give_up(self, error: Exception) -> None:
        log.warning("what is known by digest is not used any more: %s: %s", self._path, error)
        self._usable = False
        self.close()


def _nameless(image: ImageRecord) -> ImageRecord:
    """Without what belongs to the place where it was found."""
    return replace(image, reference="", etag=None, last_modified=None)
