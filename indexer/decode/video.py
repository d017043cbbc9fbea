"""Video files: some of their frames, chosen by the time for which they are shown.

The packets are listed first, which decodes nothing and tells when each frame is shown. A frame is
then taken as it is at a chosen moment; where the last key frame is not much older, that one is
taken in its place, since all between the two would have to be decoded. Which frames these are
depends on the file alone, never on how fast a machine is.
"""

from __future__ import annotations

import io
import math
import time
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from PIL import Image

from saferank.errors import ErrorCode, ImageError
from saferank.indexer.decode import boxes, colour_space, limits
from saferank.indexer.decode.colour import as_shown
from saferank.indexer.decode.completeness import ends_early
from saferank.indexer.decode.frames import chosen
from saferank.settings import DecodeSettings

if TYPE_CHECKING:
    import av
    from av.container import InputContainer
    from av.video.stream import VideoStream

MP4, MATROSKA = "MP4", "MATROSKA"
# What FFmpeg calls the two demuxers; no other one ever sees a file.
_DEMUXERS = {MP4: "mov", MATROSKA: "matroska"}

_MATROSKA_SIGNATURE = b"\x1aE\xdf\xa3"
_PLAIN_QUICKTIME = (b"moov", b"mdat", b"wide")
_SOUND = (b"M4A ", b"M4B ", b"M4P ")

# Where a stream does not say, as browsers do: television's colours of the size.
_UNSPECIFIED, _BT709, _SMPTE170M = 2, 1, 5
_HIGH_DEFINITION = 720  # lines
_LEAST_ASPECT, _MOST_ASPECT = 0.1, 10  # of a pixel; anything else is a mistake


def kind_of(data: bytes) -> str | None:
    """``MP4`` (QuickTime, too) or ``MATROSKA`` (WebM, too); None for what is no such video."""
    if data.startswith(_MATROSKA_SIGNATURE):
        return MATROSKA
    if brands := boxes.brands(data):
        own = brands[0]
        pictures = own in (*boxes.AVIF, *boxes.HEIC, *boxes.GENERAL)
        return None if pictures or own in _SOUND or b"crx " in brands else MP4
    return MP4 if data[4:8] in _PLAIN_QUICKTIME else None


@dataclass(frozen=True, slots=True)
class Video:
    """Pictures of a video.

    Attributes:
        frames: upright, RGB, sRGB; those of a large video are made smaller, so that all have room.
        frame_count: how many frames the video has.
        format: ``MP4`` or ``MATROSKA``.
    """

    frames: list[Image.Image]
    frame_count: int
    format: str


@dataclass(frozen=True, slots=True)
class _Packets:
    """When the frames of a stream are shown, in units of its time base.

    Attributes:
        shown: when each is shown, in order.
        keys: those that need no other.
        seconds: for how long each is shown.
    """

    shown: list[int]
    keys: list[int]
    seconds: list[float]


def read(data: bytes, settings: DecodeSettings, *, partial: bool) -> Video:
    """Decode some frames of a video file.

    Args:
        data: the whole file, of a kind that ``kind_of`` names.
        settings: limits.
        partial: take what there is of a file that ends early.

    Raises:
        ImageError: ``kind_not_read``, ``truncated``, ``unreadable``, ``too_large`` or
            ``decode_timeout``.
    """
    import av

    deadline = time.monotonic() + settings.timeout
    name = kind_of(data) or MP4
    early = ends_early(data, name)
    if early and not partial:
        raise ImageError(ErrorCode.TRUNCATED, f"the {name} file ends early")
    pictures: list[Image.Image] = []
    count = 0
    try:
        with closing(_opened(data, name)) as container:
            stream = _picture_stream(container)
            packets = _packets(container, stream, deadline, settings)
            count = len(packets.shown)
            pictures.extend(_pictures(container, stream, packets, deadline, settings))
    except av.error.FFmpegError as error:
        # The last frame of what is there may be half of one.
        if not (early and pictures):
            raise ImageError(
                ErrorCode.TRUNCATED if early else ErrorCode.UNREADABLE,
                f"the {name} file is damaged or unsupported: {error.strerror or error}",
            ) from error
    if not pictures:
        raise ImageError(ErrorCode.UNREADABLE, f"no frame of the {name} file can be decoded")
    return Video(pictures, count, name)


def _opened(data: bytes, name: str) -> InputContainer:
    import av

    # From version 19 on, words that are not UTF-8 never keep a file from being read.
    older = int(av.__version__.split(".")[0]) < 19
    tolerant: dict[str, Any] = {"metadata_errors": "replace"} if older else {}
    container: InputContainer = av.open(io.BytesIO(data), "r", format=_DEMUXERS[name], **tolerant)
    return container


def _picture_stream(container: InputContainer) -> VideoStream:
    """The stream that is played: the first one that is no cover of a sound file."""
    from av.stream import Disposition

    streams = [
        stream
        for stream in container.streams.video
        if not stream.disposition & Disposition.attached_pic
    ]
    if not streams:
        raise ImageError(
            ErrorCode.KIND_NOT_READ, "the file has sound but no pictures, and is not read"
        )
    stream = streams[0]
    if stream.codec_context is None:
        raise ImageError(ErrorCode.KIND_NOT_READ, "the video's codec is not known")
    # One core a worker; and what is wrong in a frame is not painted over with another.
    stream.codec_context.thread_count = 1
    stream.codec_context.options = {"err_detect": "explode", "threads": "1"}
    return stream


def _packets(
    container: InputContainer, stream: VideoStream, deadline: float, settings: DecodeSettings
) -> _Packets:
    shown, keys, last = [], [], 1
    for packet in container.demux(stream):
        _check_time(deadline, settings)
        at = packet.pts if packet.pts is not None else packet.dts
        if packet.size == 0 or at is None or packet.is_discard:
            continue
        if packet.has_sidedata("encryption_info"):
            raise ImageError(
                ErrorCode.KIND_NOT_READ, "the video is encrypted; store a picture of it"
            )
        shown.append(at)
        last = packet.duration or last
        if packet.is_keyframe:
            keys.append(at)
    if not shown:
        raise ImageError(ErrorCode.UNREADABLE, "the video has no frame")
    shown.sort()
    keys.sort()
    unit = float(stream.time_base or 0)
    ends = [*shown[1:], shown[-1] + last]
    seconds = [max(0, end - start) * unit for start, end in zip(shown, ends, strict=True)]
    return _Packets(shown, keys or shown[:1], seconds)


def _wanted(packets: _Packets, limit: int) -> list[int]:
    """When the frames to look at are shown: at chosen moments, or a key frame shortly before."""
    moments = [packets.shown[place] for place in chosen(packets.seconds, limit)]
    apart = min((later - one for one, later in pairwise(moments)), default=0)
    found = set()
    for moment in moments:
        key = _key_before(packets.keys, moment)
        found.add(key if 0 <= moment - key <= apart / 2 else moment)
    return sorted(found)


def _key_before(keys: Sequence[int], moment: int) -> int:
    return keys[max(0, bisect_right(keys, moment) - 1)]


def _pictures(
    container: InputContainer,
    stream: VideoStream,
    packets: _Packets,
    deadline: float,
    settings: DecodeSettings,
) -> Iterator[Image.Image]:
    """The wanted frames as they are shown."""
    wanted = _wanted(packets, settings.max_frames)
    position: int | None = None  # of the last frame that was decoded
    frames: Iterator[av.VideoFrame] = iter(())
    for moment in wanted:
        key = _key_before(packets.keys, moment)
        if position is None or position < key:
            container.seek(min(key, moment), stream=stream, backward=True)
            frames = container.decode(stream)
        found = None
        for frame in frames:
            _check_time(deadline, settings)
            limits.check_size((frame.width, frame.height), settings)
            if frame.is_corrupt:
                raise ImageError(ErrorCode.UNREADABLE, "a frame of the video is damaged")
            found, position = frame, frame.pts
            if frame.pts is None or frame.pts >= moment:
                break
        if found is not None:
            yield _as_shown(found, stream, settings)


def _as_shown(frame: av.VideoFrame, stream: VideoStream, settings: DecodeSettings) -> Image.Image:
    """A frame as a player shows it: square pixels, upright, sRGB."""
    width, height = _display_size(frame, stream, settings)
    matrix: int | None = None
    if frame.colorspace == _UNSPECIFIED:
        matrix = _BT709 if frame.height >= _HIGH_DEFINITION else _SMPTE170M
    rgb = frame.reformat(
        width=width, height=height, format="rgb24", src_colorspace=matrix, interpolation="AREA"
    )
    picture = Image.fromarray(rgb.to_ndarray())
    space = colour_space.of_code_points(frame.color_primaries, frame.color_trc)
    if space is not None:
        picture.info["colour_space"] = space
    shown = as_shown(picture)
    return shown.rotate(frame.rotation, expand=True) if frame.rotation else shown


def _display_size(
    frame: av.VideoFrame, stream: VideoStream, settings: DecodeSettings
) -> tuple[int, int]:
    """With square pixels, and not so large that not all frames have room."""
    aspect = float(stream.sample_aspect_ratio or 1)
    if not _LEAST_ASPECT <= aspect <= _MOST_ASPECT:
        aspect = 1.0
    width, height = frame.width * max(aspect, 1.0), frame.height / min(aspect, 1.0)
    room = settings.max_pixels / settings.max_frames
    smaller = min(1.0, math.sqrt(room / (width * height)))
    return max(1, round(width * smaller)), max(1, round(height * smaller))


def _check_time(deadline: float, settings: DecodeSettings) -> None:
    if time.monotonic() > deadline:
        raise ImageError(
            ErrorCode.DECODE_TIMEOUT,
            f"the video took more than {settings.timeout:g} s; raise decode.timeout to score it",
        )
