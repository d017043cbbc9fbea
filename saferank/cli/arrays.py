"""Files of arrays: what ``saferank model run`` reads, and what it and ``model features`` write."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from saferank.cli.extras import needs_extra
from saferank.errors import ConfigurationError, SaferankError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def write_parquet(
    path: Path, names: Sequence[str], arrays: Mapping[str, NDArray[np.float32]]
) -> None:
    """A row an image, a column a blob, flattened in C order."""
    with needs_extra("spark"):
        import pyarrow as pa
        from pyarrow import parquet
    columns = {
        blob: pa.array(list(values.reshape(len(names), -1)), pa.list_(pa.float32()))
        for blob, values in arrays.items()
    }
    try:
        parquet.write_table(pa.table({"image": list(names), **columns}), path)
    except OSError as error:
        raise SaferankError(f"{path} cannot be written: {error}") from error


def read_inputs(given: Iterable[str], names: Sequence[str]) -> dict[str, NDArray[np.float32]]:
    """Read the arrays; those without a name take the inputs that are left, in order."""
    named: dict[str, Path] = {}
    unnamed: list[Path] = []
    for text in given:
        name = next((each for each in names if text.startswith(f"{each}=")), None)
        if name is not None:
            named[name] = Path(text.removeprefix(f"{name}="))
        elif "=" in text and not Path(text).exists():
            raise ConfigurationError(
                f"--input {text}: the net has no such input; it has {', '.join(names)}"
            )
        else:
            unnamed.append(Path(text))
    left = [name for name in names if name not in named]
    if len(unnamed) > len(left):
        raise ConfigurationError(
            f"{len(named) + len(unnamed)} inputs are given, the net has {', '.join(names)}"
        )
    named |= zip(left, unnamed, strict=False)
    return {name: _read_array(path) for name, path in named.items()}


def _read_array(path: Path) -> NDArray[np.float32]:
    import numpy as np

    try:
        return np.asarray(np.load(path, allow_pickle=False), dtype=np.float32)
    except (OSError, ValueError, EOFError, TypeError) as error:
        raise ConfigurationError(f"{path}: not an array that numpy can read: {error}") from error


def write_npz(path: Path, arrays: Mapping[str, NDArray[np.float32]]) -> None:
    """Write what ``numpy.load`` reads; ``numpy.savez`` cannot take a blob called ``file``."""
    import numpy as np

    try:
        with zipfile.ZipFile(path, "w") as archive:
            for name, values in arrays.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, np.asarray(values, order="C"))
    except OSError as error:
        raise SaferankError(f"{path} cannot be written: {error.strerror}") from error
