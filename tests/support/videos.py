"""Videos that get brighter, made when a test needs them."""

import io
from collections.abc import Callable, Iterable
from fractions import Fraction

import av
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]


def fading(size: tuple[int, int]) -> Callable[[float], Picture]:
    """From black to white, with a red quarter at the upper left."""
    width, height = size

    def picture(part: float) -> Picture:
        pixels = np.full((height, width, 3), round(255 * part), np.uint8)
        pixels[: height // 2, : width // 2] = (255, 0, 0)
        return pixels

    return picture


def video(
    times: Iterable[float] = tuple(n / 25 for n in range(100)),
    *,
    codec: str = "libx264",
    container: str = "mp4",
    size: tuple[int, int] = (320, 180),
    picture: Callable[[float], Picture] | None = None,
    every_key: int = 25,
    pixels: str = "yuv420p",
    rotation: int = 0,
    aspect: Fraction | None = None,
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    sound: bool = False,
) -> bytes:
    """Encode a video with frames at these times, in seconds."""
    draw = picture or fading(size)
    moments = list(times)
    file = io.BytesIO()
    with av.open(file, "w", format=container, container_options=container_options or {}) as output:
        stream = output.add_stream(codec, rate=25)
        stream.width, stream.height = size
        stream.pix_fmt = pixels
        stream.gop_size = every_key
        stream.options = options or {}
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
        if rotation:
            stream.set_display_rotation(rotation)
        track = _sound(output) if sound else None
        for nth, moment in enumerate(moments):
            frame = av.VideoFrame.from_ndarray(draw(nth / max(1, len(moments) - 1)), format="rgb24")
            frame.pts, frame.time_base = round(1000 * moment), Fraction(1, 1000)
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
        if track is not None:
            _fill(output, track)
    return file.getvalue()


def sound_only(container: str = "mp4") -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        _fill(output, _sound(output))
    return file.getvalue()


def _sound(output: av.container.OutputContainer) -> av.AudioStream:
    track = output.add_stream("aac", rate=8000)
    assert isinstance(track, av.AudioStream)
    return track


def _fill(output: av.container.OutputContainer, track: av.AudioStream) -> None:
    silence = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), "fltp", "mono")
    silence.sample_rate, silence.pts = 8000, 0
    output.mux(track.encode(silence))
    output.mux(track.encode())
