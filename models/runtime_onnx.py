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

_FLOAT32 = "tensor(float)"


class OnnxRuntime:
    """A net in onnxruntime on the processor, a converted one or one that came as ONNX.

    Args:
        model: path or bytes of the ONNX model.
        threads: of one forward pass; 0 is one a core.

    Raises:
        ModelFormatError: onnxruntime cannot load the net, or it takes no float32.
    """

    # As the builder writes them; not imported from there, which would import all of onnx.
    _INPUT, _OUTPUT = "in:", "out:"

    def __init__(self, model: Path | bytes, *, threads: int = 0) -> None:
        onnxruntime = _import_onnxruntime()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        # A plan of the memory for each number of images takes twenty MB, and saves no time.
        options.enable_mem_pattern = False
        source = str(model) if isinstance(model, Path) else model
        try:
            self._session = onnxruntime.InferenceSession(
                source, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime has a class of its own for each status
            raise ModelFormatError(f"onnxruntime cannot load the net: {error}") from error
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        for each in inputs:
            if each.type != _FLOAT32:
                raise ModelFormatError(
                    f'the net\'s input "{each.name}" is {each.type}; export it with one of float32'
                )
        # What came as ONNX has names of its own; labels and the like beside its values are left.
        outputs = [each for each in outputs if each.type == _FLOAT32]
        self._given = {each.name.removeprefix(self._INPUT): each.name for each in inputs}
        self._wanted = [each.name for each in outputs]
        self._inputs = {each.name.removeprefix(self._INPUT): _shape(each) for each in inputs}
        self._outputs = {each.name.removeprefix(self._OUTPUT): _shape(each) for each in outputs}

    @property
    def inputs(self) -> Mapping[str, tuple[int | None, ...]]:
        """Shape of each input by its name; None where any size will do."""
        return self._inputs

    @property
    def outputs(self) -> Mapping[str, tuple[int | None, ...]]:
        """Shape of each output by its name; None where it depends on the number of images."""
        return self._outputs

    def run(self, inputs: Arrays) -> dict[str, NDArray[np.float32]]:
        """See `Runtime.run`."""
        check_inputs(self._inputs, inputs)
        feed = {
            self._given[name]: np.ascontiguousarray(values, dtype=np.float32)
            for name, values in inputs.items()
        }
        try:
            results = self._session.run(self._wanted, feed)
        except Exception as error:
            raise ModelError(f"the forward pass failed: {error}") from error
        return dict(zip(self._outputs, results, strict=True))

    def close(self) -> None:
        """See `Runtime.close`; the session's memory goes with this object."""


def _shape(port: Any) -> tuple[int | None, ...]:
    return tuple(size if isinstance(size, int) else None for size in port.shape)


def open_onnx(path: Path, *, threads: int) -> OnnxRuntime:
    """Open a net that came as ONNX.

    Raises:
        ModelFormatError: it is no such file, or has its weights elsewhere.
    """
    import onnx
    from google.protobuf.message import DecodeError
    from onnx.external_data_helper import uses_external_data

    try:
        net = onnx.load(path, load_external_data=False)
    except (DecodeError, ValueError) as error:
        raise ModelFormatError(f"{path} is not an ONNX file: {error}") from error
    # Their bytes would be no part of the identity.
    if any(uses_external_data(tensor) for tensor in net.graph.initializer):
        raise ModelFormatError(
            f"{path} has its weights in other files; save it as one file, weights and all"
        )
    return OnnxRuntime(path, threads=threads)


def _import_onnxruntime() -> Any:
    """Import the engine without its telemetry, which 1.30 and newer begin at the import itself.

    What the operator says in ``ORT_DISABLE_TELEMETRY`` holds, also 0.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    return onnxruntime
