"""What scoring a video costs: seconds, frames and memory, by kind of file.

    python benchmarks/bench_video.py [--seconds 20] [--width 1280] [--height 720]

Videos are made here from harmless moving patterns. Each is decoded as a worker does, in the child
process, three times; figures are the median and the child's peak. The frames' pixels are compared
with those that the ffmpeg program of the package imageio-ffmpeg gives for the same moments (in
levels of 255, the 99th percentile of all pixels, the worst of some frames).
"""

from __future__ import annotations

import argparse
import io
import statistics
import subprocess
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import numpy as np
import psutil
from av.video.stream import VideoStream
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.table import Table

from saferank.errors import ImageError
from saferank.indexer.decode import decode, video
from saferank.settings import DecodeSettings

SETTINGS = DecodeSettings()
RATE = 25
_EACH = 5  # of the frames looked at, one in so many is compared
KINDS = {
    "H.264, a key frame each 2 s": ("mp4", "libx264", 50, {"preset": "ultrafast"}),
    "H.264, one key frame": ("mp4", "libx264", 10**6, {"preset": "ultrafast"}),
    "VP9, a key frame each 5 s": (
        "webm",
        "libvpx-vp9",
        125,
        {"deadline": "realtime", "cpu-used": "8", "row-mt": "1"},
    ),
}


def made(size: tuple[int, int], seconds: int, kind: str) -> bytes:
    container, codec, every_key, options = KINDS[kind]
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        stream = cast(VideoStream, output.add_stream(codec, rate=RATE))
        stream.width, stream.height = size
        stream.pix_fmt, stream.gop_size = "yuv420p", every_key
        cuts = {"sc_threshold": "0"} if codec == "libx264" else {}
        stream.options = {**options, **cuts}
        base = pattern(size)
        for nth in range(seconds * RATE):
            frame = av.VideoFrame.from_ndarray(np.roll(base, 4 * nth, axis=1), format="rgb24")
            frame.pts, frame.time_base = nth, Fraction(1, RATE)
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
    return file.getvalue()


def pattern(size: tuple[int, int]) -> NDArray[np.uint8]:
    """Soft waves of colour with some edges."""
    across, down = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
    waves = [np.sin(across / 37 + down / 91), np.sin(down / 53), np.cos((across + down) / 71)]
    pixels = np.stack([(127 + 120 * wave) for wave in waves], axis=-1)
    pixels[(across // 160 + down // 120) % 5 == 0] = (240, 200, 40)
    return pixels.astype(np.uint8)


def by_ffmpeg(path: Path, moments: list[float], lines: int) -> list[NDArray[np.int16]]:
    from imageio_ffmpeg import get_ffmpeg_exe

    # Its own default for unnamed colours is BT.601, whatever the size.
    matrix = "bt709" if lines >= 720 else "smpte170m"
    pictures = []
    for moment in moments:
        command = [get_ffmpeg_exe(), "-loglevel", "error", "-ss", f"{moment:.3f}", "-i", str(path)]
        command += ["-vf", f"scale=in_color_matrix={matrix}:flags=area", "-frames:v", "1"]
        command += ["-f", "image2pipe", "-c:v", "bmp", "-"]
        done = subprocess.run(command, capture_output=True, check=True)
        pictures.append(np.asarray(Image.open(io.BytesIO(done.stdout)).convert("RGB"), np.int16))
    return pictures


def moments_of(data: bytes) -> list[float]:
    """When the frames that are looked at are shown."""
    from contextlib import closing

    with closing(video._opened(data, video.kind_of(data) or "")) as container:
        stream = video._picture_stream(container)
        packets = video._packets(container, stream, time.monotonic() + 60, SETTINGS)
        unit = float(stream.time_base or 0)
        return [unit * moment for moment in video._wanted(packets, SETTINGS.max_frames)]


def peak_of_children() -> float:
    """The most that a decoder process ever held, in MB."""
    peaks = [
        int(line.split()[1]) / 1024
        for child in psutil.Process().children()
        for line in Path(f"/proc/{child.pid}/status").read_text().splitlines()
        if line.startswith("VmHWM")
    ]
    return max(peaks, default=0.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--height", type=int, default=720)
    arguments = parser.parse_args()
    size = arguments.width, arguments.height
    table = Table("video", "MB", "frames", "looked at", "seconds", "child's MB", "levels off")
    for kind in KINDS:
        data = made(size, arguments.seconds, kind)
        spent = []
        try:
            for _ in range(3):
                started = time.perf_counter()
                decoded = decode(data, SETTINGS)
                spent.append(time.perf_counter() - started)
        except ImageError as error:
            table.add_row(kind, f"{len(data) / 1e6:.1f}", "", "", error.code, "", "")
            continue
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "video"
            path.write_bytes(data)
            theirs = by_ffmpeg(path, moments_of(data)[::_EACH], size[1])
        apart = [
            float(np.percentile(np.abs(np.asarray(one, np.int16) - other), 99))
            for one, other in zip(decoded.frames[::_EACH], theirs, strict=True)
        ]
        table.add_row(
            kind,
            f"{len(data) / 1e6:.1f}",
            str(decoded.frame_count),
            str(len(decoded.frames)),
            f"{statistics.median(spent):.2f}",
            f"{peak_of_children():.0f}",
            f"{max(apart):.0f}",
        )
    damaged = bytearray(made((640, 360), 2, next(iter(KINDS))))
    damaged[len(damaged) // 4 : len(damaged) // 2] = bytes(len(damaged) // 4)
    for name, data in (
        ("damaged", bytes(damaged)),
        ("cut off", bytes(damaged[: len(damaged) // 2])),
    ):
        try:
            ended = f"{len(decode(data, SETTINGS).frames)} frames"
        except ImageError as error:
            ended = error.code
        table.add_row(name, f"{len(data) / 1e6:.1f}", "", "", ended, "", "")
    Console(file=sys.stdout, width=120).print(table)


if __name__ == "__main__":
    main()
