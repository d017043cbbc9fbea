"""Colour spaces that a file gives by numbers instead of a profile, and the way from them to sRGB.

PNG does it with gAMA and cHRM, and PNG, AVIF and HEIF with the code points of ITU-T H.273 (cICP,
nclx). Followed here is what Chromium 156 was seen to do with each; where it and others disagree
(PQ and HLG, which are for brighter screens) the numbers are shown as if they were sRGB.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_Matrix = NDArray[np.floating]
_STRIP = 1_000_000  # pixels converted at a time: bounds the memory of the intermediate copies
_SCREEN_GAMMA, _USUAL = 2.2, 0.05  # 1 / 2.2 is what gAMA says of sRGB, give or take
_LEVELS = 65536  # steps of the table from light to sRGB


class Curve(NamedTuple):
    """From stored values to light, both 0 to 1: ``(a v + b) ** g`` from ``d`` on, else ``c v``."""

    g: float
    a: float = 1.0
    b: float = 0.0
    c: float = 1.0
    d: float = 0.0

    def light(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Apply the curve."""
        raised = np.maximum(self.a * values + self.b, 0.0) ** self.g
        return np.where(values >= self.d, raised, self.c * values)


SRGB = Curve(2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
_VIDEO = Curve(2.4)
_SMPTE_240 = Curve(1 / 0.45, 1 / 1.1115, 0.1115 / 1.1115, 1 / 4, 0.0913)
_SMPTE_428 = Curve(2.6, (52.37 / 48) ** (1 / 2.6))

Primaries = tuple[float, float, float, float, float, float, float, float]
"""x and y of white, red, green and blue."""

_D65 = (0.3127, 0.329)
_SRGB_PRIMARIES: Primaries = (*_D65, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)

# By the code points of H.273.
_PRIMARIES: dict[int, Primaries] = {
    1: _SRGB_PRIMARIES,
    4: (0.31, 0.316, 0.67, 0.33, 0.21, 0.71, 0.14, 0.08),
    5: (*_D65, 0.64, 0.33, 0.29, 0.6, 0.15, 0.06),
    6: (*_D65, 0.63, 0.34, 0.31, 0.595, 0.155, 0.07),
    7: (*_D65, 0.63, 0.34, 0.31, 0.595, 0.155, 0.07),
    8: (0.31, 0.316, 0.681, 0.319, 0.243, 0.692, 0.145, 0.049),
    9: (*_D65, 0.708, 0.292, 0.17, 0.797, 0.131, 0.046),
    10: (1 / 3, 1 / 3, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0),
    11: (0.314, 0.351, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06),
    12: (*_D65, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06),
    22: (*_D65, 0.63, 0.34, 0.295, 0.605, 0.155, 0.077),
}
_CURVES = {4: Curve(2.2), 5: Curve(2.8), 7: _SMPTE_240, 8: Curve(1.0), 13: SRGB, 17: _SMPTE_428}
_VIDEO_CURVES = frozenset({1, 6, 11, 14, 15})


@dataclass(frozen=True, slots=True)
class ColourSpace:
    """What the numbers of a picture stand for.

    Attributes:
        curve: from values to light.
        matrix: from its light to that of sRGB, row by row.
    """

    curve: Curve
    matrix: tuple[tuple[float, ...], ...]

    @classmethod
    def of(cls, curve: Curve, primaries: Sequence[float]) -> ColourSpace | None:
        """Make one; None when the primaries are not those of any light."""
        try:
            matrix = _to_srgb_light(primaries)
        except (np.linalg.LinAlgError, ZeroDivisionError):
            return None
        return cls(curve, tuple(map(tuple, matrix.tolist())))


def of_png_numbers(gamma: float, chromaticities: Sequence[float] | None) -> ColourSpace | None:
    """The space of a PNG's gAMA and cHRM; None when they change nothing or make no sense together.

    Without cHRM, a gAMA as most files have it stands for sRGB's own curve.
    """
    if chromaticities is None:
        if abs(gamma * _SCREEN_GAMMA - 1) <= _USUAL:
            return None
        chromaticities = _SRGB_PRIMARIES
    x_and_y_are_fractions = all(0 <= value <= 1 for value in chromaticities)
    if gamma <= 0 or not x_and_y_are_fractions:
        return None
    return ColourSpace.of(Curve(1 / gamma), chromaticities)


@lru_cache(maxsize=64)
def of_code_points(primaries: int, transfer: int, *, video: Curve = SRGB) -> ColourSpace | None:
    """The space of H.273's code points.

    Args:
        primaries: ColourPrimaries.
        transfer: TransferCharacteristics.
        video: the curve for television's transfer functions (BT.709 and its kin): browsers show
            them as sRGB in AVIF, and by the screen's 2.4 in PNG.

    Returns:
        None when the codes are unknown, or viewers disagree about them (PQ, HLG).
    """
    curve = video if transfer in _VIDEO_CURVES else _CURVES.get(transfer)
    numbers = _PRIMARIES.get(primaries)
    return None if curve is None or numbers is None else ColourSpace.of(curve, numbers)


def of_png_codes(body: bytes | memoryview) -> ColourSpace | None:
    """The space of a PNG's cICP chunk."""
    if len(body) != 4 or body[2] != 0 or body[3] != 1:  # RGB, full range
        return None
    return of_code_points(body[0], body[1], video=_VIDEO)


def converted(image: Image.Image, space: ColourSpace) -> Image.Image:
    """Convert ``RGB`` or ``RGBA`` from a space to sRGB."""
    if space.curve == SRGB and np.allclose(space.matrix, np.eye(3), atol=1e-4):
        return image
    result = image.copy()
    rows = max(1, _STRIP // image.width)
    light = space.curve.light(np.arange(256) / 255).astype(np.float32)
    matrix = np.asarray(space.matrix, np.float32).T
    for top in range(0, image.height, rows):
        strip = np.array(image.crop((0, top, image.width, min(top + rows, image.height))))
        srgb_light = np.clip(light[strip[..., :3]] @ matrix, 0.0, 1.0)
        steps = np.rint(srgb_light * (_LEVELS - 1)).astype(np.uint16)
        strip[..., :3] = _srgb_of_light()[steps]
        result.paste(Image.fromarray(strip), (0, top))
    return result


@lru_cache(maxsize=1)
def _srgb_of_light() -> NDArray[np.uint8]:
    """sRGB's eight-bit value for each step of light from none to full."""
    light = np.arange(_LEVELS) / (_LEVELS - 1)
    curved = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    table: NDArray[np.uint8] = np.rint(255 * curved).astype(np.uint8)
    return table


# Bradford's cone responses: how the eye adapts from one white to another.
_CONES = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])


def _to_srgb_light(primaries: Sequence[float]) -> _Matrix:
    """From the light of some primaries to that of sRGB's, white staying white."""
    own, white = _to_xyz(primaries)
    srgb, d65 = _to_xyz(_SRGB_PRIMARIES)
    adapted = np.linalg.solve(_CONES, np.diag((_CONES @ d65) / (_CONES @ white)) @ _CONES)
    matrix: _Matrix = np.linalg.solve(srgb, adapted @ own)
    if not np.isfinite(matrix).all():
        raise np.linalg.LinAlgError
    return matrix


def _to_xyz(primaries: Sequence[float]) -> tuple[_Matrix, _Matrix]:
    """From the light of some primaries to CIE XYZ, and their white in it."""
    (white_x, white_y), *colours = zip(primaries[::2], primaries[1::2], strict=True)
    white = np.array([white_x / white_y, 1.0, (1 - white_x - white_y) / white_y])
    directions = np.array([[x, y, 1 - x - y] for x, y in colours]).T
    return directions * np.linalg.solve(directions, white), white
