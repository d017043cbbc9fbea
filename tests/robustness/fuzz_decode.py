"""Decode damaged files for a long time, and say what became of them.

    python tests/robustness/fuzz_decode.py --inputs 50000 --seconds 900

Fails when anything but a picture or a coded error comes out, when the cheap look at a JPEG tells
otherwise than the whole one, when a file takes more than five seconds, or when this process or the
decoder's takes more than 600 MB. A file that does is kept.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import re
import resource
import sys
import time
import warnings
from collections import Counter
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).parent))

from mutation import mutated
from seeds import seeds

from saferank.errors import ImageError
from saferank.indexer.decode import Decoded, decode, decode_scaled
from saferank.settings import DecodeSettings

SECONDS, MEGABYTES = 5.0, 600
LEAST = 16  # pixels: the files are small, and most are to be scaled


def decoder_peak() -> float:
    """Most memory that the decoder process has had so far, in MB; 0 without one."""
    peaks = [0.0]
    for child in psutil.Process().children():
        status = Path(f"/proc/{child.pid}/status")
        found = re.search(r"VmHWM:\s+(\d+)", status.read_text()) if status.exists() else None
        peaks.append(int(found[1]) / 1024 if found else 0.0)
    return max(peaks)


def shape(decoded: Decoded) -> tuple[object, ...]:
    """What is stored of a picture beside its probability."""
    return (decoded.width, decoded.height, decoded.partial, len(decoded.frames))


def main() -> int:
    """Run, print a table, and give the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=50_000)
    parser.add_argument("--seconds", type=float, default=900)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, default=Path("fuzz-failures"))
    options = parser.parse_args()

    warnings.simplefilter("ignore")
    files, dice = list(seeds().values()), random.Random(options.seed)
    settings, outcomes, failures = DecodeSettings(), Counter[str](), 0
    slowest, child_peak, started = 0.0, 0.0, time.monotonic()
    for count in range(1, options.inputs + 1):
        data = mutated(files, dice)
        before = time.monotonic()
        scaled = None
        try:
            scaled = decode_scaled(data, settings, LEAST)
            decoded = decode(data, settings)
            outcome = "decoded"
            assert all(frame.mode == "RGB" for frame in decoded.frames)
            if scaled is not None:
                assert shape(scaled) == shape(decoded)
                assert len(scaled.pictures) >= len(decoded.pictures)
        except ImageError as error:
            ended = "crashed its decoder" in str(error)
            outcome = "decoder process ended" if ended else str(error.code)
            if scaled is not None:
                outcome = f"FAILURE {outcome}, but scaled"
        except Exception as error:
            outcome = f"FAILURE {type(error).__name__}"
        took = time.monotonic() - before
        outcomes[outcome] += 1
        slowest = max(slowest, took)
        if count % 50 == 0 or took > 1:
            child_peak = max(child_peak, decoder_peak())
        if outcome.startswith("FAILURE") or outcome == "decoder process ended" or took > SECONDS:
            failures += outcome != "decoder process ended"
            options.keep.mkdir(exist_ok=True)
            name = f"{outcome}-{took:.1f}s-{hashlib.sha256(data).hexdigest()[:12]}"
            (options.keep / name.replace(" ", "-")).write_bytes(data)
        if time.monotonic() - started > options.seconds:
            break
    own_peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{count:,} inputs from {len(files)} files in {time.monotonic() - started:,.0f} s")
    for outcome, number in outcomes.most_common():
        print(f"  {number:>8,}  {outcome}")
    print(f"slowest {slowest:.2f} s; peak memory {own_peak:.0f} MB, decoder {child_peak:.0f} MB")
    return int(failures > 0 or own_peak > MEGABYTES or child_peak > MEGABYTES)


if __name__ == "__main__":
    sys.exit(main())
