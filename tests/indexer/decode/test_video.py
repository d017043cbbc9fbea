"""Videos: which frames are looked at, how they are shown, and what is refused."""

import random
import subprocess
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from imageio_ffmpeg import get_ffmpeg_exe
from PIL import Image
from videos import sound_only, video

from saferank.errors import ErrorCode, ImageError
from saferank.indexer.decode import Decoded, decode
from saferank.settings import DecodeSettings

SETTINGS = DecodeSettings()
FAST_VP9 = {"deadline": "realtime", "cpu-used": "8"}


def code_of(data: bytes, limits: DecodeSettings = SETTINGS) -> ErrorCode:
    with pytest.raises(ImageError) as caught:
        decode(data, limits)
    return caught.value.code


def brightness(decoded: Decoded) -> list[int]:
    """Of the lower right corner, which gets brighter from frame to frame."""
    return [int(np.asarray(frame)[-9:, -9:].mean()) for frame in decoded.frames]


def by_ffmpeg(path: Path, moment: float, *options: str) -> Image.Image:
    """The frame at a time, as the ffmpeg program shows it."""
    command = [get_ffmpeg_exe(), "-loglevel", "error", "-i", str(path), "-ss", str(moment)]
    command += [*options, "-frames:v", "1", "-f", "image2pipe", "-c:v", "bmp", "-"]
    done = subprocess.run(command, capture_output=True, check=True)
    picture = path.with_suffix(".bmp")
    picture.write_bytes(done.stdout)
    return Image.open(picture).convert("RGB")


@pytest.mark.parametrize(
    ("container", "codec", "options"),
    [
        ("mp4", "libx264", {}),
        ("mov", "libx264", {}),
        ("mp4", "mpeg4", {}),
        ("matroska", "libx264", {}),
        ("webm", "libvpx-vp9", FAST_VP9),
        ("mp4", "libx265", {"x265-params": "log-level=none"}),
    ],
)
def test_frames_are_spread_over_the_whole_of_it(
    container: str, codec: str, options: dict[str, str]
) -> None:
    decoded = decode(video(container=container, codec=codec, options=options), SETTINGS)
    assert (len(decoded.frames), decoded.frame_count) == (16, 100)
    assert (decoded.width, decoded.height) == (320, 180)
    seen = brightness(decoded)
    assert seen[0] < 5
    assert seen[-1] > 250
    assert max(later - one for one, later in pairwise(seen)) < 30


@given(
    st.integers(1, 20),
    st.lists(st.integers(1, 400), min_size=0, max_size=40),
    st.integers(1, 30),
)
@settings(max_examples=20, deadline=None)
def test_whatever_the_times_frames_come_in_order_and_no_more_than_asked(
    limit: int, gaps: list[int], every_key: int
) -> None:
    times = np.cumsum([0, *gaps]) / 1000
    made = video(times.tolist(), size=(64, 48), every_key=every_key)
    decoded = decode(made, DecodeSettings(max_frames=limit))
    assert 1 <= len(decoded.frames) <= limit
    assert decoded.frame_count == len(times)
    seen = brightness(decoded)
    assert seen == sorted(seen)
    if len(times) <= limit and every_key == 1:
        assert len(decoded.frames) == len(times)


def test_a_frame_that_stands_for_long_is_looked_at() -> None:
    times = [n / 25 for n in range(50)] + [60.0 + n / 25 for n in range(50)]

    def flash(part: float) -> np.ndarray:
        return np.full((48, 64, 3), 255 if abs(part - 49 / 99) < 0.001 else 0, np.uint8)

    for every_key in (1, 1000):
        decoded = decode(video(times, size=(64, 48), picture=flash, every_key=every_key), SETTINGS)
        assert max(brightness(decoded)) > 250


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_pictures_are_those_of_the_ffmpeg_program(rotation: int, tmp_path: Path) -> None:
    path = tmp_path / "video.mp4"
    path.write_bytes(video(rotation=rotation, every_key=1))
    decoded = decode(path.read_bytes(), DecodeSettings(max_frames=5))
    assert (decoded.width > decoded.height) == (rotation in (0, 180))
    # Its own default for such a size are the same colours, BT.601.
    for nth, place in enumerate((0, 25, 50, 74, 99)):
        shown = by_ffmpeg(path, place / 25)
        own = decoded.frames[nth]
        assert own.size == shown.size
        difference = np.abs(np.asarray(own, int) - np.asarray(shown, int))
        assert np.percentile(difference, 99) <= 3


def test_pixels_that_are_no_squares_are_made_square() -> None:
    wide = decode(video(aspect=Fraction(2)), SETTINGS)
    tall = decode(video(aspect=Fraction(1, 2)), SETTINGS)
    assert (wide.width, wide.height) == (640, 180)
    assert (tall.width, tall.height) == (320, 360)


def test_deep_and_wide_colours_become_those_of_a_screen() -> None:
    def deep(colours: str = "") -> Decoded:
        options = {"x265-params": f"log-level=none{colours}"}
        made = video(codec="libx265", pixels="yuv420p10le", every_key=1, options=options)
        return decode(made, SETTINGS)

    plain, wide = deep(), deep(":colorprim=9:transfer=14")
    assert abs(brightness(plain)[8] - brightness(decode(video(every_key=1), SETTINGS))[8]) <= 3
    # The red of BT.2020 lies beyond that of sRGB; grey stays grey.
    red = np.asarray(wide.frames[8])[40, 80]
    assert red[0] >= 250
    assert brightness(wide)[8] == pytest.approx(brightness(plain)[8], abs=4)


def test_large_ones_keep_all_their_frames_and_are_made_smaller() -> None:
    limits = DecodeSettings(max_pixels=320 * 180 * 2, max_frames=8)
    decoded = decode(video(), limits)
    assert len(decoded.frames) == 8
    assert decoded.width * decoded.height <= 320 * 180 / 4 + 500
    assert decoded.width / decoded.height == pytest.approx(16 / 9, rel=0.02)
    assert code_of(video(), DecodeSettings(max_pixels=320 * 180 - 1)) is ErrorCode.TOO_LARGE


@pytest.mark.parametrize("container", ["mp4", "matroska"])
def test_one_that_ends_early(container: str) -> None:
    in_fragments = {"movflags": "frag_keyframe+empty_moov"}
    for flags in ({}, in_fragments if container == "mp4" else {}):
        whole = video(container=container, container_options=flags)
        for part in (0.3, 0.7, 0.95):
            cut = whole[: int(part * len(whole))]
            assert code_of(cut) is ErrorCode.TRUNCATED
    partial = decode(cut, SETTINGS.model_copy(update={"allow_partial": True}))
    assert partial.partial
    assert 1 <= len(partial.frames) <= 16


def test_sound_alone_is_a_kind_that_is_not_read() -> None:
    for container in ("mp4", "matroska"):
        assert code_of(sound_only(container)) is ErrorCode.KIND_NOT_READ
    assert len(decode(video(sound=True), SETTINGS).frames) == 16


def test_what_is_encrypted_is_a_kind_that_is_not_read() -> None:
    secret = {
        "encryption_scheme": "cenc-aes-ctr",
        "encryption_key": "76a6c65c5ea762046bd749a2e632ccbb",
        "encryption_kid": "a7e61c373e219033c21091fa607bf3b8",
    }
    assert code_of(video(container_options=secret)) is ErrorCode.KIND_NOT_READ


def test_one_frame_without_a_duration() -> None:
    decoded = decode(video([0.0]), SETTINGS)
    assert (len(decoded.frames), decoded.frame_count) == (1, 1)


@pytest.mark.parametrize("container", ["mp4", "webm"])
def test_one_that_is_written_as_it_is_filmed(container: str) -> None:
    """Without an index, a length or cues, as browsers' recorders write it."""
    live = {"movflags": "frag_keyframe+empty_moov"} if container == "mp4" else {"live": "1"}
    codec, options = ("libx264", {}) if container == "mp4" else ("libvpx-vp9", FAST_VP9)
    made = video(container=container, codec=codec, options=options, container_options=live)
    decoded = decode(made, SETTINGS)
    assert (len(decoded.frames), decoded.frame_count) == (16, 100)
    assert brightness(decoded)[-1] > 250


@pytest.mark.parametrize("container", ["mp4", "matroska"])
def test_damage_ends_as_a_code_or_as_pictures(container: str) -> None:
    whole = video(container=container, size=(96, 64))
    random_ = random.Random(7)
    codes = set()
    for _ in range(60):
        data = bytearray(whole)
        for _ in range(random_.choice([1, 5, 50])):
            data[random_.randrange(len(data))] = random_.randrange(256)
        try:
            codes.add(len(decode(bytes(data), SETTINGS).frames) > 0)
        except ImageError as error:
            codes.add(error.code)
    assert ErrorCode.UNREADABLE in codes
    assert codes <= {
        True,
        ErrorCode.UNREADABLE,
        ErrorCode.TRUNCATED,
        ErrorCode.TOO_LARGE,
        ErrorCode.NOT_AN_IMAGE,
        ErrorCode.KIND_NOT_READ,
    }


@pytest.mark.parametrize(
    "data",
    [
        b"\0\0\0\x18ftypisom\0\0\0\1iso2mp41" + b"\0" * 64,
        b"\0\0\0\x14ftypqt  \0\0\0\1qt  " + b"\0" * 64,
        b"\0\0\0\x08wide\0\0\1\0mdat" + b"\0" * 248,
        b"\x1aE\xdf\xa3\x9fB\x86\x81\1B\xf7\x81\1webm" + b"\0" * 60,
    ],
)
def test_the_beginning_of_one_alone(data: bytes) -> None:
    assert code_of(data) in (ErrorCode.UNREADABLE, ErrorCode.TRUNCATED)


def test_words_that_are_not_utf8_do_not_keep_it_from_being_read() -> None:
    data = video([0.0, 1.0], size=(64, 48))
    assert b"Lavf" in data
    assert len(decode(data.replace(b"Lavf", b"\xff\xfe\xe9\xe8"), SETTINGS).frames) == 2


def test_without_its_extra_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("saferank.indexer.decode.formats._HAVE_VIDEO", False)
    with pytest.raises(ImageError, match=r"saferank\[video\]") as caught:
        decode(video([0.0], size=(64, 48)), SETTINGS)
    assert caught.value.code is ErrorCode.KIND_NOT_READ
