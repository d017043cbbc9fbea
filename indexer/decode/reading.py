"""Decode a file to the pictures that a viewer sees, in this process."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, islice, repeat

from PIL import Image, ImageFile

from saferank.errors import ErrorCode, ImageError
from saferank.indexer.decode import (
    apng,
    bitmap,
    boxes,
    formats,
    gif,
    icon,
    jpeg,
    jxl,
    limits,
    tiff,
    video,
    webp,
)
from saferank.indexer.decode.colour import as_shown
from saferank.indexer.decode.composing import Animation, compose
from saferank.indexer.decode.exif import Orientation, lies, orientation, turned
from saferank.indexer.decode.failures import coded
from saferank.indexer.decode.frames import chosen
from saferank.indexer.decode.png import SIGNATURE, check_rows, checked_png, open_png
from saferank.indexer.decode.tiles import is_long, places, tiles
from saferank.settings import DecodeSettings

_NOT_TURNED = Orientation()


@dataclass(frozen=True, slots=True)
class Decoded:
    """The pictures of one file.

    Attributes:
        frames: one picture, or some of an animation's, each RGB, upright, opaque, sRGB.
        alternatives: the same as other viewers may show them: otherwise turned, for example.
        frame_count: how many frames the file has.
        width: pixels of the first picture, upright.
        height: pixels of the first picture, upright.
        format: the file's format as Pillow calls it.
        partial: the file ends early, and the part that is there was decoded.
    """

    frames: list[Image.Image]
    frame_count: int
    width: int
    height: int
    format: str
    partial: bool = False
    alternatives: list[Image.Image] = field(default_factory=list)

    @property
    def shown(self) -> list[Image.Image]:
        """Everything that some viewer may show."""
        return self.frames + self.alternatives

    @property
    def pictures(self) -> list[Image.Image]:
        """What is shown, and parts of it: the highest probability among them counts."""
        return self.shown + tiles(self.shown)

    @property
    def places(self) -> list[int]:
        """For each of the ``pictures``, which of those shown it is or is a part of."""
        own = range(len(self.shown))
        return [*own, *places([picture.size for picture in self.shown])]


def read(data: bytes, settings: DecodeSettings, names: list[str] | None = None) -> Decoded:
    """Decode a file to what a viewer sees.

    Args:
        data: the whole file.
        settings: limits.
        names: formats to consider, as Pillow calls them; all readable ones unless given.

    Raises:
        ImageError: the file has no picture that can be trusted.
    """
    limits.let_pillow_open(settings)
    with coded(data):
        if data.startswith(SIGNATURE):
            data = checked_png(data)
        if (animation := _animation(data, settings)) is not None:
            return _read_animation(animation, settings)
        if video.kind_of(data) is not None:
            return _read_video(data, settings)
        if tiff.is_tiff(data):
            return _read_pages(data, settings)
        decoded = _read_file(webp.as_in_chromium(data), settings, names)
        elsewhere = webp.as_elsewhere(data) or boxes.as_elsewhere(data)
        if elsewhere is None:
            return decoded
        others = _read_file(elsewhere, settings, names).shown
        return replace(decoded, alternatives=decoded.alternatives + others)


def read_scaled(data: bytes, settings: DecodeSettings, least: int) -> Decoded | None:
    """Decode a large JPEG at a fraction of its size, in a third of the time.

    Args:
        data: the whole file.
        settings: limits.
        least: pixels that each side keeps at least.

    Returns:
        The pictures, but with the ``width`` and ``height`` of the whole one; None where ``read``
        is to be asked: there is nothing to gain, or something is wrong with the file.
    """
    limits.let_pillow_open(settings)
    try:
        with coded(data):
            image = _open(data, settings, ["JPEG"])
            size = image.size
            image.draft(None, (least, least))
            # Made smaller, a long picture may count as none, and its parts would not be looked at.
            if image.size == size or image.format != "JPEG" or is_long(*size):
                return None
            early = image.info.get("exif")
            image.load()
            turn = orientation(image, b"" if early else image.info.pop("exif", None) or b"")
            decoded = _decoded([as_shown(image)], turn, 1, "JPEG")
    except ImageError:
        return None
    width, height = reversed(size) if lies(turn.seen) else size
    return replace(decoded, width=width, height=height)


def _read_video(data: bytes, settings: DecodeSettings) -> Decoded:
    found = video.read(data, settings, partial=ImageFile.LOAD_TRUNCATED_IMAGES)
    return Decoded(found.frames, found.frame_count, *found.frames[0].size, found.format)


def _read_pages(data: bytes, settings: DecodeSettings) -> Decoded:
    """Decode the pictures of a TIFF file; other viewers show smaller ones that are before them."""
    directories = tiff.parse(data, settings)
    shown = _pages(data, directories.pictures, settings)
    others = _pages(data, directories.renditions, settings)
    # Pillow turns each page itself.
    return _decoded(shown, _NOT_TURNED, len(directories.pictures), "TIFF", others)


def _pages(data: bytes, places: list[int], settings: DecodeSettings) -> list[Image.Image]:
    def opened(place: int) -> Image.Image:
        return _open(tiff.beginning_at(data, place), settings, ["TIFF"])

    if not places:
        return []
    pages = []
    for number in _wanted([0.0] * len(places), opened(places[0]).size, settings):
        page = opened(places[number])
        page.load()
        pages.append(as_shown(page))
    return pages


def _read_file(data: bytes, settings: DecodeSettings, names: list[str] | None) -> Decoded:
    """Decode what Pillow puts together as browsers do."""
    image = _open(data, settings, names)
    early = image.info.get("exif")
    image = _loaded(image, data, settings, names)
    late = b"" if early else image.info.pop("exif", None) or b""
    turn = orientation(image, late)
    count = _frame_count(data, settings, names) if image.format in formats.SEQUENCES else 1
    if count == 1:
        shown = [as_shown(image)]
    else:
        steps = _steps(_open(data, settings, names))
        wanted = _wanted(_delays(data, image, count), image.size, settings, turn)
        shown = _sample(steps, count, wanted, settings)
    elsewhere = image.info.get("elsewhere")
    others = [as_shown(elsewhere)] if elsewhere is not None else []
    if image.format == "AVIF" and count == 1:
        part = boxes.clean_aperture(data, *image.size)
        others += [turned(picture.crop(part), turn.seen) for picture in shown if part]
    return _decoded(shown, turn, count, image.format or "", others)


def _animation(data: bytes, settings: DecodeSettings) -> Animation | None:
    """Take apart what Pillow would not put together as browsers do."""
    if data.startswith(gif.SIGNATURES):
        return gif.parse(data, settings)
    return apng.parse(data, settings) if data.startswith(SIGNATURE) else None


def _read_animation(animation: Animation, settings: DecodeSettings) -> Decoded:
    count = len(animation.frames)
    first = animation.frames[0].opened(animation.format)
    turn = orientation(first)
    alone = []
    if animation.first_may_be_alone:
        alone.append(as_shown(animation.frames[0].loaded(animation.format)))
    delays = [frame.delay for frame in animation.frames]
    wanted = _wanted(delays, animation.size, settings, turn)
    shown = _sample(compose(animation), count, wanted, settings)
    return _decoded(shown, turn, count, animation.format, alone)


def _decoded(
    shown: list[Image.Image],
    turn: Orientation,
    count: int,
    name: str,
    others: Sequence[Image.Image] = (),
) -> Decoded:
    """Turn the pictures as browsers do, and as others may; ``others`` are seen elsewhere only."""
    frames = [turned(picture, turn.seen) for picture in shown]
    claimed = [turned(picture, number) for number in turn.claimed for picture in shown]
    return Decoded(frames, count, *frames[0].size, name, alternatives=[*others, *claimed])


def read_reference(
    data: bytes, settings: DecodeSettings, names: list[str] | None = None
) -> Decoded:
    """Read the first frame and convert it to RGB, as Yahoo's ``classify_nsfw.py`` does.

    Orientation and colour profiles are ignored, transparency is dropped (pixels that nobody
    sees count), 16 bits are clipped. The handle is fresh and nothing is looked at before the
    pixels: Pillow forgives more damage once metadata have been asked for.

    Raises:
        ImageError: the image cannot be read, or declares more than allowed.
    """
    limits.let_pillow_open(settings)
    with coded(data):
        image = _open_with_pillow(data, settings, names)
        image.load()
        picture = image if image.mode == "RGB" else image.convert("RGB")
        return Decoded([picture], 1, *picture.size, image.format or "")


def _open(data: bytes, settings: DecodeSettings, names: list[str] | None) -> Image.Image:
    """Open a file with the reader that shows it as browsers do."""
    if data.startswith(bitmap.SIGNATURE):
        return bitmap.read_bmp(data, settings)
    if icon.is_icon(data):
        image = icon.read_icon(data, settings)
    elif data.startswith(SIGNATURE):
        image = open_png(data)
    else:
        image = _open_with_pillow(data, settings, names)
    limits.check_size(image.size, settings)
    if image.format == "HEIF" and boxes.has_track(data):
        raise ImageError(
            ErrorCode.KIND_NOT_READ,
            "the HEIF file is an animation, of which only AVIF's are read; store its frames one by "
            "one",
        )
    if image.format in formats.BOXED and "icc_profile" not in image.info:
        image.info["colour_space"] = boxes.colour_space_of(data)
    return image


def _open_with_pillow(
    data: bytes, settings: DecodeSettings, names: list[str] | None
) -> Image.Image:
    if jxl.is_jxl(data):
        return jxl.open_jxl(data, settings)
    image = Image.open(io.BytesIO(data), formats=names or formats.readable())
    limits.check_size(image.size, settings)
    limits.check_scans(image, data, settings)
    return image


def _loaded(
    image: Image.Image, data: bytes, settings: DecodeSettings, names: list[str] | None
) -> Image.Image:
    """Decode the pixels, before any look at metadata: those looks hide damage."""
    try:
        image.load()
    except OSError:
        if image.format not in jpeg.NAMES or not jpeg.is_whole(data):
            raise
        image = _open(data + jpeg.END, settings, names)
        image.load()
    check_rows(image)
    return image


def _frame_count(data: bytes, settings: DecodeSettings, names: list[str] | None) -> int:
    """Count on a handle of its own: counting moves through the file."""
    count: int = getattr(_open(data, settings, names), "n_frames", 1)
    limits.check_frame_count(count, settings)
    return count


def _delays(data: bytes, image: Image.Image, count: int) -> list[float]:
    """Seconds that the file gives to each frame; none where it does not say."""
    read = {"AVIF": boxes.delays, "WEBP": webp.delays}.get(image.format or "")
    found = read(data) if read is not None else ()
    return list(islice(chain(found, repeat(0.0)), count))


def _steps(image: Image.Image) -> Iterator[Image.Image]:
    """Go through the frames in order: most formats build each on the last."""
    for index in range(getattr(image, "n_frames", 1)):
        image.seek(index)
        yield image


def _wanted(
    delays: Sequence[float],
    size: tuple[int, int],
    settings: DecodeSettings,
    turn: Orientation = _NOT_TURNED,
) -> list[int]:
    """The frames to look at; fewer where they take more room."""
    pixels = size[0] * size[1] * (1 + len(turn.claimed))
    room = max(1, settings.max_pixels // pixels)
    return chosen(delays, min(settings.max_frames, room))


def _sample(
    steps: Iterator[Image.Image],
    count: int,
    wanted: list[int],
    settings: DecodeSettings,
) -> list[Image.Image]:
    """Keep the frames of an animation that are wanted."""
    deadline = time.monotonic() + settings.timeout
    frames = []
    for index, image in enumerate(steps):
        if time.monotonic() > deadline:
            raise ImageError(
                ErrorCode.DECODE_TIMEOUT,
                f"only {index} of {count} frames were reached in {settings.timeout:g} s; "
                "raise decode.timeout to score it",
            )
        limits.check_size(image.size, settings)
        if index in wanted:
            image.load()
            picture = as_shown(image)
            # The next frame is decoded into the same image.
            frames.append(picture.copy() if picture is image else picture)
    return frames
