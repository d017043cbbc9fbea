"""A classifier that is ready to score images."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from saferank.errors import ConfigurationError, ModelError, ModelFormatError
from saferank.models.cache import converted, open_converted
from saferank.models.description import (
    Category,
    ModelDescription,
    ModelFiles,
    identity,
    load_description,
    locate,
)
from saferank.models.preprocess import PREPROCESSING
from saferank.models.runtime import Runtime, RuntimeName, check_runtime_name, format_shape
from saferank.models.runtime_onnx import open_onnx

if TYPE_CHECKING:
    from PIL import Image

log = logging.getLogger(__name__)

# Of the size that the picture is resized to next: measured, see docs/explanation/scoring.md. With
# another one, ``_FIRST_READING`` of the description has another name.
_SCALED = 1.5

# Probabilities that exclude each other may add up to this much more than 1, in float32.
_ROUNDING = 1e-4


class Model:
    """A classifier: image to blob, blobs to probabilities.

    One with a cheap first pass also gives estimates, of which those below a margin may be stored.

    Do not share it between processes: create it after a fork, in the child.

    Attributes:
        description: what the model is.
        identity: what produced a probability, for storing with it; the same for every runtime.
        margin: from this estimate on, a probability is to be the exact one; None when there are no
            estimates.
        lacks: why there are none although the model has a cheap first pass; None otherwise.
    """

    def __init__(
        self,
        description: ModelDescription,
        files: ModelFiles,
        runtime: Runtime,
        first: Runtime | None = None,
        lacks: str | None = None,
    ) -> None:
        self.description = description
        self.identity = identity(description, files)
        self.margin = None if first is None or description.fast is None else description.fast.margin
        self.lacks = lacks
        self._files = files
        self._runtime = runtime
        self._first = first
        for each in (runtime, *([] if first is None else [first])):
            self._check_input(each)

    def preprocess(self, image: Image.Image) -> NDArray[np.float32]:
        """Turn a decoded image of any mode and size into a blob: (3, H, W) float32."""
        return PREPROCESSING[self.description.input.preprocessing](image, self.description.input)

    @property
    def net(self) -> object:
        """What runs; models of the categories of one description have the same."""
        return self._runtime

    @property
    def frame_rule(self) -> str:
        """How the frames of an image make one probability, see ``models.frames``."""
        return self.description.frames

    @property
    def scaled_to(self) -> int | None:
        """How many pixels a side must have at least for an estimate; None without estimates."""
        if self.margin is None:
            return None
        return math.ceil(_SCALED * max(self.description.input.resize))

    def of_category(self, name: str) -> Model:
        """The model of another of the description's categories, on the same runtime.

        Raises:
            ConfigurationError: there is no such category.
        """
        description = self.description.of_category(name)
        return Model(description, self._files, self._runtime, self._first, self.lacks)

    def by_category(self, blobs: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """Probabilities of all of the description's categories, from one forward pass.

        Args:
            blobs: as for ``probabilities``.

        Returns:
            By category, (N,) float32, each in 0..1; nothing for a model without categories.

        Raises:
            ModelError: as ``probabilities``.
            ConfigurationError: as ``probabilities``.
        """
        classes = self.classes(blobs)
        categories = self.description.output.categories
        return {name: self._combined(classes, each) for name, each in categories.items()}

    def probabilities(self, blobs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probability of the positive class, or of the category, for each blob.

        Args:
            blobs: (N, 3, H, W) float32 as ``preprocess`` gives them; N may be 0.

        Returns:
            (N,) float32, each in 0..1.

        Raises:
            ModelError: the blobs do not fit, or the net gave something that is no probability.
            ConfigurationError: the description does not fit the net's output.
        """
        return self.combined(self.classes(blobs))

    def combined(self, classes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probability of the positive class, or of the category, from those of all classes.

        Args:
            classes: as ``classes`` and ``estimated_classes`` give them.

        Returns:
            (N,) float32, each in 0..1.

        Raises:
            ModelError: classes that are to be added up do not exclude each other.
        """
        return self._combined(classes, self.description.output.counted)

    def estimates(self, blobs: NDArray[np.float32]) -> NDArray[np.float32]:
        """What ``probabilities`` gives, cheaper and less exact; by the exact net without another.

        Below ``margin`` they are good enough to be stored; from there on they only say that the
        exact probability is wanted.

        Raises:
            ModelError: as ``probabilities``.
            ConfigurationError: as ``probabilities``.
        """
        return self.combined(self.estimated_classes(blobs))

    def estimated_classes(self, blobs: NDArray[np.float32]) -> NDArray[np.float32]:
        """What ``classes`` gives, by the cheap net; by the exact one without another.

        Raises:
            ModelError: as ``probabilities``.
            ConfigurationError: as ``probabilities``.
        """
        return self._classes(self._first or self._runtime, blobs)

    def classes(self, blobs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probabilities of all classes for each blob: (N, classes) float32 in 0..1.

        Raises:
            ModelError: as ``probabilities``.
            ConfigurationError: as ``probabilities``.
        """
        return self._classes(self._runtime, blobs)

    def _classes(self, runtime: Runtime, blobs: NDArray[np.float32]) -> NDArray[np.float32]:
        output = self.description.output
        if len(blobs) == 0:
            return np.empty((0, len(output.classes)), np.float32)
        results = self._forward(runtime, blobs)
        if output.blob not in results:
            raise ConfigurationError(
                f'model {self.description.name}: the net has no output "{output.blob}"; '
                f"it has {', '.join(results)}"
            )
        values = self._values(results[output.blob], len(blobs))
        # NaN fails this too.
        if not ((values >= 0) & (values <= 1)).all():
            raise ModelError(
                f'model {self.description.name}: output "{output.blob}" is not a probability '
                f"({values.min()} to {values.max()}); name the blob after the softmax, or the "
                "kind that it is"
            )
        return values

    def _values(self, given: NDArray[np.float32], images: int) -> NDArray[np.float32]:
        """A number a class from what the net gives: (N, classes) float32."""
        output = self.description.output
        if output.kind == "detections":
            if given.ndim != 3 or given.shape[1] != 4 + len(output.classes):
                raise ConfigurationError(
                    f"model {self.description.name}: detections of {len(output.classes)} classes "
                    f"are N x {4 + len(output.classes)} x places, the output "
                    f'"{output.blob}" is {"x".join(map(str, given.shape))}'
                )
            return np.asarray(given[:, 4:].max(axis=2), np.float32)
        # A net that ends in a convolution gives N x classes x 1 x 1.
        values = given.reshape(images, -1)
        if values.shape[1] != len(output.classes):
            raise ConfigurationError(
                f"model {self.description.name}: the description names {len(output.classes)} "
                f'classes, the output "{output.blob}" has {values.shape[1]}'
            )
        if output.kind == "softmax":
            powers = np.exp(values - values.max(axis=1, keepdims=True))
            return np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float32)
        if output.kind == "sigmoid":
            # Of -x as well: exp never overflows.
            small = np.exp(-np.abs(values))
            return np.asarray(np.where(values >= 0, 1, small) / (1 + small), np.float32)
        return values

    def _combined(self, classes: NDArray[np.float32], category: Category) -> NDArray[np.float32]:
        chosen = classes[:, self.description.output.places(category)]
        if category.combine == "highest":
            return np.asarray(chosen.max(axis=1), np.float32)
        sums = np.asarray(chosen.sum(axis=1), np.float32)
        if (sums > 1 + _ROUNDING).any():
            raise ModelError(
                f"model {self.description.name}: the classes {', '.join(category.classes)} add up "
                f"to {sums.max():.4f}; they do not exclude each other, so combine the highest"
            )
        return np.minimum(sums, np.float32(1))

    def forward(self, blobs: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """All outputs of the net by their names, the first axis being the images.

        Args:
            blobs: (N, 3, H, W) float32, N at least 1.

        Raises:
            ModelError: the blobs do not fit, or the pass failed.
        """
        return self._forward(self._runtime, blobs)

    def _forward(
        self, runtime: Runtime, blobs: NDArray[np.float32]
    ) -> dict[str, NDArray[np.float32]]:
        name = self.description.input.blob
        if self.description.input.layout == "NHWC":
            blobs = blobs.transpose(0, 2, 3, 1)
        if runtime.inputs[name][0] is None:
            return runtime.run({name: blobs})
        each = [runtime.run({name: blob[None]}) for blob in blobs]
        return {output: np.concatenate([one[output] for one in each]) for output in each[0]}

    def class_maps(self, blobs: NDArray[np.float32]) -> NDArray[np.float32]:
        """What speaks for each class at each place of a picture, exactly.

        The mean over the places is what the net makes a class's probability of (its logit). Nothing
        is approximated: the net ends in an average over places and one layer, so its decision is a
        sum over places.

        Args:
            blobs: (N, 3, H, W) float32 as ``preprocess`` gives them, N at least 1.

        Returns:
            (N, classes, h, w) float32, for the places that are left at the end of the net.

        Raises:
            ModelError: the net ends otherwise; or as ``forward``.
            ConfigurationError: the model is an ONNX file.
        """
        from saferank.models.caffe import ending_of, read_prototxt, read_weights

        prototxt, weights = self._files.caffe
        output = self.description.output.blob
        ending = ending_of(read_prototxt(prototxt), read_weights(weights), output)
        name = self.description.input.blob
        net = open_net(prototxt, weights, shapes={name: blobs[:1].shape}, blobs=[ending.features])
        features = [net.run({name: blob[None]})[ending.features] for blob in blobs]
        return ending.maps(np.concatenate(features))

    def close(self) -> None:
        """Let the runtime go; only real Caffe holds anything outside this process."""
        self._runtime.close()

    def _check_input(self, runtime: Runtime) -> None:
        wanted = self.description.input
        inputs = runtime.inputs
        if set(inputs) != {wanted.blob}:
            raise ConfigurationError(
                f'model {self.description.name}: the description feeds "{wanted.blob}", '
                f"the net has the inputs {', '.join(inputs)}"
            )
        first = wanted.layout == "NCHW"
        needed = (None, 3, *wanted.size) if first else (None, *wanted.size, 3)
        have = inputs[wanted.blob]
        if len(have) != 4 or any(
            size is not None and size != there
            for size, there in zip(have[1:], needed[1:], strict=True)
        ):
            raise ConfigurationError(
                f"model {self.description.name}: the description gives {format_shape(needed[1:])}, "
                f"the net wants {format_shape(have[1:])}"
            )


def load_model(
    name_or_path: str | Path = "open_nsfw",
    *,
    runtime: RuntimeName = "onnx",
    threads: int = 1,
    passes: int = 1,
) -> Model:
    """Load a classifier.

    Args:
        name_or_path: a built-in name, or the path of a description (``model.toml``); with
            ``#CATEGORY`` at its end for one of the model's categories.
        runtime: ``onnx``, or ``caffe`` for a Caffe model where real Caffe is installed.
        threads: of one forward pass; 0 is one a core.
        passes: forward passes that will run at once, each asked for by a thread of its own.

    Raises:
        ModelNotFound: the description or a file is not there.
        ModelFormatError: a file is damaged or not the one that is meant.
        UnsupportedLayer: the net has a layer that cannot be converted faithfully.
        ConfigurationError: the description is wrong or does not fit the net.
    """
    description, folder = load_description(name_or_path)
    files = locate(description, folder)
    opened: Runtime
    if check_runtime_name(runtime) == "caffe":
        from saferank.models.runtime_caffe import CaffeRuntime

        # Converting checks the files, too, and tells what the net takes.
        inputs = open_converted(files, threads=1).inputs
        opened = CaffeRuntime(*files.caffe, inputs, threads=threads)
    elif files.prototxt is None:
        opened = open_onnx(files.weights, threads=threads)
    else:
        opened = open_converted(files, threads=threads)
    first, lacks = _open_first(description, files, threads, passes)
    if lacks is not None:
        log.warning(
            "%s: every image takes the exact, slower way, since %s", description.name, lacks
        )
    _give_back()
    return Model(description, files, opened, first, lacks)


def _give_back() -> None:
    """Return what reading the net took to the system: forty MB, which glibc would keep."""
    with contextlib.suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)


def _open_first(
    description: ModelDescription, files: ModelFiles, threads: int, passes: int
) -> tuple[Runtime | None, str | None]:
    """The cheap first pass, or what it lacks here; neither for a model without one.

    Going without it keeps the model's promise and so its identity: exact from the margin on.
    """
    if description.fast is None:
        return None, None
    from saferank.models.runtime_openvino import OpenvinoRuntime, lacking

    bfloat16 = files.first_net is None
    if (lacks := lacking(bfloat16=bfloat16)) is not None:
        return None, lacks
    net = files.first_net or converted(files)
    precision = "bf16" if bfloat16 else "f32"
    try:
        return OpenvinoRuntime(net, precision=precision, threads=threads, passes=passes), None
    except ModelFormatError:
        raise
    except ModelError as error:  # what OpenVINO says it can do, it can not always do
        return None, str(error)


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
    net = convert(read_prototxt(prototxt), read_weights(weights), shapes=shapes, blobs=tuple(blobs))
    if check_runtime_name(runtime) == "caffe":
        from saferank.models.runtime_caffe import CaffeRuntime

        return CaffeRuntime(prototxt, weights, net.inputs, tuple(net.outputs), threads=threads)
    from saferank.models.runtime_onnx import OnnxRuntime

    return OnnxRuntime(net.model.SerializeToString(), threads=threads)
