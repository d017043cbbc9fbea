"""Converted nets, kept in the user's cache folder under a hash of all that decides them."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from pathlib import Path

import platformdirs

from saferank.errors import ModelFormatError
from saferank.models.description import ModelFiles
from saferank.models.runtime_onnx import OnnxRuntime

_CONVERTER = Path(__file__).parent / "caffe"


def open_converted(files: ModelFiles, *, threads: int) -> OnnxRuntime:
    """Open the net with a free number of images, converting it only if that was not done before.

    Raises:
        ModelError: the files are wrong, or the net cannot be converted.
        ConfigurationError: the model is an ONNX file.
    """
    # A file that is damaged or cannot be loaded is made again: the cache is never a reason to fail.
    if (kept := _find(_prefix(files))) is not None:
        with contextlib.suppress(ModelFormatError):
            # By its path: of bytes, onnxruntime's session keeps a copy for as long as it lives.
            return OnnxRuntime(kept, threads=threads)
    return OnnxRuntime(_convert(files), threads=threads)


def converted(files: ModelFiles) -> bytes:
    """The net that ``open_converted`` opens, as ONNX.

    Raises:
        ModelError: as ``open_converted``.
    """
    kept = _find(_prefix(files))
    return _convert(files) if kept is None else kept.read_bytes()


def _convert(files: ModelFiles) -> bytes:
    from saferank.models.caffe import convert_for_any_batch, read_prototxt, read_weights

    prototxt, weights = files.caffe
    converted = convert_for_any_batch(read_prototxt(prototxt), read_weights(weights))
    model = converted.model.SerializeToString()
    # A cache folder that cannot be written to costs the next start a second, no more.
    with contextlib.suppress(OSError):
        write_whole(Path(f"{_prefix(files)}.{_digest(model)}.onnx"), model)
    return model


def _prefix(files: ModelFiles) -> Path:
    """Where the net is kept, up to the digest of its bytes, which ends the file's name."""
    # The converter's own source is part of the key: a new version of it converts again.
    key = hashlib.sha256(f"{files.prototxt_sha256} {files.weights_sha256}".encode())
    for source in sorted(_CONVERTER.rglob("*.py")):
        key.update(source.read_bytes())
    return platformdirs.user_cache_path("saferank") / "models" / key.hexdigest()[:32]


def _find(prefix: Path) -> Path | None:
    """The net as it was written: with a few bits changed it would load, and score wrongly."""
    for path in prefix.parent.glob(f"{prefix.name}.*.onnx"):
        with contextlib.suppress(OSError):
            if path.name == f"{prefix.name}.{_digest(path.read_bytes())}.onnx":
                return path
    return None


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:32]


def write_whole(path: Path, data: bytes) -> None:
    """Write so that another process sees the whole file or none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.stem)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
