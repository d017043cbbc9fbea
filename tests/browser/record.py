"""Record what Chromium shows, for tests that run without it.

    python tests/browser/record.py FILE ...

Writes FILE.chromium.png beside each file, the frames of an animation below each other.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from chromium import Chromium
from pictures import MEDIA_TYPES, kind_of
from PIL import Image

_MOST_FRAMES = 60


def main() -> None:
    print(Chromium.version())
    with Chromium() as browser:
        for path in map(Path, sys.argv[1:]):
            data = path.read_bytes()
            frames = browser.show(data, MEDIA_TYPES[kind_of(data) or ""], _MOST_FRAMES)
            target = path.with_name(path.name + ".chromium.png")
            Image.fromarray(np.concatenate(frames)).save(target, optimize=True)
            print(target)


if __name__ == "__main__":
    main()
