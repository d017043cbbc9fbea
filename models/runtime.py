"""What runs a net: the seam, and onnxruntime behind it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from saferank.errors import ConfigurationError, ModelError, ModelFormatError

RuntimeName = Literal["onnx", "caffe"]

Arrays = Mapping[str, NDArray[np.float32]]


class Runtime(Protocol):
    """A net that is ready to run."""

    @property
    def inputs(self) -> Mapping[str, tuple[int | None, ...]]:
        """Shape of each input by Caffe's name; None where any size will do."""

    def run(self, inputs: Arrays) -> dict[str, NDArray[np.float32]]:
        """One forward pass: input blobs in, output blobs out, by Caffe's names.

        Raises:
            ModelError: the inputs do not fit, or the pass failed.
        """

    def close(self) -> None:
        """Let go of what the runtime holds; it cannot run after that."""


def open_net(
    prototxt: Path,
    weights: Path,
    *,
    runtime: RuntimeName = "onnx",
    shapes: Mapping[str, Sequence[int]] | None = None,
    blobs: Iterable[str] = (),
    threads: int = 0,
) -> Runtime:
    """Open a net of any kind, for just the shapes that it declares.

    Args:
        prototxt: path of the network.
        weights: path of the weights.
        runtime: what runs it.
        shapes: input shapes that win over the declared ones.
        blobs: blobs to give out; the net's outputs when there are none.
        threads: of one forward pass; 0 is one a core.

    Raises:
        ModelError: the files are wrong or missing, or the runtime cannot run them.
    """
    from saferank.models.caffe import convert, read_prototxt, read_weights

    # Converted for Caffe too: real Caffe ends the process on some faults and overlooks others.
    converted = convert(
        read_prototxt(prototxt), read_weights(weights), shapes=shapes, blobs=tuple(blobs)
    )
    if check_runtime_name(runtime) == "caffe":
        from saferank.models.runtime_caffe import CaffeRuntime

        return CaffeRuntime(
            prototxt, weights, converted.inputs, tuple(converted.outputs), threads=threads
        )
    return OnnxRuntime(converted.model.SerializeToString(), threads=threads)


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


class OnnxRuntime:
    """A converted net in onnxruntime on the processor.

    Args:
        model: path or bytes of the ONNX model.
        threads: of one forward pass; 0 is one a core.
    """

    # As the builder writes them; not imported from there, which would import all of onnx.
    _INPUT, _OUTPUT = "in:", "out:"

    def __init__(self, model: Path | bytes, *, threads: int = 0) -> None:
        import onnxruntime

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
            want = "x".join("N" if size is None else str(size) for size in shape)
            raise ModelError(
                f'the input "{name}" is {"x".join(map(str, have))}, the net needs {want}'
            )
