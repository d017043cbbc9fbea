"""An application that writes through an alias all the while, and knows what must be there."""

import random
import threading
import time
from typing import Any

from brightness import data_uri, png
from elastic_transport import TransportError
from elasticsearch import ApiError, Elasticsearch


class Writer:
    """Creates, updates, replaces, deletes and decides, one document at a time.

    Attributes:
        expected: every document as it must be in the end, without its score.
        acknowledged: writes that Elasticsearch took.
        refused: tries that it refused because the index was closed for writes.
        longest_wait: seconds from the first try of a write to its acknowledgement, the longest.
        errors: what else went wrong.
    """

    def __init__(
        self, url: str, alias: str, expected: dict[str, dict[str, Any]], *, rate: float, seed: int
    ) -> None:
        self.expected = expected
        self.acknowledged = self.refused = 0
        self.longest_wait = 0.0
        self.errors: list[Exception] = []
        self._client = Elasticsearch(url, request_timeout=60, max_retries=0)
        self._alias = alias
        self._interval = 1 / rate
        self._random = random.Random(seed)
        self._stop = threading.Event()
        self._number = seed * 10_000_000
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Writer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._client.close()

    def _run(self) -> None:
        due = time.monotonic()
        while not self._stop.is_set():
            try:
                self._once()
            except Exception as error:
                self.errors.append(error)
                return
            due = max(due + self._interval, time.monotonic() - 1)
            time.sleep(max(0.0, due - time.monotonic()))

    def _once(self) -> None:
        self._number += 1
        choice = self._random.random()
        id = self._random.choice(list(self.expected)) if self.expected else "first"
        if choice < 0.4 or id == "first":
            id = f"w{self._number}"
            document = {"image": _picture(self._number), "title": f"new {self._number}"}
            self._tried("create", id=id, document=document)
            self.expected[id] = document
        elif choice < 0.6:
            doc: dict[str, Any] = {"title": f"changed {self._number}"}
            self._tried("update", id=id, doc=doc)
            self.expected[id] |= doc
        elif choice < 0.7:
            doc = {"safety": {"override": self._random.choice(["allow", "block"])}}
            self._tried("update", id=id, doc=doc)
            self.expected[id]["safety"] = doc["safety"]
        elif choice < 0.9:
            document = {"image": _picture(self._number), "title": f"replaced {self._number}"}
            self._tried("index", id=id, document=document)
            self.expected[id] = document
        else:
            self._tried("delete", id=id)
            del self.expected[id]

    def _tried(self, method: str, **arguments: Any) -> None:
        """Write until it is acknowledged; a closed index is refused with 403 for a moment."""
        began = time.monotonic()
        while True:
            try:
                getattr(self._client, method)(index=self._alias, **arguments)
                break
            except ApiError as error:
                if error.error == "cluster_block_exception":
                    self.refused += 1
                # A scorer changed the document between the read and the write of an update.
                elif error.status_code != 409 or method != "update":
                    raise
                time.sleep(0.02)
            except TransportError:
                raise
        self.acknowledged += 1
        self.longest_wait = max(self.longest_wait, time.monotonic() - began)


def _picture(number: int) -> str:
    return data_uri(png(number % 256, (4 + number // 256 % 1000, 4)))


def picture(number: int) -> str:
    """One of many small pictures; its probability is ``number % 256 / 255``."""
    return _picture(number)
