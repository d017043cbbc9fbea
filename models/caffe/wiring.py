"""Who reads which blob: checked by the rules that Caffe itself applies."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from saferank.models.caffe.layer import REGISTRY, Layer


def check_wiring(layers: Sequence[Layer]) -> list[str]:
    """Check that every blob is produced before it is read, and once, and mark in-place layers.

    Returns:
        The names of the net's outputs: blobs that no layer reads after they were last written,
        inputs among them, sorted by name as Caffe sorts them.

    Raises:
        ModelFormatError: the blobs do not fit together.
        UnsupportedLayer: a layer overwrites its bottom although it still needs it.
    """
    # The layer that wrote a blob last, and the layers that read it since.
    writer: dict[str, Layer] = {}
    readers: dict[str, list[Layer]] = {}
    # In-place layers with the readers of what they overwrite: the list still grows.
    overwrites: list[tuple[Layer, str, list[Layer]]] = []
    for index, layer in enumerate(layers):
        bottoms, tops = list(layer.proto.bottom), list(layer.proto.top)
        for name in bottoms:
            if name not in writer:
                _not_produced(layer, name, writer, layers[index + 1 :])
            readers[name].append(layer)
        for position, name in enumerate(tops):
            if name in writer:
                # In place means: the top has the name of the bottom at the same place.
                if position >= len(bottoms) or bottoms[position] != name:
                    layer.fail(
                        f'top "{name}" is already produced by layer "{writer[name].name}"', "top"
                    )
                _check_in_place(layer, name, position)
                overwrites.append((layer, name, readers[name]))
            writer[name], readers[name] = layer, []
    for layer, name, others in overwrites:
        for other in others:
            if other is not layer:
                layer.fail(
                    f'works in place on "{name}", which layer "{other.name}" also reads; give it a '
                    "top of its own",
                    "top",
                )
        if len(others) > 1:
            layer.fail(f'works in place on "{name}" and reads it twice', "top")
    return sorted(name for name, since in readers.items() if not since)


def _check_in_place(layer: Layer, name: str, position: int) -> None:
    kind = REGISTRY.get(layer.type)
    if kind is not None and not (kind.in_place and position == 0):
        layer.refuse(
            f'{layer.type} cannot work in place on "{name}": it would overwrite what it reads',
            "top",
        )
    layer.in_place = True


def _not_produced(
    layer: Layer, name: str, writer: dict[str, Layer], later: Sequence[Layer]
) -> None:
    reason = f'bottom "{name}" is not produced by any earlier layer'
    for other in later:
        if name in other.proto.top:
            layer.fail(f'{reason}; layer "{other.name}" produces it later', "bottom")
    close = difflib.get_close_matches(name, list(writer), n=1)
    layer.fail(f"{reason}{f' (is {close[0]!r} meant?)' if close else ''}", "bottom")
