"""onnxruntime behind the runtime's seam: the engine that is always there."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from saferank.errors import ModelError, ModelFormatError
from saferank.models.runtime import Arrays, check_inputs


class OnnxRuntime:
    """A converted net in onnxruntime on the processor.

    Args:
        model: path or bytes of the ONNX model.
        threads: of one forward pass; 0 is one a core.
    """

    # As the builder writes them; not imported from there, which would import all of onnx.
    _INPUT, _OUTPUT = "in:", "out:"

    def __init__(self, model: Path | bytes, *, threads: int = 0) -> None:
        onnxruntime = _import_onnxruntime()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        source = str(model) if isinstance(model, Path) else model
        try:
            self._session = onnxruntime.InferenceSession(
                source, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime has a class of its own for each status
            raise ModelFormatError(f"onnxruntime cannot load the net: {error}") from error
        self._inputs = {
            each.name.removeprefix(self._INPUT): tuple(
                size if isinstance(size, int) else None for size in each.shape
            )
            for each in self._session.get_inputs()
        }
        self._outputs = {
            each.name.removeprefix(self._OUTPUT): tuple(
                size if isinstance(size, int) else None for size in each.shape
            )
            for each in self._session.get_outputs()
        }

    @property
    def inputs(self) -> Mapping[str, tuple[int | None, ...]]:
        """Shape of each input by Caffe's name; None where any size will do."""
        return self._inputs

    @property
    def outputs(self) -> Mapping[str, tuple[int | None, ...]]:
        """Shape of each output by Caffe's name; None where it depends on the number of images."""
        return self._outputs

    def run(self, inputs: Arrays) -> dict[str, NDArray[np.float32]]:
        """See `Runtime.run`."""
        check_inputs(self._inputs, inputs)
        feed = {
            self._INPUT + name: np.ascontiguousarray(values, dtype=np.float32)
            for name, values in inputs.items()
        }
        try:
            results = self._session.run([self._OUTPUT + name for name in self._outputs], feed)
        except Exception as error:
            raise ModelError(f"the forward pass failed: {error}") from error
        return dict(zip(self._outputs, results, strict=True))

    def close(self) -> None:
        """See `Runtime.close`; the session's memory goes with this object."""


def _import_onnxruntime() -> Any:
    """Import the engine without its telemetry, which 1.30 and newer begin at the import itself.

    What the operator says in ``ORT_DISABLE_TELEMETRY`` holds, also 0.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    return onnxruntime
