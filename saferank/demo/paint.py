"""Painters of the generated demo pictures: landscapes, spheres, walls, mosaics, waves, fractals.

Each returns an RGB picture of ``SIZE`` and is a pure function of its arguments. Colours are RGB
triples of 0..255.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIZE = (480, 360)

Colour = tuple[int, int, int]
_Plane = NDArray[np.float64]


def landscape(
    sky: tuple[Colour, Colour],
    ground: tuple[Colour, Colour],
    *,
    sun: tuple[float, float, float, Colour] | None = None,
    ridges: int = 5,
    roughness: float = 0.5,
    horizon: float = 0.55,
    stars: int = 0,
    seed: int = 0,
) -> Image.Image:
    """Paint hills behind hills under a sky.

    Args:
        sky: colours at the top and at the horizon.
        ground: colours of the farthest and of the nearest ridge.
        sun: x, y and radius as shares of the picture's size, and its colour.
        ridges: how many rows of hills; 0 leaves the sky alone.
        roughness: 0 for dunes, 1 for jagged mountains.
        horizon: height of the farthest ridge, as a share from the top.
        stars: how many.
        seed: of the random shapes.
    """
    random = np.random.default_rng(seed)
    x, y = _grid()
    picture = _blend(sky[0], sky[1], np.clip(y / horizon, 0, 1))
    if stars:
        columns = random.integers(0, SIZE[0], stars)
        rows = random.integers(0, SIZE[1], stars)
        picture[rows, columns] = 255 * random.uniform(0.4, 1, (stars, 1))
    if sun is not None:
        sun_x, sun_y, radius, colour = sun
        distance = np.hypot((x - sun_x) * SIZE[0] / SIZE[1], y - sun_y)
        glow = 0.55 * np.exp(-np.maximum(distance - radius, 0) / (3 * radius))
        disc = np.clip((radius - distance) * SIZE[1] / 2 + 0.5, 0, 1)
        _paint_over(picture, colour, np.maximum(glow, disc))
    for ridge in range(ridges):
        near = (ridge + 1) / ridges
        foot = horizon + (1 - horizon) * 0.85 * ridge / ridges
        line = foot + _ridge_line(random, roughness) * (0.05 + 0.06 * near)
        edge = np.clip((y - line) * SIZE[1] + 0.5, 0, 1)
        shade = 0.82 + 0.18 * np.clip((1 - y) / (1 - horizon), 0, 1)
        _paint_over(picture, _mix(ground[0], ground[1], near), edge, shade)
    return _image(picture)


def spheres(
    background: tuple[Colour, Colour],
    colours: Sequence[Colour],
    *,
    count: int = 9,
    radii: tuple[float, float] = (0.08, 0.2),
    seed: int = 0,
) -> Image.Image:
    """Paint smooth, softly lit spheres of ``colours`` on a graded background."""
    random = np.random.default_rng(seed)
    x, y = _grid()
    aspect = SIZE[0] / SIZE[1]
    picture = _blend(background[0], background[1], y)
    for number in range(count):
        radius = random.uniform(*radii)
        dx = (x - random.uniform(0.05, 0.95)) * aspect / radius
        dy = (y - random.uniform(0.1, 0.9)) / radius
        shadow = np.exp(-(((dx - 0.25) ** 2 + (dy - 0.35) ** 2) ** 2))
        _paint_over(picture, (20, 15, 15), 0.35 * shadow)
        inside = np.clip((1 - np.hypot(dx, dy)) * radius * SIZE[1] + 0.5, 0, 1)
        height = np.sqrt(np.clip(1 - dx**2 - dy**2, 0, 1))
        light = np.clip(0.35 + 0.75 * (-0.45 * dx - 0.55 * dy + 0.7 * height), 0.15, 1.25)
        _paint_over(picture, colours[number % len(colours)], inside, light)
    return _image(picture)


def wall(
    colour: Colour, *, contrast: float = 0.25, light: float = 0.5, seed: int = 0
) -> Image.Image:
    """Paint a rough plaster wall with light falling from the upper left."""
    random = np.random.default_rng(seed)
    x, y = _grid()
    relief = _noise(random, octaves=7)
    shade = 1 + contrast * relief + light * (0.5 - 0.5 * (x + y))
    picture = np.ones((SIZE[1], SIZE[0], 3)) * np.array(colour) * shade[..., None]
    return _image(picture)


def mosaic(colours: Sequence[Colour], *, tiles: int = 90, seed: int = 0) -> Image.Image:
    """Paint irregular tiles (a Voronoi diagram) with dark joints."""
    random = np.random.default_rng(seed)
    x, y = _grid()
    centres = random.uniform(0, 1, (tiles, 2))
    distances = np.hypot(
        (x[..., None] - centres[:, 0]) * SIZE[0] / SIZE[1], y[..., None] - centres[:, 1]
    )
    nearest = np.sort(distances, axis=-1)[..., :2]
    tint = np.array(colours, dtype=float)[random.integers(0, len(colours), tiles)]
    tint *= random.uniform(0.8, 1.15, (tiles, 1))
    picture = tint[distances.argmin(axis=-1)]
    joint = np.clip((0.012 - (nearest[..., 1] - nearest[..., 0])) / 0.006, 0, 1)
    _paint_over(picture, (30, 26, 34), joint)
    return _image(picture)


def waves(colours: tuple[Colour, Colour], *, sources: int = 3, seed: int = 0) -> Image.Image:
    """Paint the pattern of circular waves that meet."""
    random = np.random.default_rng(seed)
    x, y = _grid()
    height = np.zeros_like(x)
    for _ in range(sources):
        source_x, source_y = random.uniform(-0.2, 1.2, 2)
        height += np.sin(90 * np.hypot((x - source_x) * SIZE[0] / SIZE[1], y - source_y))
    return _image(_blend(colours[0], colours[1], 0.5 + height / (2 * sources)))


def fractal(
    colours: Sequence[Colour],
    *,
    centre: tuple[float, float] = (-0.6, 0.0),
    width: float = 3.2,
    steps: int = 90,
) -> Image.Image:
    """Paint a part of the Mandelbrot set, coloured by escape time."""
    x, y = _grid()
    c = centre[0] + (x - 0.5) * width + 1j * (centre[1] + (y - 0.5) * width * SIZE[1] / SIZE[0])
    z = np.zeros_like(c)
    escape = np.full(c.shape, float(steps))
    for step in range(steps):
        active = escape == steps
        z[active] = z[active] ** 2 + c[active]
        gone = active & (np.abs(z) > 4)
        escape[gone] = step + 1 - np.log2(np.log(np.abs(z[gone])))
    share = np.sqrt(np.clip(escape / steps, 0, 1))
    stops = np.linspace(0, 1, len(colours))
    channels = np.array(colours, dtype=float)
    return _image(np.stack([np.interp(share, stops, channels[:, n]) for n in range(3)], axis=-1))


def _grid() -> tuple[_Plane, _Plane]:
    y, x = np.mgrid[0 : 1 : SIZE[1] * 1j, 0 : 1 : SIZE[0] * 1j]
    return x, y


def _mix(first: Colour, second: Colour, share: float) -> Colour:
    red, green, blue = (
        round(one + (two - one) * share) for one, two in zip(first, second, strict=True)
    )
    return red, green, blue


def _blend(first: Colour, second: Colour, share: _Plane) -> NDArray[np.float64]:
    start, end = np.array(first, dtype=float), np.array(second, dtype=float)
    blended: NDArray[np.float64] = start + (end - start) * share[..., None]
    return blended


def _paint_over(
    picture: NDArray[np.float64], colour: Colour, opacity: _Plane, shade: _Plane | float = 1.0
) -> None:
    paint = np.array(colour, dtype=float) * np.asarray(shade)[..., None]
    picture += (paint - picture) * opacity[..., None]


def _ridge_line(random: np.random.Generator, roughness: float) -> _Plane:
    x = np.linspace(0, 1, SIZE[0])
    line = np.zeros_like(x)
    for octave in range(1 + round(6 * roughness)):
        frequency = 1.5 * 2**octave
        strength = (0.35 + 0.3 * roughness) ** octave
        line += strength * np.sin(2 * np.pi * (frequency * x + random.uniform()))
    return line


def _noise(random: np.random.Generator, octaves: int) -> _Plane:
    """Return smooth noise in about -1..1: random grids of growing fineness, added up."""
    total = np.zeros((SIZE[1], SIZE[0]))
    for octave in range(1, octaves + 1):
        cells = 2**octave
        grid = random.uniform(-1, 1, (cells, cells)).astype(np.float32)
        layer = Image.fromarray(grid, mode="F").resize(SIZE, Image.Resampling.BICUBIC)
        total += np.asarray(layer) * 0.6 ** (octave - 1)
    return total / 1.6


def _image(picture: NDArray[np.float64]) -> Image.Image:
    return Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8), mode="RGB")
