"""Where a training stands, kept so that it can go on after its process has gone."""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from saferank.errors import ModelFormatError
from saferank.models.training.step import State


def fingerprint(settings: Any) -> str:
    """Name what decides the result, so that a training is not resumed as another one."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


def digest(state: State) -> str:
    """Name all values of a state."""
    found = hashlib.sha256()
    for leaf in jax.tree.leaves(state):
        found.update(np.asarray(leaf).tobytes())
    return found.hexdigest()


def save(path: Path, state: State, told: dict[str, Any]) -> None:
    """Write a checkpoint; a process that ends in the middle leaves the last one.

    Args:
        path: of the file.
        state: of the training.
        told: all else, as JSON takes it.
    """
    leaves = {f"leaf{at}": np.asarray(leaf) for at, leaf in enumerate(jax.tree.leaves(state))}
    writing = path.with_suffix(".writing")
    with writing.open("wb") as file:
        np.savez(file, told=np.array(json.dumps(told)), **leaves)  # type: ignore[arg-type]
        file.flush()
        os.fsync(file.fileno())
    writing.replace(path)


def parse(data: bytes, path: Path, like: State) -> tuple[State, dict[str, Any]]:
    """Read a checkpoint.

    Args:
        data: its bytes.
        path: of its file, for messages.
        like: a state of the same training, whose structure it has.

    Raises:
        ModelFormatError: it is not a checkpoint of this training.
    """
    leaves, structure = jax.tree.flatten(like)
    try:
        with np.load(BytesIO(data), allow_pickle=False) as stored:
            told = json.loads(str(stored["told"]))
            read = [jnp.asarray(stored[f"leaf{at}"]) for at in range(len(leaves))]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ModelFormatError(
            f"{path} is not a checkpoint of this training ({error}); remove it to start anew"
        ) from error
    if [one.shape for one in read] != [one.shape for one in leaves]:
        raise ModelFormatError(f"{path} is a checkpoint of another net; remove it to start anew")
    state: State = jax.tree.unflatten(structure, read)
    return state, told
