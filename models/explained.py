"""A picture with what speaks for a class drawn over it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

    from saferank.models.model import Model
    from saferank.models.preprocess import Input

_FOR, _AGAINST = (255, 0, 0), (0, 90, 255)
_DENSEST = 170  # of 255: the picture stays visible


def evidence_of(blob: NDArray[np.float32], model: Model) -> NDArray[np.float32]:
    """What the classes that count have over the others, at each place of a picture.

    Args:
        blob: 3 x H x W, as the model's ``preprocess`` gives it.
        model: the classifier.

    Raises:
        ModelError: as ``Model.class_maps``.
    """
    import numpy as np

    output = model.description.output
    counted = output.places(output.counted)
    maps = model.class_maps(blob[None])[0]
    others = np.delete(maps, counted, axis=0)
    evidence: NDArray[np.float32] = maps[counted].mean(axis=0) - others.mean(axis=0)
    return evidence


def explained(picture: Image.Image, evidence: NDArray[np.float32], seen: Input) -> Image.Image:
    """Draw red over what speaks for the class, and blue over what speaks against it.

    Args:
        picture: as it was scored, RGB.
        evidence: places x places; the strongest is drawn densest, others in proportion.
        seen: how the model sees the picture; what it cuts off stays as it is.
    """
    import numpy as np
    from PIL import Image

    from saferank.models.preprocess import seen_box

    strength = evidence / (np.abs(evidence).max() or 1.0)
    left, top, right, bottom = map(round, seen_box(picture.size, seen))
    right, bottom = max(left + 1, right), max(top + 1, bottom)
    drawn = picture.convert("RGB")
    for colour, part in ((_FOR, strength), (_AGAINST, -strength)):
        density = Image.fromarray((_DENSEST * part.clip(0, 1)).astype(np.uint8))
        mask = Image.new("L", drawn.size)
        mask.paste(density.resize((right - left, bottom - top)), (left, top))
        drawn.paste(colour, mask=mask)
    return drawn
