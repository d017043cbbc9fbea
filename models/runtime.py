"""What runs a net: the seam between a model and the engines that can run it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from saferank.errors import ConfigurationError, ModelError

RuntimeName = Literal["onnx", "caffe"]

Arrays = Mapping[str, NDArray[np.float32]]


class Runtime(Protocol):
    """A net that is ready to run; several threads may run it at once."""

    @property
    def inputs(self) -> Mapping[str, tuple[int | None, ...]]:
        """Shape of each input by its name; None where any size will do."""

    def run(self, inputs: Arrays) -> dict[str, NDArray[np.float32]]:
        """One forward pass: input blobs in, output blobs out, by their names.

        Raises:
            ModelError: the inputs do not fit, or the pass failed.
        """

    def close(self) -> None:
        """Let go of what the runtime holds; it cannot run after that."""


def check_runtime_name(name: str) -> RuntimeName:
    """Give the name back.

    Raises:
        ConfigurationError: there is no such runtime.
    """
    for known in get_args(RuntimeName):
        if name == known:
            return known  # type: ignore[no-any-return]
    raise ConfigurationError(
        f"runtime {name!r} is not known; use one of {', '.join(get_args(RuntimeName))}"
    )


def check_inputs(wanted: Mapping[str, Sequence[int | None]], given: Arrays) -> None:
    """Check names and shapes of the input blobs.

    Raises:
        ModelError: one is missing, unknown or of another shape.
    """
    names = ", ".join(wanted)
    for name in given:
        if name not in wanted:
            raise ModelError(f'the net has no input "{name}"; it has {names}')
    for name, shape in wanted.items():
        if name not in given:
            raise ModelError(f'the input "{name}" is missing; the net needs {names}')
        have = given[name].shape
        if len(have) != len(shape) or any(
            size is not None and size != there for size, there in zip(shape, have, strict=True)
        ):
            raise ModelError(
                f'the input "{name}" is {format_shape(have)}, the net needs {format_shape(shape)}'
            )


def format_shape(shape: Sequence[int | None]) -> str:
    """A shape as messages write it; N for any size."""
    return "x".join("N" if size is None else str(size) for size in shape)
