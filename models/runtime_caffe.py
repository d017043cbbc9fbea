"""Real Caffe behind the runtime's seam, where ``import caffe`` works.

Caffe ends its process on any fault it finds, so it lives in a child process, and what it printed
becomes the error. Arrays go over the child's standard input and output.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, NoReturn

import numpy as np
from numpy.typing import NDArray

from saferank.errors import ConfigurationError, ModelError
from saferank.models.runtime import Arrays, check_inputs


class CaffeRuntime:
    """A net in real Caffe on the processor.

    Args:
        prototxt: path of the network.
        weights: path of the weights.
        inputs: shape of each input; a first axis of None runs any number of images.
        blobs: blobs to give out; the net's outputs when there are none.
        threads: of one forward pass; 0 is one a core.

    Raises:
        ConfigurationError: Caffe is not installed.
        ModelError: Caffe refuses the net.
    """

    def __init__(
        self,
        prototxt: Path,
        weights: Path,
        inputs: Mapping[str, Sequence[int | None]],
        blobs: Sequence[str] = (),
        *,
        threads: int = 0,
    ) -> None:
        self._inputs = {name: tuple(shape) for name, shape in inputs.items()}
        self._turn = threading.Lock()
        self._printed = tempfile.TemporaryFile()  # noqa: SIM115  (closed in close)
        environment = dict(os.environ, GLOG_logtostderr="1", GLOG_minloglevel="2")
        environment["OPENBLAS_NUM_THREADS"] = str(threads or os.cpu_count() or 1)
        command = [sys.executable, "-m", __name__, str(prototxt), str(weights), *blobs]
        self._child = subprocess.Popen(  # noqa: S603  (our own module and interpreter)
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._printed,
            env=environment,
        )
        try:
            self._receive()  # an empty answer: Caffe has the net
        except BaseException:
            self.close()
            raise

    @property
    def inputs(self) -> Mapping[str, tuple[int | None, ...]]:
        """Shape of each input by Caffe's name; None where any size will do."""
        return self._inputs

    def run(self, inputs: Arrays) -> dict[str, NDArray[np.float32]]:
        """See `saferank.models.runtime.Runtime.run`."""
        check_inputs(self._inputs, inputs)
        assert self._child.stdin is not None
        with self._turn:
            try:
                _send(self._child.stdin, inputs)
            except BrokenPipeError:
                self._fail()
            return self._receive()

    def close(self) -> None:
        """End the child, which would also end with its parent."""
        for stream in (self._child.stdin, self._child.stdout, self._printed):
            if stream is not None:
                stream.close()
        self._child.wait()

    def _receive(self) -> dict[str, NDArray[np.float32]]:
        assert self._child.stdout is not None
        arrays = _receive(self._child.stdout)
        if arrays is None:
            self._fail()
        return arrays

    def _fail(self) -> NoReturn:
        code = self._child.wait()
        self._printed.seek(0)
        lines = self._printed.read().decode(errors="replace").strip().splitlines() or [""]
        if lines[-1].startswith(("ModuleNotFoundError", "ImportError")):
            raise ConfigurationError(
                f"the runtime 'caffe' needs Caffe for this Python ({lines[-1]}); build it with "
                "'make caffe', or use the runtime 'onnx'"
            )
        # Caffe's and protobuf's own lines; glog prints a stack trace below them.
        reasons = [line for line in lines if line.startswith(("F", "[libprotobuf ERROR"))]
        raise ModelError(f"Caffe gave up (exit code {code}): {' '.join(reasons or lines[-1:])}")


def _send(stream: IO[bytes], arrays: Mapping[str, NDArray[np.float32]]) -> None:
    """Write named arrays: a line of JSON with names and shapes, then the float32 values."""
    header = {name: array.shape for name, array in arrays.items()}
    stream.write(json.dumps(header).encode() + b"\n")
    for array in arrays.values():
        stream.write(np.ascontiguousarray(array, np.float32).tobytes())
    stream.flush()


def _receive(stream: IO[bytes]) -> dict[str, NDArray[np.float32]] | None:
    """Read what `_send` wrote; None when the other side has gone."""
    line = stream.readline()
    if not line.endswith(b"\n"):
        return None
    arrays = {}
    for name, shape in json.loads(line).items():
        values = stream.read(4 * math.prod(shape))
        arrays[name] = np.frombuffer(values, np.float32).reshape(shape)
    return arrays


def _serve(prototxt: str, weights: str, *blobs: str) -> None:
    """Be the child: load the net, then answer until the parent closes the pipe."""
    import caffe

    net = caffe.Net(prototxt, weights, caffe.TEST)
    _send(sys.stdout.buffer, {})
    while (inputs := _receive(sys.stdin.buffer)) is not None:
        for name, values in inputs.items():
            # Numbers of images change; the layers follow at the next pass.
            if net.blobs[name].data.shape != values.shape:
                net.blobs[name].reshape(*values.shape)
            net.blobs[name].data[...] = values
        net.forward()
        _send(sys.stdout.buffer, {name: net.blobs[name].data for name in blobs or net.outputs})


if __name__ == "__main__":
    _serve(*sys.argv[1:])
