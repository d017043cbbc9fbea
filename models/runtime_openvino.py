"""OpenVINO behind the runtime's seam: the cheap first pass, in fewer bits than float32 has."""

from __future__ import annotations

import importlib.util
import sys
import threading
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from saferank.errors import ModelError, ModelFormatError
from saferank.models.runtime import Arrays, check_inputs


def import_openvino() -> Any:
    """Import OpenVINO without its telemetry, which sends an event at the import itself.

    It has a lasting id of the user in it. Without the package that sends it, there is none, from
    NNCF neither. An application that has imported OpenVINO before has decided itself.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    return openvino


def lacking(*, bfloat16: bool) -> str | None:
    """What is missing here for a first pass, as the end of a sentence; None when nothing is.

    Args:
        bfloat16: whether the net is to run in it, which takes instructions for it: without them it
            would be slower than the exact net.
    """
    if importlib.util.find_spec("openvino") is None:
        return "OpenVINO is not installed; install it with: pip install 'saferank[fast]'"
    if not bfloat16:
        return None
    openvino = import_openvino()
    able = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return None if "BF16" in able else "this processor has no instructions for bfloat16"


IR = ("net.xml", "net.bin")
"""OpenVINO's own form of a net, in which eight-bit nets run fastest: layers, and weights."""


class OpenvinoRuntime:
    """A converted net in OpenVINO on the processor.

    Args:
        model: bytes of an ONNX model, or path of a zip file with the two of `IR`; with the names
            that the builder writes.
        precision: what layers compute in that the net does not say it of: ``bf16`` or ``f32``.
            Always said, so that no processor decides.
        threads: of one forward pass; 0 is one a core.
        passes: forward passes at once.

    Raises:
        ModelFormatError: OpenVINO cannot read the net.
        ModelError: it cannot run it on this processor.
    """

    # As the builder writes them; not imported from there, which would import all of onnx.
    _INPUT, _OUTPUT = "in:", "out:"

    def __init__(
        self, model: Path | bytes, *, precision: str, threads: int = 0, passes: int = 1
    ) -> None:
        core = import_openvino().Core()
        options = {
            "INFERENCE_PRECISION_HINT": precision,
            "INFERENCE_NUM_THREADS": threads * passes,
            "NUM_STREAMS": passes,
            # Else it pins the threads of every process to the same first cores.
            "ENABLE_CPU_PINNING": False,
        }
        try:
            net = core.read_model(model) if isinstance(model, bytes) else _unpacked(core, model)
        except Exception as error:  # plain RuntimeErrors
            raise ModelFormatError(f"OpenVINO cannot read the net: {error}") from error
        try:
            self._net = core.compile_model(net, "CPU", options)
        except Exception as error:
            reason = " ".join(str(error).split())
            raise ModelError(f"OpenVINO cannot run the net on this processor: {reason}") from error
        # A request is one thread's alone.
        self._own = threading.local()
        self._inputs = {
            _name(each, self._INPUT): tuple(
                int(size.get_length()) if size.is_static else None for size in each.partial_shape
            )
            for each in self._net.inputs
        }

    @property
    def inputs(self) -> Mapping[str, tuple[int | None, ...]]:
        """Shape of each input by Caffe's name; None where any size will do."""
        return self._inputs

    def run(self, inputs: Arrays) -> dict[str, NDArray[np.float32]]:
        """See `Runtime.run`."""
        check_inputs(self._inputs, inputs)
        feed = {
            self._INPUT + name: np.ascontiguousarray(values, dtype=np.float32)
            for name, values in inputs.items()
        }
        try:
            if not hasattr(self._own, "request"):
                self._own.request = self._net.create_infer_request()
            results = self._own.request.infer(feed)
        except Exception as error:
            raise ModelError(f"the forward pass failed: {error}") from error
        # Copies: the next pass writes into the same memory.
        return {_name(each, self._OUTPUT): results[each].copy() for each in self._net.outputs}

    def close(self) -> None:
        """See `Runtime.close`; the net's memory goes with this object."""


def _name(port: Any, prefix: str) -> str:
    names: set[str] = port.names
    return next(name for name in names if name.startswith(prefix)).removeprefix(prefix)


def _unpacked(core: Any, path: Path) -> Any:
    with zipfile.ZipFile(path) as archive:
        layers, weights = (archive.read(name) for name in IR)
    values = np.frombuffer(weights, np.uint8)
    return core.read_model(layers, import_openvino().Tensor(values))
