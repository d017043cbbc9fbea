"""The decoder process: ``python -m saferank.indexer.decode.child FILE_DESCRIPTOR``."""

from __future__ import annotations

import json
import math
import resource
import sys
import warnings
from multiprocessing.connection import Connection
from typing import Any

from PIL import ImageFile

from saferank.errors import ImageError
from saferank.indexer.decode.reading import Decoded, read, read_reference
from saferank.settings import DecodeSettings

_BYTES_PER_PIXEL = 24  # JPEG 2000 takes the most: a 32-bit number a channel, twice
_BASE = 256 * 1024 * 1024
_SPARE_SECONDS = 30  # so that the parent, if it is alive, is always the first to give up


def _partial(data: bytes, settings: DecodeSettings) -> Decoded:
    ImageFile.LOAD_TRUNCATED_IMAGES = True  # for the whole process, so never in the parent
    try:
        return read(data, settings)
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = False


TASKS = {"read": read, "partial": _partial, "reference": read_reference}


def serve(connection: Connection[Any, Any]) -> None:
    """Decode what comes until the other side hangs up."""
    connection.send_bytes(b"ready")
    while True:
        try:
            request = json.loads(connection.recv_bytes())
            data = connection.recv_bytes()
        except EOFError:
            return
        settings = DecodeSettings.model_validate(request["settings"])
        limit_memory(settings)
        limit_time(settings)
        try:
            decoded = TASKS[request["task"]](data, settings)
        except ImageError as error:
            connection.send_bytes(json.dumps({"code": error.code, "message": str(error)}).encode())
            continue
        pictures = decoded.shown
        connection.send_bytes(
            json.dumps(
                {
                    "sizes": [picture.size for picture in pictures],
                    "alternatives": len(decoded.alternatives),
                    "frame_count": decoded.frame_count,
                    "format": decoded.format,
                }
            ).encode()
        )
        for picture in pictures:
            connection.send_bytes(picture.tobytes())


def limit_memory(settings: DecodeSettings) -> None:
    """Make a decoder that asks for too much fail instead of the machine."""
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (_BASE + _BYTES_PER_PIXEL * settings.max_pixels, hard))


def limit_time(settings: DecodeSettings) -> None:
    """Make sure that a decoder which never returns does not outlive a killed parent."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    end = usage.ru_utime + usage.ru_stime + settings.timeout + _SPARE_SECONDS
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(end), hard))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    with Connection(int(sys.argv[1])) as inherited:
        serve(inherited)
