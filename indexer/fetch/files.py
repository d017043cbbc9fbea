"""Images in folders that the settings open."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote_to_bytes, urlsplit

from saferank.errors import ErrorCode, ImageError
from saferank.settings import FetchSettings


def read_file(reference: str, settings: FetchSettings) -> bytes:
    """Read a ``file:`` URL or a path, if it leads into one of the allowed folders.

    A relative path is looked for in each allowed folder. Symbolic links may lead around inside
    a folder, never out of it.

    Raises:
        ImageError: ``forbidden_address``, ``not_found``, ``too_large`` or ``refused``.
    """
    path = _path(reference)
    inside = False
    for folder in settings.file_roots:
        root = folder.resolve()
        try:
            target = (root / path).resolve()
        except (OSError, ValueError, RuntimeError) as error:  # too long, a NUL, a loop of links
            raise ImageError(ErrorCode.NOT_FOUND, f"{path} cannot be opened: {error}") from error
        if target.is_relative_to(root):
            inside = True
            with suppress(FileNotFoundError):
                return _read(root, target.relative_to(root), settings.max_bytes)
    if inside:
        raise ImageError(ErrorCode.NOT_FOUND, f"there is no file {path}")
    raise ImageError(
        ErrorCode.FORBIDDEN_ADDRESS,
        f"{path} is outside the allowed folders; add its folder to fetch.file_roots",
    )


def _path(reference: str) -> Path:
    if not reference.lower().startswith("file:"):
        return Path(reference)
    parts = urlsplit(reference)
    if parts.netloc not in ("", "localhost"):
        raise ImageError(
            ErrorCode.FORBIDDEN_ADDRESS, f"the file is on another machine, {parts.netloc!r}"
        )
    return Path(os.fsdecode(unquote_to_bytes(parts.path)))


def _read(root: Path, relative: Path, max_bytes: int) -> bytes:
    """Read a file, opening step by step from the root without following links.

    So no link can be put in between after the path was checked.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    handle = os.open(root, flags)
    try:
        for part in relative.parts:
            above, handle = handle, os.open(part, flags, dir_fd=handle)
            os.close(above)
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise ImageError(ErrorCode.REFUSED, f"{relative} is not a regular file")
        with os.fdopen(os.dup(handle), "rb") as file:
            data = file.read(max_bytes + 1)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FileNotFoundError(relative) from error
    except OSError as error:
        raise ImageError(ErrorCode.REFUSED, f"{relative} cannot be read: {error}") from error
    finally:
        os.close(handle)
    if len(data) > max_bytes:
        raise ImageError(
            ErrorCode.TOO_LARGE,
            f"{relative} has more than {max_bytes:,} bytes; raise fetch.max_bytes to score it",
        )
    return data
